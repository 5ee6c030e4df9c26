"""`python -m flarekit`."""

from flarekit.cli import main

raise SystemExit(main())

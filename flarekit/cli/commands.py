"""Every command, registered on the application. Importing this imports no heavy library."""

from __future__ import annotations

from flarekit.cli import models
from flarekit.cli.app import app
from flarekit.cli.doctor import doctor

app.command(epilog="Example: `flarekit doctor --json`")(doctor)
app.add_typer(models.app, name="models")

__all__ = ["app"]

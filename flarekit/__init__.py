"""flarekit: abdominal organ segmentation for labs with many CTs and few labels.

`flarekit.segment("case.nii.gz")` segments a CT; see `flarekit.api`. Importing flarekit imports no library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flarekit.api import Segmentation, segment

__version__ = "0.1.0"
__all__ = ["Segmentation", "segment"]


def __getattr__(name: str) -> object:
    """The Python API, imported when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flarekit import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

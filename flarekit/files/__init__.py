"""Files: written whole or not at all, refused in words, and told apart by what they hold."""

from flarekit.files.hashing import sha256
from flarekit.files.refusals import (
    input_errors,
    output_errors,
    refuse_existing,
    refuse_foreign_json,
    refuse_input,
    require_existing,
    require_writable,
)
from flarekit.files.temporary import folder_beside, remove_leftovers
from flarekit.files.whole import atomic_folder, atomic_path, write_json, write_json_once, write_text

__all__ = [
    "atomic_folder",
    "atomic_path",
    "folder_beside",
    "input_errors",
    "output_errors",
    "refuse_existing",
    "refuse_foreign_json",
    "refuse_input",
    "remove_leftovers",
    "require_existing",
    "require_writable",
    "sha256",
    "write_json",
    "write_json_once",
    "write_text",
]

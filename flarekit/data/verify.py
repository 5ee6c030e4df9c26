"""Whether the cases of a store are still what was written: disks and copies flip bytes, and nobody notices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flarekit.data.case_file import StoredCase
from flarekit.data.checksum import is_whole
from flarekit.data.store import SliceStore, StoreConfig
from flarekit.errors import InputError
from flarekit.parallel import Lost, run_cases

OK, DAMAGED, NO_CHECKSUM = "ok", "damaged", "no checksum"


@dataclass(frozen=True, kw_only=True)
class CaseCheck:
    """What a case's file was found to be."""

    name: str
    status: str  # ok, damaged, or no checksum (an older flarekit wrote it, and every voxel can be read)
    size_bytes: int = 0  # of the file
    problem: str = ""  # what is wrong with a damaged one


def verify(store: SliceStore, *, workers: int = 0) -> Iterator[CaseCheck]:
    """Every case of the store as it is found, in `workers` processes or in this one (0)."""
    check = partial(verify_case, config=store.config)
    for path, result in run_cases(check, [store.case_path(name) for name in store.cases], workers=workers):
        if isinstance(result, Lost):
            result = CaseCheck(name=path.stem, status=DAMAGED, problem=result.reason)
        yield result


def verify_case(path: Path, config: StoreConfig) -> CaseCheck:
    """One case: its bytes against its checksum, or all voxels read without one; its header against store and name."""
    check = partial(CaseCheck, name=path.stem, size_bytes=path.stat().st_size)
    try:
        whole = is_whole(path)
        if whole is False:
            return check(status=DAMAGED, problem="holds other bytes than were written")
        case = StoredCase(path)
        if whole is None:
            _read_all(case)
    except InputError as error:
        return check(status=DAMAGED, problem=error.what)
    except OSError as error:
        return check(status=DAMAGED, problem=f"cannot be read ({error.strerror or error})")
    made = StoreConfig(labels=case.header.label_set, baked=case.header.baked)
    if difference := config.difference(made):
        return check(status=DAMAGED, problem=f"does not belong to this store: {difference}")
    if case.name != path.stem:
        return check(status=DAMAGED, problem=f"holds the case {case.name!r}")
    return check(status=NO_CHECKSUM if whole is None else OK)


def _read_all(case: StoredCase) -> None:
    """Raises InputError where HDF5 or a decompressor notices damage."""
    baked = case.header.baked
    for z in range(case.depth):
        case.hu(z) if baked is None else case.image(z, baked)
        if case.labelled:
            case.labels_at(z)
    case.close()

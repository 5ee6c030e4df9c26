"""Read a slice store without flarekit: `python examples/read_store.py STORE CASE`. Needs h5py and hdf5plugin."""

from __future__ import annotations

import json
import sys

import h5py
import hdf5plugin  # noqa: F401  registers the filters that HDF5 decompresses with

if len(sys.argv) != 3:
    sys.exit(__doc__)
store, case = sys.argv[1:]

with h5py.File(f"{store}/{case}.h5") as file:
    attributes = dict(file.attrs)
    organs = json.loads(attributes["label_set"])["names"]
    hu = file["hu"]  # int16 (Z, H, W): z towards the head, rows to the back, columns to the patient's left
    middle = hu[len(hu) // 2]  # reads this slice alone
    source = attributes["source_name"].decode()
    print(f"{source}: {hu.shape}, slice {len(hu) // 2} from {middle.min()} to {middle.max()} HU")
    if "labels" in file:
        voxels = file["label_voxels"][:].sum(axis=0)  # (classes,): background first, then the organs
        for organ, count in zip(organs, voxels[1:], strict=True):
            print(f"{organ:22s} {count:9d} voxels")

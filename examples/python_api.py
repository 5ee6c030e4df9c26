"""Segment a CT from Python: `python examples/python_api.py case.nii.gz mask.nii.gz`."""

from __future__ import annotations

import sys

import flarekit


def main(image: str, mask: str) -> None:
    result = flarekit.segment(image)
    for organ, volume_ml in result.volumes_ml.items():
        print(f"{organ:22s} {volume_ml:8.1f} mL  confidence {result.confidence[organ] or 0:.2f}")
    for flag in result.flags:
        print(f"look at: {flag}")
    print(f"ids {sorted(result.names)} in an array of shape {result.array.shape}")
    result.save(mask)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])

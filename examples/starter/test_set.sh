#!/usr/bin/env bash
# Paints the fixed test set: ten CTs on the test anatomies of split.json, never trained or tuned on.
#
#   examples/starter/test_set.sh LABELS OUT
#
# The recipe, the seed and the hashes of the images are in test_set.json; the script checks them.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
maps=$(python3 - "$here/split.json" "$1" <<'PY'
import json, sys
split, folder = json.load(open(sys.argv[1])), sys.argv[2]
print(" ".join(f"--labels {folder}/{name}.nii.gz" for name in split["test"]))
PY
)
# shellcheck disable=SC2086
flarekit phantom "$2" $maps --labelled 10 --spacing 0.8 --size 512 --seed 3000 --workers 2
python3 - "$here/test_set.json" "$2/phantom.json" <<'PY'
import json, sys
expected, painted = (json.load(open(path)) for path in sys.argv[1:])
found = {f"{name} on {case['source']}": case["image_sha256"] for name, case in painted["paintings"].items()}
if found != expected["image_sha256"]:
    sys.exit("the images differ from those of test_set.json: another painter, or another processor's rounding")
print("the images are those of test_set.json, byte for byte")
PY

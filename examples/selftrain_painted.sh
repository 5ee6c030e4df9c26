#!/usr/bin/env bash
# Paints the CTs of selftrain_painted.toml and runs its rounds.
#
#   examples/selftrain_painted.sh LABELS OUT
#
# LABELS is the folder of FLARE22's 50 label maps (FLARE22_Tr_0001.nii.gz ...); OUT is created, checkpoints go to
# OUT/home. Every step goes on where it was stopped: run the same line again after a kill.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
labels=$(cd "$1" && pwd)
mkdir -p "$2" && cd "$2"
FLAREKIT_HOME=$(pwd)/home
export FLAREKIT_HOME

# Label maps of a part of split.json, as options of `flarekit phantom`.
maps() {
  python3 - "$here/starter/split.json" "$labels" "$1" <<'PY'
import json, sys
split, folder, part = json.load(open(sys.argv[1])), sys.argv[2], sys.argv[3]
print(" ".join(f"--labels {folder}/{name}.nii.gz" for name in split[part]), "--labelled", len(split[part]))
PY
}

seed=4000
for part in labelled unlabelled validation test; do
  # shellcheck disable=SC2046
  flarekit phantom "$part" $(maps "$part") --seed $seed
  seed=$((seed + 100))
done
flarekit selftrain run "$here/selftrain_painted.toml"

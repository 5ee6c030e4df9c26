#!/usr/bin/env bash
# Paints, trains and publishes the starter weights: about two hours on two CPU cores.
#
#   examples/starter/train.sh LABELS OUT
#
# LABELS is the folder of FLARE22's 50 label maps (FLARE22_Tr_0001.nii.gz ...), OUT is created.
# Every step goes on where it was stopped: run the same line again after a kill.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
labels=$(cd "$1" && pwd)
mkdir -p "$2" && cd "$2"

# Label maps of the named parts of split.json, as options of `flarekit phantom`.
maps() {
  python3 - "$here/split.json" "$labels" "$@" <<'PY'
import json, sys
split, folder, parts = json.load(open(sys.argv[1])), sys.argv[2], sys.argv[3:]
print(" ".join(f"--labels {folder}/{name}.nii.gz" for part in parts for name in split[part]))
PY
}
# A run that was begun is resumed, one that is published is left alone.
train() {
  kind=$1 name=$2; shift 2
  if flarekit models show "$name@1" >/dev/null 2>&1; then echo "$name@1 is published"; return; fi
  resume=$([ -f "runs/$name/config.toml" ] && echo --resume || true)
  flarekit train "$kind" --name "$name" "$@" $resume
}

# shellcheck disable=SC2046
flarekit phantom painted $(maps labelled unlabelled) --labelled 70 --unlabelled 24 --seed 0 --workers 2
flarekit phantom synthetic --labelled 24 --seed 1000 --workers 2
# shellcheck disable=SC2046
flarekit phantom validation $(maps validation) --labelled 5 --seed 2000 --workers 2
flarekit preprocess painted/labelled -o stores/painted --workers 2
flarekit preprocess painted/unlabelled -o stores/painted-unlabelled --workers 2
flarekit preprocess synthetic/labelled -o stores/synthetic --workers 2
flarekit preprocess validation/labelled -o stores/painted-validation --workers 2

data=(--labelled stores/painted --labelled stores/synthetic --validation stores/painted-validation)
pair=(--unlabelled stores/painted-unlabelled --labelled-batch 3 --unlabelled-batch 1)
common=(--schedule poly --clip-norm 5 --augmentation affine)

# Crops first, then whole slices, so that positions mean in inference what they meant in training. The published
# weights got there in one more step: their first 1500 iterations ran with a Dice loss that averaged over absent
# organs too and never found the small ones; 1000 more with today's loss followed from there.
train cps starter-crop "${data[@]}" "${pair[@]}" "${common[@]}" --arch lite --iterations 2500 \
  --lr 1e-3 --warmup 100 --crop 192 --validate-every 250 --save-every 50
train cps starter-reference "${data[@]}" "${pair[@]}" "${common[@]}" --init starter-crop@1 --iterations 150 \
  --lr 2e-4 --warmup 10 --validate-every 50 --save-every 25
train stcn starter-propagation "${data[@]}" "${common[@]}" --arch lite --iterations 1800 --clips 4 \
  --lr 5e-4 --warmup 100 --crop 160 --between-share 0.5 --last-gap-mm 40 --validate-every 200 --save-every 50

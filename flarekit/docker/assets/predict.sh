#!/bin/sh
# Segments every CT in INPUTS to OUTPUTS/NAME.nii.gz, NAME without a _0000 at its end, in the CT's own grid.
# Further arguments are handed on to `flarekit segment`. Ends with 7 where some of the cases failed.
set -eu

INPUTS=${INPUTS:-/workspace/inputs}
OUTPUTS=${OUTPUTS:-/workspace/outputs}

FLAREKIT_HOME=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/flarekit-home
export FLAREKIT_HOME

exec flarekit segment "$INPUTS" -o "$OUTPUTS" @OPTIONS@ --no-colours --overwrite "$@"

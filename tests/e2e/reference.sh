#!/usr/bin/env bash
# Makes what the other tests compare with: a few synthetic images and a run over them that nobody disturbs.
#
#   reference.sh BIN FOLDER
set -euo pipefail
folder=$2
rm -rf "$folder"
mkdir -p "$folder"
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" "$1" "$folder" reference
"$BIN/imsuper" data synth --out "$folder/data" --classes 8 --per-class 24 --val-per-class 4 --side-min 32 --side-max 128 --seed 3
start 0 --readers 1 --augmenters 1 --io pread
must_balance
must_leave_nothing
mkdir "$folder/w" && mv "$RUN" "$folder/w/run"

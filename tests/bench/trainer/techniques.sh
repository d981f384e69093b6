#!/usr/bin/env bash
# Each technique of a recipe switched on alone, in short runs of the same images: does it train sanely?
#
#   techniques.sh IMSUPER DATA_DIR [EPOCHS] [IMAGES]      DATA_DIR: CIFAR-10 as class folders
#
# Prints one row a technique: training loss and top-1 of the first and the last epoch, validation of the last, seconds. With few
# images and epochs a technique that regularises is expected to be behind; one that diverges or stands still is broken.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: techniques.sh IMSUPER DATA_DIR [EPOCHS] [IMAGES]" >&2; exit 2; }
imsuper=$1 data=$2 epochs=${3:-3} images=${4:-2000}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# summary.csv has a header and one row an epoch; column NAME ROW (2 is the first epoch, $ the last).
column() {
  awk -F , -v name="$1" -v row="$2" -v file="$3" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i }
    row == NR || row == "last" { value = name ~ /top1/ ? 100 * $c : $c } END { if (c == "") { print "no column " name " in " file > "/dev/stderr"; exit 1 } print value }' "$3"
}

try() {
  local name=$1 csv
  shift
  "$imsuper" start --recipe cifar10-resnet20 --data-dir "$data" --subset --subset-size "$images" --epochs "$epochs" --lr 0.1 --batch-size 64 --seed 3 \
    --workspace "$out" --run-name run --quiet "$@" >"$out/log" 2>&1 || { cat "$out/log"; echo "techniques.sh: $name failed" >&2; exit 1; }
  csv=$out/run/summary.csv
  printf '| %-22s | %.3f -> %.3f | %.1f -> %.1f | %.3f | %.1f | %.0f |\n' "$name" "$(column train_loss 2 "$csv")" "$(column train_loss last "$csv")" \
    "$(column train_top1 2 "$csv")" "$(column train_top1 last "$csv")" "$(column val_loss last "$csv")" "$(column val_top1 last "$csv")" "$(column seconds last "$csv")"
  rm -rf "$out/run"
}

echo "| technique | training loss | training top-1 % | val loss | val top-1 % | s |"
echo "|---|---|---|---|---|---|"
try plain
try "MixUp 0.2" --mixup 0.2
try "CutMix 1.0" --cutmix 1
try "MixUp and CutMix" --mixup 0.2 --cutmix 1
try "EMA 0.99" --ema 0.99
try "drop-path 0.1" --drop-path-rate 0.1
try "AutoAugment" --augment autoaugment --aug.policy cifar10
try "label smoothing 0.1" --label-smoothing 0.1
try "gradient clipping 1" --grad-clip 1
try "accumulate 2" --accumulate 2
try "AdamW" --opt adamw --lr 0.002
try "LAMB" --opt lamb --lr 0.005
try "LARS" --opt lars --lr 2
try "bf16" --amp bf16

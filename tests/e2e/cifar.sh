#!/usr/bin/env bash
# A little of CIFAR-10, from JPEG files: the network learns.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# The first N entries of each class of a split, out of the archive's list.
choose() { awk -F / -v n="$2" -v split_name="$1" '$(NF - 2) == split_name && /\.(jpg|jpeg|JPEG|png)$/ && seen[$(NF - 1)]++ < n' "$T/list"; }
column() { awk -F , -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i; next } { print $c }' "$RUN/summary.csv"; }

case_learns() {
  local archive root first last top1
  for archive in "${IMSUPER_DATA:-}" "$here/../../shared/data" "$here/../../../shared/data"; do
    archive=$archive/cifar10-jpeg.tar.zst
    [ -r "$archive" ] && break
  done
  [ -r "$archive" ] || skip "no cifar10-jpeg.tar.zst in \$IMSUPER_DATA or ../shared/data"
  command -v zstd >/dev/null || skip "no zstd"
  tar --zstd -tf "$archive" >"$T/list"
  choose train 200 >"$T/chosen"
  choose val 50 >>"$T/chosen"
  if [ "$(wc -l <"$T/chosen")" -lt 2500 ]; then choose test 50 >>"$T/chosen"; fi
  [ "$(wc -l <"$T/chosen")" = 2500 ] || fail "the archive is not laid out as expected"
  mkdir "$T/cifar"
  tar --zstd -xf "$archive" -C "$T/cifar" -T "$T/chosen"
  root=$(dirname "$(find "$T/cifar" -type d -name train)")
  TRAIN=(--data-dir "$root" --model resnet20 --image-size 32 --train-crop pad:4 --batch-size 64 --epochs 2 --lr 0.1
    --eval-resize 32 --seed 1 --trainer-threads 1)
  LIMIT_SECONDS=200
  start 0
  must_balance
  first=$(column train_loss | head -n 1) last=$(column train_loss | tail -n 1) top1=$(column val_top1 | sort -g | tail -n 1)
  echo "train loss $first -> $last, best validation top-1 $top1 (chance: 0.1)"
  awk -v a="$first" -v b="$last" -v t="$top1" 'BEGIN { exit !(b < a && t > 0.18) }' || fail "it has not learnt"
}

run_case

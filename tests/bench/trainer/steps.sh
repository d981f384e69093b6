#!/bin/sh
# `imsuper bench trainer` and `imsuper profile trainer` answer: numbers that are there, one row a layer, and a refusal.
#   steps.sh IMSUPER
set -eu
imsuper=$1
fail() {
    echo "FAIL: $1"
    exit 1
}
set -- --model resnet20 --image-size 16 --batch-size 4 --trainer-threads 1 --passes 1

"$imsuper" bench trainer "$@" --json | grep -q '"images_per_second":[1-9]' || fail "bench has no images per second"
"$imsuper" bench trainer "$@" --amp bf16 --json | grep -q '"amp":"bf16"' || fail "bench takes no --amp"

"$imsuper" profile trainer "$@" --json >profile.json
grep -q '"step_ms":[0-9]' profile.json || fail "profile has no step"
[ "$(grep -o '"op":"conv"' profile.json | wc -l)" = 21 ] || fail "resnet20 has 21 convolutions"
[ "$(grep -o '"op":"fc"' profile.json | wc -l)" = 1 ] || fail "resnet20 has one fully connected layer"
grep -q '"op":"conv","shape":"16x16x16 -> 16x16x16 k3 s1","forward_ms":[0-9.e-]*[1-9]' profile.json || fail "a convolution took no time"
"$imsuper" profile trainer "$@" | grep -q "update" || fail "the table has no update"

"$imsuper" bench trainer --model resnet20 --batch-size 0 2>err && fail "a batch of nothing is taken"
grep -q "batch-size" err || fail "the refusal does not name the flag"
"$imsuper" bench cooker 2>err && fail "an unknown stage is taken"
grep -q "bench trainer" err || fail "the refusal does not say what there is"
rm -f profile.json err

#!/usr/bin/env bash
# Weights in use: what `imsuper predict` says is what `imsuper eval` counted, and what `imsuper eval` measures is what the run measured while it trained, whatever dies meanwhile.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export TMPDIR=$T
RUNS=$REFERENCE/w
# evaluate STATUS WORD...: its answer goes to $T/answer, the rest to $T/out.
evaluate() {
  local expected=$1 status=0
  shift
  "$BIN/imsuper" eval "$@" --workspace "$RUNS" --plain >"$T/answer" 2>"$T/out" </dev/null || status=$?
  [ "$status" = "$expected" ] || fail "eval $*: exit status $status, not $expected; $(head -n 5 "$T/answer")"
}
# value KEY [FILE]: the first of that name in the answer, which is one line.
value() { grep -oE "\"$1\":[^,}]*" "${2:-$T/answer}" | head -n 1 | cut -d : -f 2-; }
must_have() { [ "$(value "$1")" = "$2" ] || fail "$1 is $(value "$1"), not $2"; }
# of_epoch KEY N: what the run wrote of that epoch.
of_epoch() { grep '"event":"epoch"' "$RUNS/run/metrics.jsonl" | sed -n "$2p" | grep -oE "\"$1\":[^,}]*" | cut -d : -f 2; }
# must_be_epoch N: the answer has the numbers of that epoch, digit by digit.
must_be_epoch() {
  local key
  for key in loss top1 top5; do
    [ "$(value $key)" = "$(of_epoch val_$key "$1")" ] || fail "$key is $(value $key), epoch $1 had $(of_epoch val_$key "$1")"
  done
}

case_eval() {
  evaluate 0 run --weights last --json --readers 2 --augmenters 3
  must_be_epoch 2
  must_have evaluated 32 && must_have schema '"imsuper.eval/1"'
  evaluate 0 "$RUNS/run/checkpoints/epoch_001.safetensors" --json -o "$T/o"
  must_be_epoch 1
  # Weights that were copied out of their run say themselves how their images are made.
  cp "$RUNS/run/checkpoints/last.safetensors" "$T/copied.safetensors"
  evaluate 0 "$T/copied.safetensors" --data-dir "$REFERENCE/data" --batch-size 16 --json
  must_be_epoch 2
  if grep -q "does not say" "$T/out"; then fail "$(cat "$T/out")"; fi
  if [ "$(of_epoch val_top1 2 | cut -c 1-9)" != "$(of_epoch val_top1 1 | cut -c 1-9)" ]; then
    evaluate 0 run --json
    must_be_epoch "$(awk -F , 'NR == 2 { first = $5 } NR == 3 { print ($5 > first ? 2 : 1) }' "$RUNS/run/summary.csv")"
  fi
  evaluate 0 "$RUNS/run" --json --tta flip --image-size 32
  must_have image_size 32 && must_have resize 36 && must_have tta '"flip"'
  # Files: a row for each class and each image, and the rows of the matrix sum up to the images.
  [ "$(wc -l <"$T/o/classes.csv")" = 9 ] || fail "classes.csv"
  [ "$(wc -l <"$T/o/images.csv")" = 33 ] || fail "images.csv"
  [ "$(awk -F , 'NR > 1 { for (i = 2; i <= NF; i++) n += $i } END { print n }' "$T/o/confusion.csv")" = 32 ] || fail "confusion.csv"
  [ "$(head -c 8 "$T/o/confusion.png" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || fail "confusion.png is no PNG"
  [ "$(awk -F , 'NR > 1 { n += $7 } END { printf "%.9f", n / 32 }' "$T/o/images.csv")" = "$(printf %.9f "$(of_epoch val_loss 1)")" ] ||
    fail "the losses of the images are not those of the pass"
  grep -q '"schema": "imsuper.confusion/1"' "$T/o/confusion.json" || grep -q '"schema":"imsuper.confusion/1"' "$T/o/confusion.json" || fail "confusion.json"
  [ -z "$(compgen -G "$T/imsuper-eval-*")" ] || fail "a folder is left behind"
}

# Classes in another order, fewer of them, a file that is no image, a folder of class folders.
case_eval_other_data() {
  local class n=9
  mkdir "$T/d"
  for class in $(find "$REFERENCE/data/val" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort); do
    cp -r "$REFERENCE/data/val/$class" "$T/d/$class"
  done
  evaluate 0 run --weights last --data-dir "$T/d" --json
  must_be_epoch 2
  # The same classes, under names that sort the other way round.
  cp "$RUNS/run/checkpoints/last.safetensors" "$T/w.safetensors"
  sed -i 's/class_000/xlass_000/' "$T/w.safetensors" # damages it
  evaluate 65 "$T/w.safetensors" --data-dir "$T/d" && must_say "is damaged"
  while read -r class; do n=$((n - 1)) && mv "$T/d/$class" "$T/d/$n" && echo $n; done <"$RUNS/run/classes.txt" >"$T/names"
  evaluate 65 run --weights last --data-dir "$T/d"
  must_say "8 of the 8 classes of the data are not among the 8 of the weights"
  evaluate 0 run --weights last --data-dir "$T/d" --class-names "$T/names" --json
  must_say "another order"
  [ "$(value top1)" = "$(of_epoch val_top1 2)" ] || fail "top1 is $(value top1)"
  rm -r "$T/d/3"
  echo "no image" >"$(find "$T/d" -name '*.jpg' | head -n 1)"
  evaluate 0 run --weights last --data-dir "$T/d" --class-names "$T/names"
  must_say "7 of the 8 classes"
  must_say "is not an image"
  grep -q "^images   27 of 8 classes" "$T/answer" || fail "$(cat "$T/answer")"
}

is_under_way() { [ "$(stat -c %s "$T"/imsuper-eval-*/eval/outcomes.bin 2>/dev/null || echo 0)" -gt 5000 ]; }
# A trainer, an augmenter and a reader die half way: the numbers are the same.
case_eval_killed() {
  local pid
  evaluate 0 run --split train --json
  sed 's/"seconds.*"images":/"images":/' "$T/answer" >"$T/first"
  IMSUPER_FAULT=$PACE evaluate 0 run --split train --json --snapshot-steps 2 --readers 2 --augmenters 2 &
  until_true 40 is_under_way || fail "the pass did not begin"
  pid=$(pids trainer)
  kill -KILL "$pid" || fail "the pass was over before"
  for pid in $(pids augmenter | head -n 1) $(pids reader | head -n 1); do kill -KILL "$pid" || true; done
  wait $! || fail "exit status $?"
  grep -q "died" "$T/out" || fail "nobody died"
  cmp <(sed 's/"seconds.*"images":/"images":/' "$T/answer") "$T/first" || fail "the numbers differ"
}

# part I N [WORD...]: of the run's images, in $T/parts.
part() { evaluate 0 run --weights last --batch-size 8 --shard "$1/$2" -o "$T/parts" "${@:3}"; }
# refused TEXT: the parts are not joined, and that is why.
refused() { evaluate 65 "$T/parts" --join && must_say "$1"; }
# Several machines: the answer of all parts is that of one, but for the time, and the last digits of the loss, whose sum has another order.
case_eval_parts() {
  local file i
  evaluate 0 run --weights last --batch-size 8 --json -o "$T/whole"
  evaluate 2 run --shard 0/2 && must_say "give -o DIR"
  evaluate 2 "$T/parts" --join --shard 0/2 -o "$T/o" && must_say "give one of both"
  evaluate 2 "$T/parts" --join --tta flip && must_say "leave it out"
  evaluate 2 run --shard 2/2 -o "$T/parts" && must_say "expected I/N"
  part 0 3 && part 2 3
  if grep -q "no validation images" "$T/out"; then fail "what a part lacks was warned of: $(cat "$T/out")"; fi
  refused "part 1 of 3 is missing"
  NODE_RANK=1 NNODES=3 MASTER_ADDR=n0 evaluate 0 run --weights last --batch-size 8 --shard auto -o "$T/parts"
  evaluate 0 "$T/parts" --join --json -o "$T/joined"
  for file in classes.csv images.csv confusion.csv confusion.json confusion.png; do
    cmp "$T/whole/$file" "$T/joined/$file" || fail "$file of the parts is not that of one machine"
  done
  for file in whole joined; do
    sed -E '/"(seconds|images_per_second)":/d; s/("loss": [0-9]+\.[0-9]{10})[0-9]*(,?)$/\1\2/' "$T/$file/eval.json" >"$T/$file.json"
  done
  cmp "$T/whole.json" "$T/joined.json" || fail "another answer: $(diff "$T/whole.json" "$T/joined.json")"
  cp "$T/parts/1-of-3.part" "$T/parts/again.part"
  refused "are both part 1 of 3"
  head -c -9 "$T/parts/0-of-3.part" >"$T/parts/again.part"
  refused "again.part is damaged"
  rm "$T/parts/again.part" && part 0 2
  refused "keep those of one evaluation in a folder"
  rm "$T/parts/0-of-2.part" && part 1 3 --tta flip
  refused "are not of one evaluation: tta is none and flip"
  evaluate 0 "$RUNS/run/checkpoints/epoch_001.safetensors" --batch-size 8 --shard 1/3 -o "$T/parts"
  refused "are not of one evaluation: the hash of the weights is"
  part 1 3 --split train
  refused "are not of one evaluation: the hash of the images' index is"
  evaluate 2 run --shard 0/1000 -o "$T/parts" && must_say "too few for 1000 parts"
  for i in "$T"/parts/*; do rm "$i"; done
  refused "holds no parts"
}

case_eval_refusals() {
  evaluate 4 none && must_say "is neither a file of weights nor a run"
  evaluate 2 "$T" && must_say "holds no run"
  evaluate 4 run --weights ema && must_say "it needs --ema"
  cp "$RUNS/run/checkpoints/last.safetensors" "$T/w.safetensors"
  evaluate 2 "$T/w.safetensors" && must_say "give --data-dir"
  evaluate 2 "$T/w.safetensors" --weights last && must_say "is a file"
  evaluate 65 run --data-dir "$T/nothing" && must_say "$T/nothing"
  evaluate 2 run --multi-label && must_say "one label each"
  evaluate 2 run --class-names "$REFERENCE/data" && must_say "$REFERENCE/data"
  evaluate 65 "$(dirname "${BASH_SOURCE[0]}")/../golden/types.safetensors" --data-dir "$REFERENCE/data" && must_say "those of none of the networks here"
  "$BIN/imsuper" export "$RUNS/run" --format pt -o "$T/others.pt" >"$T/out" 2>&1 || fail "no file of others"
  "$BIN/imsuper-trainer" weights --init-from="$T/others.pt" >"$T/out" 2>&1 || fail "exit status $?"
  must_say '"model":"resnet20"' && must_say '"ours":false'
  # What its images go through is lost in a .pt file: that is said, and not made up.
  "$BIN/imsuper" import "$T/others.pt" -o "$T/others.safetensors" >"$T/out" 2>&1 || fail "exit status $?"
  must_say "nothing beside or in $T/others.pt says what its pixels go through"
  evaluate 0 "$T/others.safetensors" --data-dir "$REFERENCE/data" --image-size 16
  must_say "does not say how its images are made"
  cp "$(find "$REFERENCE/data/val" -name '*.jpg' | head -n 1)" "$T/image"
  evaluate 65 "$T/image" --data-dir "$REFERENCE/data" && must_say "it looks like an image"
  printf 'a\nb\n' >"$T/names"
  evaluate 2 run --class-names "$T/names" && must_say "names 2 classes"
  evaluate 2 run --image-size 8192 && must_say "image-size"
  [ -z "$(compgen -G "$T/imsuper-eval-*")" ] || fail "a folder is left behind"
}

# What a user names for a result is replaced only if it is a file, and an answer that nothing took is no success.
case_outputs() {
  local verb status
  mkfifo "$T/pipe" && ln -s /dev/full "$T/full"
  for verb in "plot $RUNS/run" "compare $RUNS/run $RUNS/run" "export $RUNS/run" "average $RUNS/run $RUNS/run" "import $RUNS/run/checkpoints/last.safetensors" "data verify --data-dir $REFERENCE/data"; do
    status=0
    # shellcheck disable=SC2086 # words
    "$BIN/imsuper" $verb -o "$T/full" >"$T/answer" 2>"$T/out" </dev/null || status=$?
    case $status in 1 | 2) ;; *) fail "$verb: exit status $status" ;; esac
    grep -q "cannot write .*full" "$T/out" || fail "$verb: $(cat "$T/out")"
    if [ ! -L "$T/full" ] || [ -e "$T/full.1" ]; then fail "$verb replaced what is no file"; fi
    status=0
    # shellcheck disable=SC2086 # words
    "$BIN/imsuper" $verb -o "$T/no/f" >"$T/answer" 2>"$T/out" </dev/null || status=$?
    [ "$status" = 1 ] && must_say "its folder is not there"
  done
  for verb in export import "average $RUNS/run"; do
    status=0
    # shellcheck disable=SC2086 # words
    "$BIN/imsuper" $verb "$RUNS/gone" -o "$T/f" >"$T/answer" 2>"$T/out" </dev/null || status=$?
    [ "$status" = 4 ] || fail "$verb of no run: exit status $status"
  done
  cat "$T/pipe" >"$T/png" &
  "$BIN/imsuper" plot run --workspace "$RUNS" --quiet -o "$T/pipe"
  wait $!
  [ "$(head -c 8 "$T/png" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || fail "no PNG came through the pipe"
  [ -p "$T/pipe" ] || fail "the pipe was replaced"
  # Refused before the work.
  evaluate 1 run -o "$T/pipe" && must_say "a file has that name"
  grep -q "state=" "$T/out" && fail "images were evaluated for nothing"
  status=0
  "$BIN/imsuper" runs --workspace "$RUNS" >/dev/full 2>"$T/out" || status=$?
  [ "$status" = 1 ] && must_say "cannot write to standard output: No space left"
}

# predict STATUS WORD...
predict() {
  local expected=$1 status=0
  shift
  "$BIN/imsuper" predict run "$@" --workspace "$RUNS" --plain >"$T/answer" 2>"$T/out" || status=$?
  [ "$status" = "$expected" ] || fail "predict $*: exit status $status, not $expected; $(head -n 5 "$T/answer")"
}

# has_lines N
has_lines() { [ "$(wc -l <"$T/answer")" -ge "$1" ]; }
# Lines come while the pass goes on, a file that is none has its line there and no other, and a reader that leaves ends the work.
case_predict_lines() {
  IMSUPER_FAULT=$PACE predict 65 "$T/gone.jpg" - --batch-size 2 < <(find "$REFERENCE/data/train" -name '*.jpg' | head -n 60) &
  until_true 40 has_lines 3 || fail "$(cat "$T/answer")"
  [ -n "$(pids trainer)" ] || fail "the lines came after the pass"
  wait $! || fail "exit status $?"
  [ "$(wc -l <"$T/answer")" = 61 ] || fail "$(wc -l <"$T/answer") lines"
  echo "no image" >"$T/text.jpg"
  predict 65 "$T/text.jpg" </dev/null
  grep -q WARN "$T/out" && fail "$(cat "$T/out")"
  must_say "1 image in"
  IMSUPER_FAULT=$PACE "$BIN/imsuper" predict run "$REFERENCE/data/train" --batch-size 2 --workspace "$RUNS" --plain 2>"$T/out" | head -n 1 >"$T/answer" || true
  must_say "stopped"
  # A relative data folder is found from anywhere.
  mkdir "$T/far" "$T/near" && cp -r "$REFERENCE/data" "$T/near/images"
  (cd "$T/near" && "$BIN/imsuper" start "${TRAIN[@]}" --data-dir images --epochs 1 --plain --workspace "$T/w" --run-name near >"$T/out" 2>&1)
  (cd "$T/far" && "$BIN/imsuper" eval ../w/near --plain >"$T/answer" 2>"$T/out") || fail "$(cat "$T/out")"
  grep -q "^images   32 " "$T/answer" || fail "$(cat "$T/answer")"
  "$BIN/imsuper" logs near reader#99 --workspace "$T/w" 2>"$T/out" && fail "there is a reader 99"
  must_say "no such process"
}

# Files, folders and names from stdin, with some that are no images: a line for each, in their order, and the classes are
# those that eval wrote.
case_predict() {
  local val=$REFERENCE/data/val first part
  evaluate 0 run --weights last -o "$T/o"
  predict 0 "$val" --weights last --json --top-k 1 </dev/null
  must_say "images/s"
  [ "$(wc -l <"$T/answer")" = 32 ] || fail "$(wc -l <"$T/answer") lines"
  diff <(sed 's/.*"image":".*\/data\/\([^"]*\)".*"class":"\([^"]*\)".*/\1 \2/' "$T/answer") \
    <(awk -F '"' 'NR > 1 { print $2, $6 }' "$T/o/images.csv") || fail "the classes are not those of eval"
  # The sum of all probabilities is 1.
  first=$(find "$val" -name '*.jpg' | sort | head -n 1)
  predict 0 --json --top-k 8 "$first" </dev/null
  grep -oE '"probability":[^,}]*' "$T/answer" | awk -F : '{ s += $2 } END { exit !(s > 0.9999 && s < 1.0001) }' || fail "$(cat "$T/answer")"
  echo "no image" >"$T/text.jpg" && : >"$T/empty.jpg" && cp "$first" "$T/an image"
  predict 65 "$T/text.jpg" "$T/an image" "$T/gone.jpg" "$T/empty.jpg" - <<<"$first"
  [ "$(cut -d : -f 1 "$T/answer")" = "$(printf '%s\n' "$T/text.jpg" "$T/an image" "$T/gone.jpg" "$T/empty.jpg" "$first")" ] || fail "$(cat "$T/answer")"
  [ "$(grep -c ': error: ' "$T/answer")" = 3 ] || fail "$(cat "$T/answer")"
  grep -qF "text.jpg: error: the file is not an image" "$T/answer" || fail "$(cat "$T/answer")"
  [ "$(sed -n '2s/.*: //p' "$T/answer")" = "$(sed -n '5s/.*: //p' "$T/answer")" ] || fail "the same bytes have other classes"
  # Parts on several machines are the whole, to the last digit, also where a file in the middle cannot be used.
  predict 65 "$REFERENCE/data/train" "$T/gone.jpg" "$val" --json --top-k 8 --batch-size 5 </dev/null
  mv "$T/answer" "$T/whole"
  for part in 0 1 2; do
    NNODES=3 NODE_RANK=$part MASTER_ADDR=n0 predict $((part == 2 ? 65 : 0)) "$REFERENCE/data/train" "$T/gone.jpg" "$val" --json --top-k 8 --batch-size 5 --shard auto </dev/null
    cat "$T/answer" >>"$T/parts"
  done
  cmp "$T/whole" "$T/parts" || fail "parts of the images have other lines than all of them"
  predict 2 "$val" --shard 3/3 </dev/null && must_say "expected I/N"
  predict 65 "$T/gone.jpg" --json </dev/null
  grep -q '"error":"No such file' "$T/answer" || fail "$(cat "$T/answer")"
  predict 2 </dev/null && must_say "is missing: imsuper predict"
  predict 2 "" </dev/null && must_say "is empty"
  mkdir "$T/nothing" && predict 2 "$T/nothing" </dev/null && must_say "there are no images"
  [ -z "$(compgen -G "$T/imsuper-eval-*")" ] || fail "a folder is left behind"
}

# The pass is over: who has asked for it is all that is left, and its answer waits.
waits_for_a_reader() { says "${WORDS%% *}" && [ "$(ours)" = "$WARDEN" ]; }
# A pipe that nobody reads, full: Ctrl-C ends them all the same.
case_nobody_reads() {
  mkfifo "$T/pipe"
  exec 8<>"$T/pipe"
  timeout 1 cat /dev/zero >&8 || true
  for WORDS in "eval run --json" "predict run $REFERENCE/data/val"; do
    : >"$T/out"
    set -m
    # shellcheck disable=SC2086 # several words
    "$BIN/imsuper" $WORDS --workspace "$RUNS" --plain >"$T/pipe" 2>"$T/out" </dev/null &
    WARDEN=$!
    set +m
    until_true 60 waits_for_a_reader || fail "the pass does not end"
    kill -INT "$WARDEN"
    within 15 is_over || fail "${WORDS%% *} does not end"
    finish 130
    [ -z "$(compgen -G "$T/imsuper-eval-*")" ] || fail "a folder is left behind"
  done
}

run_case

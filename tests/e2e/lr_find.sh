#!/usr/bin/env bash
# Learning-rate range tests: what they write, where they stop, and that they leave nothing behind and touch no run.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export TMPDIR=$T
# find_rate FLAG...: a test over the reference's images, its files in $T.
find_rate() {
  "$BIN/imsuper" lr-find "${TRAIN[@]}" --plain --output "$T/curve.png" "$@" >"$T/out" 2>&1 || fail "exit status $?"
  [ "$(head -c 8 "$T/curve.png" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || fail "curve.png is no PNG"
  RUN=$T/none
}
value() { sed -n "s/.*\"$1\": *\([^,]*\),\{0,1\}\$/\1/p" "$T/curve.json"; }
# between LOW NAME HIGH: a value of the JSON file.
between() { awk -v low="$1" -v v="$(value "$2")" -v high="$3" 'BEGIN { exit !(v >= low && v <= high) }' || fail "$2 is $(value "$2")"; }

case_suggests() {
  find_rate --opt adamw --batch-size 64 --num-iter 60 --start-lr 1e-5 --end-lr 0.1
  must_say "60 of 60 steps of 64 images, 1e-05 to 0.1"
  must_say "next       imsuper start --lr "
  between 1e-5 steepest 0.1 && between 1e-5 valley 0.1 && between 1e-6 min_div_10 0.01 && between 1e-5 suggested_max_lr 0.01
  [ "$(value diverged)" = false ] || fail "it did not diverge"
  [ "$(ls "$T")" = "$(printf '%s\n' cache curve.json curve.png never out rt)" ] || fail "left behind: $(ls "$T")"
}

has_third_step() { grep -qs '"step":3,' "$T"/imsuper-lr-find-*/lr-find/metrics.jsonl; }
# The trainer dies half way: the test begins anew, and gives the same numbers.
case_killed() {
  find_rate --num-iter 40 --start-lr 1e-5 --end-lr 1
  mv "$T/curve.json" "$T/first.json"
  IMSUPER_FAULT=$PACE find_rate --num-iter 40 --start-lr 1e-5 --end-lr 1 --readers 2 &
  until_true 40 has_third_step || fail "no third step"
  kill -KILL "$(pids trainer)" || fail "the test was over before"
  wait $! || fail "exit status $?"
  cmp "$T/curve.json" "$T/first.json" || fail "the numbers differ"
}

case_diverges() {
  find_rate --num-iter 60 --start-lr 1e-3 --end-lr 1e6
  must_say "where the loss diverged"
  [ "$(value diverged)" = true ] || fail "it diverged"
  between 5 taken 59
}

# Rates that change nothing: no suggestion. The files have the names of scripts around torch-lr-finder, progress is in steps.
case_flat() {
  cd "$T"
  "$BIN/imsuper" lr-find "${TRAIN[@]}" --plain --status-interval 0.2 --num-iter 30 --start-lr 1e-12 --end-lr 1e-9 >out 2>&1 ||
    fail "exit status $?"
  must_say "the loss did not fall: no rate can be suggested"
  if says "next "; then fail "it suggests a rate"; fi
  grep -qE '^step=[0-9]+/30 ' out || fail "no progress in steps"
  if says epoch=; then fail "a range test has no epochs"; fi
  ls lr_finder_plots/lr_finder_*_start1e-12_end1e-09_iter30.png >/dev/null || fail "no plot: $(ls lr_finder_plots)"
  grep -q '"suggested_max_lr": null' lr_finder_plots/lr_suggestion_*.json || fail "it suggests a rate"
  "$BIN/imsuper" lr-find "${TRAIN[@]}" --plain --num-iter 30 --output_dir elsewhere >out 2>&1 || fail "exit status $?"
  [ "$(find elsewhere -name 'lr_*' | wc -l)" = 2 ] || fail "$(find elsewhere)"
  [ ! -e runs ] || fail "--output_dir is no workspace here"
}

case_bad_range() {
  local status=0
  "$BIN/imsuper" lr-find "${TRAIN[@]}" --start-lr 2 --end-lr 1 >"$T/out" 2>&1 || status=$?
  [ $status = 2 ] || fail "exit status $status, not 2"
  must_say "start-lr 2 is not below end-lr 1"
}

run_case

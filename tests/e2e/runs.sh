#!/usr/bin/env bash
# What a run leaves in its directory and what another start makes of it: equal files, starts that fail, options that differ, files
# that are missing or lie, and `imsuper runs`.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# short FLAG...: one epoch more than nothing.
short() { start 0 --epochs 1 "$@"; }
entries() { find "$T/w" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | tr '\n' ' '; }
latest_is() { [ "$(readlink "$T/w/latest")" = "$1" ] || fail "latest is $(readlink "$T/w/latest"), not $1"; }
# at_once SECONDS STATUS FLAG...: a start that must not wait for anything.
at_once() {
  local limit=$1 status=0
  timeout "$limit" "$BIN/imsuper" start "${TRAIN[@]}" --plain --workspace "$T/w" --run-name "${NAME:-run}" "${@:3}" >"$T/out" 2>&1 </dev/null || status=$?
  [ "$status" = "$2" ] || fail "exit status $status, not $2, with ${*:3}"
}

# Every file of weights and state is the reference's, byte for byte, with kills in between, too.
case_equal_files() {
  local file
  FAULTS=$PACE
  launch --readers 2 --augmenters 2 --snapshot-steps 2
  wait_step 3
  kill -KILL "$(pids trainer)" || fail "there was no trainer"
  wait_step 7
  send INT
  finish 75
  [ -s "$RUN/checkpoints/last.times.json" ] || fail "the seconds of the epoch were not kept"
  FAULTS=""
  start 0 --augmenters 3
  (cd "$REFERENCE/w/run/checkpoints" && sha256sum ./*.safetensors) >"$T/sums"
  [ "$(wc -l <"$T/sums")" -ge 5 ] || fail "the reference has too few files"
  (cd "$RUN/checkpoints" && sha256sum --quiet -c "$T/sums") || fail "files of equal runs differ"
  for file in metrics.jsonl summary.csv; do [ -s "$RUN/$file" ] || fail "$file is missing"; done
  awk -F, 'NR > 1 && !($8 > 0 && $8 < 1e6 && $9 > 0) { exit 1 }' "$RUN/summary.csv" || fail "images/s or seconds are wrong"
}

# What is no file is refused at once, with a sentence, and leaves nothing.
case_special_files() {
  mkfifo "$T/pipe"
  for flag in --init-from --resume --config; do
    at_once 20 2 $flag "$T/pipe"
    must_say "is a pipe; a file is needed here"
    at_once 20 2 $flag /dev/zero
    must_say "is a device; a file is needed here"
    at_once 20 2 $flag "$T"
    must_say "is a folder; a file is needed here"
  done
  [ ! -e "$T/w/run" ] || fail "a start that was refused left a run"
}

# A bit of imsuper's own weights: its checksums are verified.
case_damaged_weights() {
  cp "$REFERENCE/w/run/checkpoints/last.safetensors" "$T/weights.safetensors"
  start 0 --epochs 1 --init-from "$T/weights.safetensors"
  rm -r "$T/w"
  printf '\xff' | dd of="$T/weights.safetensors" bs=1 seek=500001 conv=notrunc 2>/dev/null
  start 65 --init-from "$T/weights.safetensors"
  must_say "is damaged: the bytes of tensor"
  if says "going back to the last"; then fail "weights that cannot be used are tried again"; fi
  [ "$(entries)" = "" ] || fail "a start that failed left: $(entries)"
  RUN=$T/none
  if "$BIN/imsuper" model --model resnet20 --classes 8 --init-from "$T/weights.safetensors" >"$T/out" 2>&1; then fail "damaged weights fit"; fi
  must_say "is damaged"
}

status_means() { grep -q "\"run\": *\"$1\"" < <("$BIN/imsuper" status --workspace "$T/w" --json 2>/dev/null); }
# Neither latest nor a folder, whatever ends the start; a run that was there keeps its configuration.
case_failed_starts() {
  short
  latest_is run
  NAME=other at_once 60 65 --data-dir "$T/nowhere"
  NAME=other at_once 60 2 --batch-size 100000
  head -c 100000 /dev/zero >"$T/no.safetensors"
  NAME=other at_once 60 65 --init-from "$T/no.safetensors"
  latest_is run
  [ "$(entries)" = "latest run " ] || fail "left behind: $(entries)"
  cp "$RUN/config.yaml" "$T/config"
  at_once 60 2 --epochs 2 --seed 8
  cmp "$RUN/config.yaml" "$T/config" || fail "a start that failed changed config.yaml"
  # Ctrl-C before the first step: there is nothing to continue. Meanwhile status means the run that starts.
  IMSUPER_FAULT=trainer:process.enter.after=sleep:60000@1 "$BIN/imsuper" start "${TRAIN[@]}" --plain --workspace "$T/w" --run-name other >"$T/out" 2>&1 &
  WARDEN=$!
  until_true 20 status_means other || fail "status does not mean the run that starts"
  send INT
  finish 75
  must_say "nothing was trained yet"
  latest_is run
  [ "$(entries)" = "latest run " ] || fail "left behind: $(entries)"
}

case_differences() {
  short
  start 0 --epochs 2 --lr 0.05 --resume
  must_say "changed lr: 0.05, before 0.1"
  must_say "changed epochs: 2, before 1"
  grep -q '^lr: 0.1 ' "$RUN/config.1.yaml" || fail "the configuration of before was not kept"
  grep -q '^lr: 0.05 ' "$RUN/config.yaml" || fail "config.yaml is not the new one"
  start 0 --epochs 2 --lr 0.05
  [ ! -e "$RUN/config.2.yaml" ] || fail "the same configuration was kept twice"
  start 2 --epochs 3 --model resnet32
  must_say "this run began with --model resnet20, not --model resnet32"
  start 2 --epochs 3 --opt adamw --lr 0.001
  must_say "this run began with --opt sgd, not --opt adamw"
}

# DONE counts as far as the state has its epochs.
case_done_lies() {
  short
  echo '{"epochs": 2}' >"$RUN/DONE"
  start 0
  must_say "DONE says that 2 epochs are done, but the last state has 1; going on from there"
  [ "$(wc -l <"$RUN/summary.csv")" = 3 ] || fail "it did not go on"
  start 0
  must_say "is done"
  mkdir "$T/state"
  mv "$RUN"/checkpoints/*state* "$T/state"
  start 2
  must_say "its state is missing"
  rm "$RUN/DONE"
  start 2
  must_say "put it back"
  start 2 --epochs 3
  mv "$T/state"/* "$RUN/checkpoints"
  start 0 --epochs 3
}

# The states go away while the run is on, and then its trainer dies: it does not begin anew over the old metrics.
case_lost_state() {
  FAULTS=$PACE
  launch --snapshot-interval 0
  wait_step 14
  rm "$RUN"/checkpoints/*state*
  kill -KILL "$(pids trainer)" || fail "there was no trainer"
  until_true "$LIMIT_SECONDS" is_over || fail "the run did not end"
  if wait "$WARDEN"; then fail "it ended well without its state"; fi
  must_say "but no state"
  grep -q '"event":"epoch"' "$RUN/metrics.jsonl" || fail "the metrics of the first epoch are gone"
}

case_changed_images() {
  local file other
  cp -a "$REFERENCE/data" "$T/data"
  sleep 0.1
  short --data-dir "$T/data"
  start 0 --data-dir "$T/data"
  if says "changed since this run began"; then fail "no image changed"; fi
  file=$(find "$T/data/train" -name '*.jpg' | sort | sed -n 1p) other=$(find "$T/data/train" -name '*.jpg' | sort | sed -n 2p)
  cp "$other" "$file"
  start 0 --epochs 3 --data-dir "$T/data"
  must_say "1 image changed since this run began (${file#"$T/data/"}); continuing uses the new bytes"
}

has_started_twice() { [ "$(count_events run.started)" = 2 ]; }
runs() { "$BIN/imsuper" runs --workspace "$T/w" "$@" >"$T/runs" || fail "exit status $?"; }
# listed NAME STATE EPOCHS: the line of a run.
listed() { awk -v run="$1" -v state="$2" -v epochs="$3" '$NF == run && $1 == state && $2 == epochs { n++ } END { exit n != 1 }' "$T/runs" || { cat "$T/runs" && fail "$1 is not $2 with $3"; }; }
case_list() {
  short
  mkdir -p "$T/w/empty" "$T/w/junk" "$T/w/measured/checkpoints"
  touch "$T/w/measured/.lock" # as a SIGKILL while the data is measured leaves it
  head -c 5000 /dev/urandom >"$T/w/junk/events.jsonl"
  head -c 5000 /dev/urandom >"$T/w/junk/summary.csv"
  head -c 5000 /dev/urandom >"$T/w/junk/DONE"
  mkfifo "$T/w/junk/config.yaml"
  mkdir -p "$T/w/esc"$'\e'"[31m"
  touch "$T/w/file" "$T/w/esc"$'\e'"[31m/.lock"
  FAULTS=trainer:trainer.step.done=sleep:3000@1/every # nobody sees the first epoch end
  RUN=$T/w/two
  launch --run-name two --epochs 7
  until_true "$LIMIT_SECONDS" test -s "$RUN/config.yaml" || fail "the run did not start"
  runs
  listed run "done" 1/1
  listed two running 0/7
  listed junk crashed 0
  listed measured "unstarted" 0
  if grep -q $'\e' "$T/runs"; then fail "a name reached the terminal raw"; fi
  if grep -qE ' (empty|file|latest)$' "$T/runs"; then fail "what is no run is listed"; fi
  send INT
  finish 75
  runs
  listed two stopped 0/7
  FAULTS=trainer#0:trainer.step.done=sleep:60000@1
  launch --run-name two --epochs 7
  until_true 20 has_started_twice || fail "it is not said that the run started"
  # shellcheck disable=SC2046 # several
  kill -KILL $(pids warden) $(pids supervisor) $(pids data) $(pids trainer) 2>/dev/null || true
  until_true 20 nobody_left || fail "left behind"
  runs
  listed two crashed 0/7
  runs --json
  grep -q '"schema":"imsuper.runs/1"' "$T/runs" || fail "no schema"
  grep -q '"run":"run","state":"done","epoch":1,"epochs":1,"best_val_top1":' "$T/runs" || fail "$(cat "$T/runs")"
  find "$T/rt" -name '*.sock' -delete # of the killed supervisor
}

has_second_step() { grep -qs '"step":2,' "$TMPDIR"/imsuper-lr-find-*/lr-find/metrics.jsonl; }
# What a killed test leaves goes with the next one, what a living one has does not.
case_lr_find_left_over() {
  export TMPDIR=$T/tmp
  mkdir "$TMPDIR"
  IMSUPER_FAULT=$PACE "$BIN/imsuper" lr-find "${TRAIN[@]}" --num-iter 100 --output "$T/a.png" >"$T/out" 2>&1 &
  until_true 40 has_second_step || fail "no second step"
  find "$TMPDIR" -mindepth 1 -maxdepth 1 -exec touch -d '1 minute ago' {} +
  "$BIN/imsuper" lr-find "${TRAIN[@]}" --num-iter 30 --output "$T/b.png" >"$T/out" 2>&1 || fail "exit status $?"
  [ "$(find "$TMPDIR" -mindepth 1 -maxdepth 1 | wc -l)" = 1 ] || fail "the folder of a living test is gone"
  # shellcheck disable=SC2046 # several
  kill -KILL $(ours)
  wait || true
  until_true 20 nobody_left || fail "left behind"
  find "$TMPDIR" -mindepth 1 -maxdepth 1 -exec touch -d '1 minute ago' {} +
  "$BIN/imsuper" lr-find "${TRAIN[@]}" --num-iter 30 --output "$T/b.png" >"$T/out" 2>&1 || fail "exit status $?"
  [ "$(find "$TMPDIR" -mindepth 1 | wc -l)" = 0 ] || fail "left behind: $(ls "$TMPDIR")"
  find "$T/rt" -name '*.sock' -delete # of the killed supervisor
  RUN=$T/none
}

run_case

#!/usr/bin/env bash
# What is made of a run for others, through the deaths of a trainer and of the supervisor: TensorBoard's file, report.html,
# /metrics, the command of --on-event.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
FAULTS=$PACE

get_metrics() (
  exec 3<>"/dev/tcp/127.0.0.1/$PORT" || exit 1
  printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
  cat <&3
)
serves() { get_metrics 2>/dev/null >"$T/metrics" && grep -q "$1" "$T/metrics"; }
hears() { grep -qs "\"event\":\"$1\"" "$T/heard"; }

case_deaths() {
  PORT=$(free_port)
  launch --snapshot-steps 1 --per-class-log --metrics-listen "$PORT" --on-event "cat >>$T/heard"
  wait_step 6
  until_true 20 serves '^imsuper_epoch 1$' || fail "no metrics are served"
  # shellcheck disable=SC2046 # lists of numbers
  kill -KILL $(pids supervisor) $(pids trainer) 2>/dev/null || true
  until_true 20 hears process.died || fail "the command did not hear of the death"
  until_true 20 serves '^imsuper_process_deaths_total [1-9]' || fail "the next supervisor serves no metrics"
  finish 0
  check_outcome
  [ "$(grep -c '"event":"epoch.ended"' "$T/heard")" = 2 ] || fail "the command did not hear of each epoch once: $(cat "$T/heard")"
  hears checkpoint.saved || fail "the command did not hear of a checkpoint"
  tail -n 1 "$T/heard" | grep -q '"event":"run.finished".*"exit_status":0' || fail "the end is not the last it heard"
  [ "$(find "$RUN/tensorboard" -type f -name 'events.out.tfevents.*' | wc -l)" = 1 ] || fail "not one event file"
  # Tables of each class: those of an evaluation of the same weights.
  for epoch in 001 002; do
    "$BIN/imsuper" eval "$RUN/checkpoints/epoch_$epoch.safetensors" -o "$T/eval" --quiet >"$T/answer" || fail "exit status $?"
    cmp "$T/eval/classes.csv" "$RUN/per_class/epoch_$epoch.csv" || fail "other numbers of the classes than eval's"
    cmp <(tr -d '"' <"$T/eval/confusion.csv" | awk -F , 'NR > 1 { for (i = 2; i <= NF; i++) if ($i) print NR - 2 "," i - 2 "," $i }') \
      <(tail -n +2 "$RUN/per_class/confusion_$epoch.csv") || fail "another confusion matrix than eval's"
    [ "$(head -c 8 "$RUN/per_class/confusion_$epoch.png" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || fail "no picture of epoch $epoch"
  done
  [ "$(head -c 8 "$RUN/first_batch.png" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || fail "no picture of the first batch"
  grep -q 'Each class, epoch 2' "$RUN/report.html" || fail "report.html lacks the classes"
  grep -q '</html>' "$RUN/report.html" || fail "no whole report.html"
  [ "$(grep -c '"limit":' "$RUN/stages.jsonl")" -ge 2 ] || fail "stages.jsonl lacks the epochs"
}

run_case

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
  launch --snapshot-steps 1 --metrics-listen "$PORT" --on-event "cat >>$T/heard"
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
  grep -q '</html>' "$RUN/report.html" || fail "no whole report.html"
  [ "$(grep -c '"limit":' "$RUN/stages.jsonl")" -ge 2 ] || fail "stages.jsonl lacks the epochs"
}

run_case

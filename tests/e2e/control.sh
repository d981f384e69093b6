#!/usr/bin/env bash
# What users ask of a run while it goes on: wherever its control socket is, whatever happened to it, and with the weights of the
# undisturbed run at the end.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# ask STATUS VERB...: imsuper VERB on the launched run; its output goes to $T/answer.
ask() {
  local expected=$1 status=0
  shift
  "$BIN/imsuper" "$@" --workspace "$T/w" --run-name run >"$T/answer" 2>&1 </dev/null || status=$?
  [ "$status" = "$expected" ] || fail "imsuper $*: exit status $status, not $expected: $(cat "$T/answer")"
}
answers() { grep -qF -- "$1" "$T/answer" || fail "the answer lacks: $1: $(cat "$T/answer")"; }
status_has() { grep -qF -- "$1" < <(status_json); }
is_paused() { status_has '"state": "paused"'; }
processes_of() { status_json | grep -cF "\"role\": \"$1\"" || true; }
has_processes() { [ "$(processes_of "$1")" = "$2" ] && [ "$(pids "$1" | wc -l)" = "$2" ]; }
kill_supervisor() {
  # shellcheck disable=SC2046 # a number
  kill -KILL $(pids supervisor) || fail "there is no supervisor to kill"
}
socket_of_run() { sed -n 's/.*"socket": "\(.*\)".*/\1/p' "$RUN/.control"; }

# A timeline of all processes while some die; what keeps it costs the run no bit.
case_trace() {
  local pid event
  FAULTS=trainer:trainer.step.done=sleep:300@1/every # time for the command to begin
  launch --augmenters 2
  wait_step 2
  "$BIN/imsuper" trace run --workspace "$T/w" --seconds $((3 * SLOWNESS)) -o "$T/trace.json" >"$T/answer" 2>&1 &
  wait_step 4
  for pid in $(pids augmenter | head -n 1); do kill -KILL "$pid"; done
  kill_supervisor
  wait $! || fail "trace: exit status $?: $(cat "$T/answer")"
  answers " events of "
  "$BIN/check_profile" "$T/trace.json" 5 || fail "the trace breaks the rules of its format"
  for event in '"read","cat"' '"render","cat":"augmenter"' '"batch","cat":"trainer"' '"images ready"'; do
    grep -qF "\"name\":$event" "$T/trace.json" || fail "no event $event"
  done
  finish 0
  check_outcome
}

# Another mode of the directory, and the supervisor dies: its successor takes the mode back.
case_socket_mode() {
  FAULTS=$PACE
  launch
  wait_step 3
  chmod 755 "$T/rt/imsuper"
  kill_supervisor
  wait_step 8
  [ "$(stat -c %a "$T/rt/imsuper")" = 700 ] || fail "the directory's mode is $(stat -c %a "$T/rt/imsuper")"
  finish 0
  check_outcome
}

# A file in the directory's place: before the start, and in the place of what was removed while the run goes on.
case_socket_file() {
  export TMPDIR=$T/tmp
  mkdir "$T/tmp"
  touch "$T/rt/imsuper"
  FAULTS=$PACE
  launch
  wait_step 3
  case $(socket_of_run) in "$T"/tmp/*) ;; *) fail "the socket is $(socket_of_run)" ;; esac
  rm -rf "$T"/tmp/imsuper-*
  touch "$T/tmp/imsuper-$(id -u)"
  kill_supervisor
  wait_step 8
  case $(socket_of_run) in "$T"/tmp/imsuper-"$(id -u)"-*) ;; *) fail "the socket is $(socket_of_run)" ;; esac
  finish 0
  check_outcome
  [ -z "$(find "$T/tmp" -type d -name 'imsuper-*')" ] || fail "left behind: $(ls "$T/tmp")"
}

# The directory is removed (log-out, a cleaner of /tmp): the socket is made again within seconds.
case_socket_removed() {
  FAULTS=trainer:trainer.step.done=sleep:300@1/every # time for two removals
  launch
  wait_step 2
  rm -rf "$T/rt/imsuper"
  until_true 8 reached 3 || fail "nobody answers after the socket was removed"
  must_say "the control socket is now"
  rm -rf "$T/rt/imsuper"
  until_true 8 test -S "$(socket_of_run)" || fail "the socket was not made again"
  ask 0 status
  finish 0
  check_outcome
  [ "$(grep -c "the control socket is now" "$T/out")" = 1 ] || fail "the same name is printed more than once"
  [ "$(grep -c '"event":"epoch"' "$RUN/metrics.jsonl")" = 2 ] || fail "an epoch is missing"
  [ "$(grep -cE '^ +[12]  +8 ' "$T/out")" = 2 ] || fail "an epoch was not shown"
}

# status and stop with another environment than the run's.
case_other_asker() {
  FAULTS=$PACE
  launch
  wait_step 3
  XDG_RUNTIME_DIR=/nonexistent TMPDIR=/nonexistent ask 0 status
  (unset XDG_RUNTIME_DIR && ask 0 stop) || exit 1
  finish 75
}

# What somebody writes into the record is checked, and set right within seconds; nothing is done where it leads.
record_is_right() { [ -f "$RUN/.control" ] && [ "$(socket_of_run)" = "$1" ] && grep -q "\"pid\": *$WARDEN\b" "$RUN/.control"; }
case_record() {
  local socket content
  FAULTS=trainer:trainer.step.done=sleep:400@1/every # time for three repairs
  launch
  wait_step 2
  socket=$(socket_of_run)
  mkdir -m 755 "$T/victim"
  for content in garbage foreign pipe; do
    rm -f "$RUN/.control"
    case $content in
    garbage) echo "not JSON" >"$RUN/.control" ;;
    foreign) echo "{\"schema\":\"imsuper.control/1\",\"socket\":\"$T/victim/precious\",\"pid\":$$}" >"$RUN/.control" ;;
    pipe) mkfifo "$RUN/.control" ;;
    esac
    if [ $content = foreign ]; then kill_supervisor; fi
    ask 0 status
    until_true 10 record_is_right "$socket" || fail "$content: the record is not written again: $(ls -l "$RUN/.control")"
  done
  [ "$(stat -c %a "$T/victim")" = 755 ] || fail "the mode of a folder that the record named was changed"
  [ -z "$(ls -A "$T/victim")" ] || fail "the folder that the record named has $(ls -A "$T/victim")"
  finish 0
  check_outcome
  if says "the control socket is now"; then fail "the socket never moved"; fi
}

# Without the file of its lock the directory of a run is locked all the same.
case_lock_removed() {
  local status=0
  FAULTS=$PACE
  launch
  wait_step 2
  rm "$RUN/.lock"
  "$BIN/imsuper" start "${TRAIN[@]}" --plain --workspace "$T/w" --run-name run >"$T/answer" 2>&1 </dev/null || status=$?
  [ $status = 2 ] || fail "a second start in the same folder: exit status $status"
  answers "is going on"
  ask 0 status
  rm -f "$RUN/.lock"
  mkfifo "$RUN/.lock"
  ask 0 status
  rm "$RUN/.lock"
  finish 0
  check_outcome
}

# Another user is told that the run is not his, not that it is over.
case_other_user() {
  [ "$(id -u)" = 0 ] || skip "needs root, who can become another user"
  FAULTS=$PACE
  launch
  wait_step 2
  chmod 755 "$T" "$T/w" "$RUN"
  cp "$BIN/imsuper" "$T/imsuper"
  local directory verb status
  for directory in 755 711; do # 711: its lock cannot be seen either
    chmod $directory "$RUN"
    for verb in status pause; do
      status=0
      setpriv --reuid 65534 --regid 65534 --clear-groups env -u XDG_RUNTIME_DIR \
        "$T/imsuper" $verb --workspace "$T/w" --run-name run >"$T/answer" 2>&1 </dev/null || status=$?
      [ $status = 1 ] || fail "$verb of another user: exit status $status: $(cat "$T/answer")"
      answers "permission denied"
    done
  done
  ask 0 status
  finish 0
  check_outcome
}

# No usable place at all: the run trains without a socket, says so, and takes one as soon as there is one.
case_socket_none() {
  local point=supervisor:control.place=fail:EACCES # XDG_RUNTIME_DIR, /tmp, a new directory there; then it works again
  FAULTS="$point@1,$point@2,$point@3,trainer:trainer.step.done=sleep:400@1/every"
  unset TMPDIR
  launch
  until_true 20 has_event '"control.none"' || fail "nobody says that there is no socket"
  must_say "no place for the control socket"
  ask 1 status
  answers "kill -TERM $WARDEN"
  until_true 15 says "the control socket is now" || fail "no socket although there is a place"
  ask 0 status
  send TERM
  finish 75
  FAULTS=""
  start 0
  check_outcome
}

# Everything is killed at once: the socket that stays is removed by the next command.
case_left_socket() {
  local pid socket
  FAULTS=$PACE
  launch
  wait_step 3
  socket=$(socket_of_run)
  for pid in $(ours); do kill -STOP "$pid" 2>/dev/null || true; done
  for pid in $(ours); do kill -KILL "$pid" 2>/dev/null || true; done
  until_true 10 is_over || fail "the run lives"
  until_true 10 nobody_left || fail "left behind: $(ours)"
  [ -S "$socket" ] || fail "nothing was left; the case proves nothing"
  ask 3 status
  [ ! -e "$socket" ] || fail "the socket stayed"
  [ ! -e "$RUN/.control" ] || fail "its record stayed"
}

case_pause() {
  local before
  FAULTS=$PACE
  launch
  wait_step 4
  ask 0 pause
  answers paused
  until_true 5 is_paused || fail "the run is not paused"
  ask 0 pause
  answers "paused already"
  before=$(steps_done)
  sleep 1
  kill_supervisor # for the next one, too, the run is paused
  sleep 1
  until_true 10 is_paused || fail "the pause ended with the supervisor"
  [ "$(steps_done)" -le $((before + 1)) ] || fail "training went on: step $before, then $(steps_done)"
  send USR2 # a checkpoint of a paused run
  until_true 10 test -e "$RUN/checkpoints/last.state.safetensors" || fail "a paused run does not save"
  ask 0 resume
  ask 0 resume
  answers "not paused"
  finish 0
  check_outcome
  has_event '"run.paused"' || fail "the events lack the pause"
  has_event '"run.resumed"' || fail "the events lack its end"
}

# A paused run is stopped and saved; the same command continues it.
case_pause_stop() {
  FAULTS=$PACE
  launch --readers 2
  wait_step 4
  ask 0 pause
  until_true 5 is_paused || fail "the run is not paused"
  ask 0 stop
  finish 75
  must_leave_nothing
  FAULTS=""
  start 0
  check_outcome
}

case_scale() {
  FAULTS=$PACE
  launch --readers 1 --augmenters 1 --decode-memory-mib 65536
  wait_step 2
  ask 0 scale augmenters=4 readers=3
  answers "readers 3, augmenters 4"
  if [ "$(awk '/MemTotal/ { print int($2 / 1048576) }' /proc/meminfo)" -lt 500 ]; then
    answers "warning: large images may take 256.0 GiB in 4 augmenters"
  fi
  until_true 10 has_processes augmenter 4 || fail "there are not 4 augmenters"
  until_true 10 has_processes reader 3 || fail "there are not 3 readers"
  kill_supervisor # the next one keeps the numbers
  wait_step 7
  ask 0 scale augmenters=2,readers=1
  until_true 10 has_processes augmenter 2 || fail "the augmenters have not left"
  until_true 10 has_processes reader 1 || fail "the readers have not left"
  [ "$(count_events '"process.died"')" = 0 ] || fail "who left counts as dead"
  [ "$(count_events '"process.left"')" = 4 ] || fail "$(count_events '"process.left"') left, not 4"
  finish 0
  check_outcome
}

readers_left() { [ "$(count_events '"process.left","role":"reader"')" = "$1" ]; }
case_restart() {
  local first
  FAULTS=$PACE
  launch --readers 2 --augmenters 2
  wait_step 3
  first=$(pids augmenter | sort | tr '\n' ' ')
  ask 0 restart 'augmenter#1'
  until_true 10 has_event '"process.left","role":"augmenter","index":1' || fail "augmenter#1 has not left"
  ask 0 restart readers
  until_true 10 readers_left 2 || fail "the readers have not left"
  until_true 10 has_processes augmenter 2 || fail "there are not two augmenters again"
  [ "$(pids augmenter | sort | tr '\n' ' ')" != "$first" ] || fail "the same augmenters run"
  wait_step 8
  ask 0 restart trainer
  until_true 10 has_event '"run.reset","why":"imsuper restart trainer"' || fail "no restart"
  until_true 20 has_event '"run.continued"' || fail "training does not go on"
  # From a snapshot that was taken for it: at most the steps until the supervisor's next look are repeated.
  events | grep '"run.continued"' | grep -qE '"repeated_batches":[01]\}' || fail "repeated: $(events | grep run.continued)"
  finish 0
  check_outcome
  [ "$(count_events '"process.died"')" = 0 ] || fail "a restart counts as a death"
}

# Without snapshots a checkpoint takes their place.
case_restart_without_snapshots() {
  FAULTS=$PACE
  launch --snapshot-interval 0 --snapshot-steps 0
  wait_step 4
  ask 0 restart trainer
  until_true 20 has_event '"run.continued"' || fail "training does not go on"
  events | grep '"run.continued"' | grep -qE '"repeated_batches":[012]\}' || fail "repeated: $(events | grep run.continued)"
  finish 0
  check_outcome
}

case_refusals() {
  ask 2 scale
  ask 4 stop --now other # a name behind a flag without a value, and before one with
  local name status
  for name in latest .starting . .. -x a/b; do
    status=0
    "$BIN/imsuper" start "${TRAIN[@]}" --plain --workspace "$T/w" "--run-name=$name" >"$T/answer" 2>&1 </dev/null || status=$?
    [ $status = 2 ] || fail "--run-name $name: exit status $status"
    answers "run-name: \"$name\""
  done
  ask 2 scale augmenters=0
  ask 2 scale augmenter=3
  answers "expected augmenters=N"
  ask 2 restart
  ask 2 restart augmentor
  answers "did you mean augmenter?"
  ask 2 restart 'augmenter#x'
  ask 4 pause
  FAULTS=$PACE
  launch --augmenters 2
  wait_step 2
  ask 2 restart 'augmenter#2'
  answers "numbered 0 to 1"
  ask 2 restart 'trainer#1'
  ask 2 scale augmenters=999
  answers "has room"
  ask 0 scale augmenters=auto --json
  answers '"schema":"imsuper.reply/1"'
  answers 'augmenters 2 (auto)'
  status_has '"automatic": true' || fail "status does not say that the number is automatic"
  ask 0 pause --json
  answers '{"schema":"imsuper.reply/1","ok":"paused"}'
  ask 0 resume
  finish 0
  check_outcome
  ask 3 pause
  ask 3 scale readers=2
}

# All of it at once, at random, with kills: the weights do not notice.
case_storm() {
  local seed=${E2E_SEED:-$RANDOM} asked=0 role
  echo "seed $seed"
  RANDOM=$seed
  FAULTS=$PACE
  launch --readers 1 --augmenters 2
  wait_step 1
  while ! is_over; do
    case $((RANDOM % 8)) in
    0) set -- scale "augmenters=$((1 + RANDOM % 5))" ;;
    1) set -- scale "readers=$((1 + RANDOM % 3))" ;;
    2) set -- restart 'augmenter#0' ;;
    3) set -- restart reader ;;
    4) set -- pause ;;
    5) set -- status ;;
    6) if [ $((RANDOM % 3)) = 0 ]; then set -- restart trainer; else set -- status; fi ;;
    7)
      role=(reader augmenter supervisor)
      # shellcheck disable=SC2046 # numbers
      kill -KILL $(pids "${role[$((RANDOM % 3))]}") 2>/dev/null || true
      set -- status
      ;;
    esac
    if "$BIN/imsuper" "$@" --workspace "$T/w" --run-name run >/dev/null 2>&1; then asked=$((asked + 1)); fi
    sleep "0.$((RANDOM % 3))"
    if [ "$1" = pause ]; then until_true 20 eval "\"$BIN/imsuper\" resume --workspace \"$T/w\" --run-name run >/dev/null 2>&1 || is_over"; fi
  done
  finish 0
  echo "$asked requests were served"
  [ "$asked" -ge 5 ] || fail "too few were served"
  check_outcome
}

case_time_limit() {
  FAULTS=$PACE
  launch --time-limit 4s
  finish 75
  must_say "limit   4s from now"
  must_say "--time-limit 4s:"
  must_say "continues from here"
  FAULTS=""
  start 0 --time-limit 1h30m
  check_outcome
  start 2 --time-limit 90
  must_say "is not a duration"
}

# As Slurm does it: the signal goes to every process of the job.
to_everyone() {
  local pid
  for pid in $(ours); do kill "-$1" "$pid" 2>/dev/null || true; done
}
has_checkpoint() { [ -e "$RUN/checkpoints/last.state.safetensors" ]; }
case_signals_save() {
  FAULTS=$PACE
  launch --readers 2
  wait_step 3
  to_everyone USR1
  until_true 10 has_checkpoint || fail "SIGUSR1 does not save"
  must_say "SIGUSR1: saving a checkpoint"
  wait_step 6
  [ "$(count_events '"process.died"')" = 0 ] || fail "the signal killed a process"
  send XCPU # as batch systems do at the end of the processor time
  to_everyone CONT
  to_everyone TERM
  finish 75
  must_say "SIGXCPU: finishing the step and saving"
  [ "$(count_events '"process.died"')" = 0 ] || fail "the signal killed a process"
  FAULTS=""
  start 0
  check_outcome
}
# What is asked of a trainer that still starts, the first one or its successor, is done once it is there. Each takes a second to start.
state_bytes() { stat -c %Y.%s.%i "$RUN/checkpoints/last.state.safetensors" 2>/dev/null || true; }
is_saved_anew() { [ -n "$(state_bytes)" ] && [ "$(state_bytes)" != "$1" ]; }
# Between the end of one and the start of the next there is none, and for a moment there may be two.
kill_present_trainer() {
  FIRST=$(pids trainer)
  # shellcheck disable=SC2086 # a list of numbers
  [ -n "$FIRST" ] && kill -KILL $FIRST 2>/dev/null
}
kill_trainer() {
  until_true 10 kill_present_trainer || fail "there is no trainer to kill"
  until_true 10 has_another || fail "there is no other trainer"
}
has_another() { [ -n "$(pids trainer)" ] && [ "$(pids trainer)" != "$FIRST" ]; }
case_asked_while_starting() {
  local before
  FAULTS="trainer:process.enter.after=sleep:1000@1,trainer:trainer.step.done=sleep:1000@1/every"
  launch
  until_true 20 says "state=starting" || fail "the run does not start"
  [ -z "$(steps_done)" ] || [ "$(steps_done)" = 0 ] || fail "the trainer was there too soon"
  send USR2
  until_true 8 has_checkpoint || fail "nobody saves"
  reached 12 && fail "a save that was asked for before the first trainer was there is lost"
  before=$(state_bytes)
  wait_step 3
  kill_trainer
  send USR2
  until_true 8 is_saved_anew "$before" || fail "nobody saves again"
  reached 12 && fail "a save that was asked for between two trainers is lost"
  # Of a restart that waits for a snapshot the death of the trainer is the end; the next one is served by its successor.
  ask 0 restart trainer
  kill_trainer
  until_true 20 "$BIN/imsuper" restart trainer --workspace "$T/w" --run-name run >"$T/answer" 2>&1 || fail "no other restart: $(cat "$T/answer")"
  FIRST=$(pids trainer)
  until_true 15 has_another || fail "a restart of the second trainer is not served"
  ask 0 stop # again one that starts
  finish 75
  FAULTS=""
  start 0
  check_outcome
}
case_signals_stop() {
  local signal
  FAULTS=$PACE
  launch --on-signal stop
  wait_step 3
  for signal in ALRM VTALRM PROF IO STKFLT RTMIN RTMAX; do send $signal; done
  wait_step 5
  to_everyone USR1
  finish 75
  must_say "SIGUSR1: finishing the step and saving"
  FAULTS=""
  start 0
  check_outcome
}

# The controller sees that training waits for images, and adds augmenters until it does not help.
case_auto() {
  FAULTS="augmenter:augmenter.render=sleep:40@1/every"
  launch --augmenters auto --epochs 40
  until_true 60 has_event '"scale.changed","role":"augmenter","from":1' || fail "the number of augmenters does not grow"
  says "training waits for images" || fail "nobody says why"
  until_true 10 eval "[ \"\$(processes_of augmenter)\" -ge 2 ]" || fail "they are not there"
  send INT
  finish 75
}

run_case

#!/usr/bin/env bash
# Terminals that take nothing and disks that are full: the run goes on, says so once, and catches up.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SOON=20 # seconds for what must not wait for a terminal or a disk, and would wait for it for ever

# launch_to FILE FLAG...: as launch, with stderr to a file that is there.
launch_to() {
  local to=$1
  shift
  set -m
  # shellcheck disable=SC2086 # a command and its arguments
  IMSUPER_FAULT=$FAULTS ${PROGRAM:-"$BIN/imsuper"} start "${TRAIN[@]}" --workspace "$T/w" --run-name run "$@" \
    >"$T/out" 2>"$to" </dev/null &
  WARDEN=$!
  set +m
}
# The supervisor first where it is among them: one that saw another's death and dies before its thread wrote the event takes it along.
# shellcheck disable=SC2046 # lists of numbers
kill_roles() { kill -KILL $(for role in "$@"; do pids "$role"; done) 2>/dev/null || true; }
# ends_soon STATUS: the run, which was asked to.
ends_soon() {
  until_true $SOON is_over || fail "the run does not end"
  finish "$1"
}
answers() { [ -n "$(steps_done || true)" ]; }
continue_and_check() {
  FAULTS=""
  start 0
  must_equal_reference
  must_equal_metrics
}
# The numbers of the files that do not depend on time.
metrics_of() {
  sed -nE 's/,"(images_per_second|gpu|time)".*//; /"event":"(config|ready)"/d; p' "$1/metrics.jsonl"
  cut -d , -f 1-7,10- "$1/summary.csv"
}
must_equal_metrics() {
  diff <(metrics_of "$REFERENCE/w/run") <(metrics_of "$RUN") || fail "the metrics are not those of the undisturbed run"
}
must_parse() {
  local file
  for file in "$RUN"/events.jsonl "$RUN"/metrics.jsonl; do
    [ "$(tail -c 1 "$file" | od -An -c | tr -d ' ')" = '\n' ] || fail "$file ends in a torn line"
    if grep -vE '^\{.*\}$' "$file"; then fail "$file has a line that is no object"; fi
  done
}
# A pipe whose reader, SCREEN, writes $T/screen, until all who may write to it have left.
show_on_screen() {
  mkfifo "$T/pipe"
  cat <"$T/pipe" >"$T/screen" &
  SCREEN=$!
}
# limit BYTES ROLE...: files of these processes, and of those that they start, may grow no further: a full disk.
limit() {
  local bytes=$1 role pid
  shift
  for role in "$@"; do
    for pid in $(pids "$role"); do prlimit --pid "$pid" "--fsize=$bytes:unlimited" 2>/dev/null || true; done
  done
}
# There is a status, and it names no epoch any more.
all_batches_done() { status_json | awk '/"state":/ { s = 1 } /"epoch":/ { e = 1 } END { exit !(s && !e) }'; }
needs_prlimit() { command -v prlimit >/dev/null || skip "there is no prlimit"; }

# A pipe that nobody reads, full: everybody lives on, dies and is replaced; status and Ctrl-C work.
case_unread_pipe() {
  # Leaks of fontconfig are suppressed by the name of its library (supervisor/report/plot.c). On the way to it clang's runtime looks for
  # a symbolizer, which Debian's clang does not install, and says on the full pipe that there is none: the process would stay.
  export LSAN_OPTIONS=external_symbolizer_path=
  mkfifo "$T/pipe"
  exec 8<>"$T/pipe"
  FAULTS=$PACE
  launch_to "$T/pipe" --plain --log-level debug --status-interval 1
  wait_step 3
  timeout 1 cat /dev/zero >&8 || true
  kill_roles supervisor augmenter
  until_true $SOON eval 'reached 8' || fail "the run does not go on"
  until_true 5 answers || fail "status is not answered"
  until_true 5 has_event '"process.died","role":"augmenter"' || fail "the augmenter's death was not seen"
  send INT
  ends_soon 75
  # It is full before the first word, too.
  launch_to "$T/pipe" --plain
  until_true $SOON reached 13 || fail "the run does not begin"
  send INT
  ends_soon 75
  continue_and_check
}

# Ctrl-S; then Ctrl-Q: what was not shown is counted. The run ends as it should.
case_stopped_terminal() {
  FAULTS=$PACE PROGRAM="$BIN/on_terminal $BIN/imsuper"
  TERM=xterm launch_to /dev/null --status-interval 1
  wait_step 3
  send USR1
  kill_roles augmenter
  until_true $SOON eval 'deaths_of augmenter | grep -q 1' || fail "the augmenter's death was not seen"
  until_true $SOON reached 10 || fail "the run does not go on"
  send USR2
  finish 0
  must_say "augmenter#0"
  check_outcome
}

# Ctrl-C on a terminal that was stopped, and `stop` from another one.
case_stopped_terminal_interrupt() {
  FAULTS=$PACE PROGRAM="$BIN/on_terminal $BIN/imsuper"
  TERM=xterm launch_to /dev/null
  wait_step 3
  send USR1
  sleep 0.5
  send TERM
  ends_soon 75
  TERM=xterm launch_to /dev/null
  wait_step 8
  send USR1
  sleep 0.5
  timeout $SOON "$BIN/imsuper" stop --workspace "$T/w" --run-name run >/dev/null || fail "stop"
  ends_soon 75
  PROGRAM=""
  continue_and_check
}

# The terminal is gone, and nohup keeps the run: every write fails with EIO.
case_lost_terminal() {
  FAULTS=$PACE PROGRAM="$BIN/on_terminal nohup $BIN/imsuper"
  TERM=xterm launch_to /dev/null
  wait_step 3
  send HUP
  sleep 0.3
  kill_roles supervisor augmenter
  finish 0
  check_outcome
}

# Whoever read the output has left, and then the supervisor dies, of which the warden tells.
case_reader_left() {
  FAULTS=$PACE PROGRAM="env --default-signal=PIPE $BIN/imsuper"
  mkfifo "$T/pipe"
  head -n 1 "$T/pipe" >"$T/head" &
  launch_to "$T/pipe" --plain --status-interval 1
  wait_step 3
  until_true 10 grep -q '^imsuper' "$T/head" || fail "nothing was said at first"
  kill_roles supervisor
  finish 0
  check_outcome
}

# Descriptors closed from the start; a disk that is full.
case_nobody_listens() {
  launch_to /dev/full --plain --status-interval 1
  finish 0
  check_outcome
  rm -rf "$T/w"
  "$BIN/imsuper" start "${TRAIN[@]}" --plain --workspace "$T/w" --run-name run <&- >&- 2>&- || fail "closed: status $?"
  check_outcome
}

# A disk that is full for a while, for the trainer and the supervisor.
case_full_disk() {
  local DISK=bad
  needs_prlimit
  FAULTS=$PACE
  show_on_screen
  launch_to "$T/pipe" --plain --log-level debug
  wait_step 3
  limit 100 trainer supervisor
  wait_step 14
  until_true 10 grep -q 'no checkpoint could be written' "$T/screen" || fail "the checkpoint that failed was not said"
  limit unlimited trainer supervisor
  finish 0
  wait "$SCREEN"
  cp "$T/screen" "$T/out"
  must_say "bytes_needed="
  must_say "metrics.jsonl"
  must_say "a checkpoint is written again"
  [ "$(grep -c 'WARN trainer#0: no checkpoint could be written' "$T/out")" = 1 ] || fail "said more than once"
  check_outcome
  must_equal_metrics
  must_parse
  [ -s "$RUN/plots/loss.png" ] || fail "there are no charts"
}

# It stays full: the run ends in bounded time, says what is saved, and continues from there when there is room.
case_full_disk_stop() {
  needs_prlimit
  FAULTS=$PACE
  show_on_screen
  launch_to "$T/pipe" --plain
  wait_step 14
  limit 100 warden trainer supervisor
  wait_step 17
  send INT
  until_true 40 is_over || fail "the run does not end"
  finish 75
  wait "$SCREEN"
  cp "$T/screen" "$T/out"
  must_say "NOT SAVED: cannot write"
  must_say "the last checkpoint is that of epoch 1, step 12"
  must_say "nothing newer than its last checkpoint"
  must_parse
  continue_and_check
}

# The same where a snapshot is newer than the checkpoint, and is lost: that is no success.
case_full_disk_stop_lost() {
  needs_prlimit
  FAULTS=$PACE
  show_on_screen
  launch_to "$T/pipe" --plain --snapshot-steps 1
  wait_step 14
  limit 100 warden trainer supervisor
  send INT
  until_true 40 is_over || fail "the run does not end"
  finish 1
  wait "$SCREEN"
  cp "$T/screen" "$T/out"
  must_say "was not saved; the same command with --run-name run goes on with its last checkpoint"
  continue_and_check
}

# Only what is beside the state cannot be written: the run is saved.
case_no_room_for_exports() {
  FAULTS="$PACE,trainer:checkpoint.models=fail:ENOSPC@1/every"
  launch
  wait_step 6
  send INT
  finish 75
  must_say "the weights beside a checkpoint could not be written"
  continue_and_check
}

# Folders, a pipe and another program's table where the run writes, and a trainer that dies: they are moved aside.
case_in_the_way() {
  FAULTS=$PACE
  launch --snapshot-steps 1
  wait_step 6
  rm "$RUN/metrics.jsonl" "$RUN/summary.csv"
  mkdir -p "$RUN/metrics.jsonl/x" "$RUN/DONE/x" "$RUN/checkpoints/best.safetensors/x" \
    "$RUN/checkpoints/last.safetensors/x"
  mkfifo "$RUN/summary.csv"
  kill_roles trainer
  until_true $SOON has_event '"run.continued"' || fail "no trainer starts"
  wait_step 14
  rm "$RUN/summary.csv"
  echo "a,b" >"$RUN/summary.csv"
  kill_roles trainer
  finish 0
  for name in metrics.jsonl summary.csv summary.csv DONE checkpoints/best.safetensors checkpoints/last.safetensors; do
    [ -f "$RUN/$name" ] || fail "there is no $name"
    [ -e "$RUN/$name.1" ] || fail "$name was not moved aside"
  done
  [ "$(cat "$RUN/summary.csv.2")" = "a,b" ] || fail "another program's table is lost"
  must_say "was moved aside"
  must_equal_reference
}

# Lines of metrics that cannot be written when all else is: they are waited for 10 s, and the last lines say how many are lost.
case_lines_lost() {
  local began=$SECONDS
  FAULTS=trainer:file.append=fail:EIO@1/every
  start 0
  must_say "metrics.jsonl or summary.csv takes no lines"
  must_say "lines were not written, and are lost metrics.jsonl="
  must_have_taken 40 $began "the wait for its lines"
  [ -e "$RUN/DONE" ] || fail "no mark of the end"
  must_equal_reference
}

# The index is gone, then a folder has its name, when readers die: those that follow have the one of the start.
case_index_gone() {
  FAULTS=$PACE
  launch
  wait_step 3
  rm "$RUN/data.index"
  kill_roles reader
  until_true $SOON eval 'deaths_of reader | grep -q 1' || fail "the reader's death was not seen"
  wait_step 10
  mkdir "$RUN/data.index"
  kill_roles reader
  wait_step 14
  send INT
  finish 75
  mv "$RUN/.lock" "$T/lock"
  rm "$RUN/events.jsonl" "$RUN/classes.txt"
  mkdir "$RUN/.lock" "$RUN/events.jsonl" "$RUN/classes.txt"
  continue_and_check
  for name in data.index .lock classes.txt events.jsonl; do
    [ -d "$RUN/$name.1" ] || fail "the folder $name was not moved aside"
  done
}

# The run's folder is away for seconds, and a file has its name, when a trainer dies: it waits, and goes on.
case_folder_away() {
  FAULTS=trainer:trainer.step.done=sleep:300@1/every # no save while the folder has no name
  launch
  wait_step 14
  mv "$RUN" "$T/moved"
  touch "$RUN"
  kill_roles trainer
  until_true $SOON says "the run's folder cannot be used; waiting" || fail "the wait is not said"
  sleep 3
  is_over && fail "the run ended"
  ln -s "$T/moved" "$T/link" # at once: else the trainer makes a folder of that name
  mv -T "$T/link" "$RUN"
  finish 0
  must_say "the run's folder can be used again"
  [ "$(grep -c "the run's folder cannot be used" "$T/out")" = 1 ] || fail "said more than once"
  check_outcome
}

# The file of the classes' names is removed: weights name them all the same.
case_classes_gone() {
  FAULTS=$PACE
  launch --snapshot-steps 1
  wait_step 3
  rm "$RUN/classes.txt"
  kill_roles trainer
  finish 0
  must_equal_reference # its metadata too
}

# What trainers read from the run folder when they start is removed, then all of the folder; trainers die.
case_kept_files() {
  "$BIN/imsuper" start "${TRAIN[@]}" --class-weights balanced --plain --workspace "$T/r" --run-name run >"$T/out" 2>&1 || fail "the undisturbed run"
  FAULTS=$PACE
  launch --class-weights balanced
  wait_step 3
  rm "$RUN/class_weights.txt" "$RUN/classes.txt"
  kill_all trainer
  wait_step 6
  remove_all "$RUN"
  kill_all trainer
  finish 0
  "$BIN/compare_states" "$T/r/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" ||
    fail "the weights are not those of the undisturbed run"
  [ -s "$RUN/classes.txt" ] || fail "the names of the classes are gone"
}

# It does not come back before somebody asks to stop: nobody says that there is no checkpoint.
case_folder_away_stop() {
  FAULTS=$PACE
  launch --snapshot-steps 1
  wait_step 14
  mv "$RUN" "$T/moved"
  touch "$RUN"
  kill_roles trainer
  until_true $SOON says "the run's folder cannot be used; waiting" || fail "the wait is not said"
  send INT
  ends_soon 1
  must_say "its checkpoints cannot be read: Not a directory"
  says "there is no checkpoint" && fail "a checkpoint is denied"
  rm "$RUN"
  mv "$T/moved" "$RUN"
  continue_and_check
}

# It is full when training ends: the last state is waited with. It is full when a trainer starts: that starts.
case_full_disk_end() {
  local DISK=bad
  needs_prlimit
  FAULTS=$QUICK_PACE
  show_on_screen
  launch_to "$T/pipe" --plain --snapshot-steps 1
  wait_step 3
  limit 100 warden trainer
  kill_roles trainer
  until_true $SOON has_event '"run.continued"' || fail "no trainer starts on a full disk"
  until_true 60 all_batches_done || fail "the run does not go on"
  sleep 2
  [ ! -e "$RUN/DONE" ] || fail "the run is marked as done before it is saved"
  is_over && fail "the run ended unsaved"
  limit unlimited warden trainer
  finish 0
  [ -e "$RUN/DONE" ] || fail "no mark of the end"
  must_equal_reference
  must_parse
}

# A folder where the state was, and a trainer that dies: the snapshot is used, and the run is saved.
case_state_is_folder() {
  FAULTS=$PACE
  launch --snapshot-steps 1
  wait_step 14
  rm "$RUN/checkpoints/last.state.safetensors"
  mkdir -p "$RUN/checkpoints/last.state.safetensors/x"
  kill_roles trainer
  until_true $SOON has_event '"run.continued"' || fail "no trainer starts"
  send INT
  finish 75
  must_say "continues from here"
  [ -d "$RUN/checkpoints/last.damaged.state.safetensors/x" ] || fail "the folder was not kept"
  continue_and_check
}

# The same when no trainer saves any more: the saver does.
case_state_is_folder_saver() {
  FAULTS=$PACE
  launch --snapshot-steps 1
  wait_step 14
  rm "$RUN/checkpoints/last.state.safetensors"
  mkfifo "$RUN/checkpoints/last.state.safetensors"
  mkdir -p "$RUN/checkpoints/last.prev.state.safetensors/x"
  kill_roles trainer
  send INT
  finish 75
  must_say "continues from here"
  continue_and_check
}

# No state can be read, and none can be written: the last line says so.
case_nothing_readable() {
  FAULTS="$PACE,trainer:file.create=fail:ENOSPC@60/every,saver:file.create=fail:ENOSPC@1/every"
  launch --snapshot-steps 1
  wait_step 14
  rm "$RUN"/checkpoints/last*.state.safetensors
  echo x >"$RUN/checkpoints/last.state.safetensors"
  kill_roles trainer
  send INT
  finish 1
  must_say "no checkpoint in $RUN/checkpoints can be read"
  IMSUPER_FAULT="" "$BIN/imsuper" start "${TRAIN[@]}" --plain --workspace "$T/w" --run-name run >"$T/out" 2>&1 \
    && fail "it goes on all the same"
  rm "$RUN"/checkpoints/*
}

# The run's folder is moved away and removed: checkpoints are written where it was, and the last lines name what is there.
case_folder_removed() {
  FAULTS=$PACE
  launch --snapshot-steps 1
  wait_step 14
  mv "$RUN" "$T/moved"
  remove_all "$T/moved"
  finish 0
  must_say "the folder of checkpoints was gone"
  # The best weights are there again if the second epoch was the better one.
  if [ -e "$RUN/checkpoints/best.safetensors" ]; then
    must_say "weights   $RUN/checkpoints/best.safetensors"
    must_say "lacks summary.csv, metrics.jsonl"
  else
    must_say "weights   $RUN/checkpoints/last.safetensors"
    must_say "lacks checkpoints/best.safetensors, summary.csv, metrics.jsonl"
  fi
  "$BIN/compare_states" "$REFERENCE/w/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" \
    || fail "the weights are not those of the undisturbed run"
}

# Something is where the folder of checkpoints was when training ends: a warning says so at once; Ctrl-C ends the wait.
case_nowhere_to_save() {
  local trainer
  FAULTS=$QUICK_PACE
  launch
  wait_step 14
  mv "$RUN/checkpoints" "$RUN/moved"
  echo x >"$RUN/checkpoints"
  until_true 60 says "training is done; waiting for a place to save" || fail "the wait is not said"
  must_say "no checkpoint could be written"
  must_say "minutes_left=10"
  touch "$RUN/moved/.last.safetensors.tmp-1-0"
  trainer=$(pids trainer)
  kill -STOP "$trainer" # it would make a folder where the file was
  rm "$RUN/checkpoints"
  mv -T "$RUN/moved" "$RUN/checkpoints"
  kill -CONT "$trainer"
  finish 0
  must_say "a checkpoint is written again"
  [ ! -e "$RUN/checkpoints/.last.safetensors.tmp-1-0" ] || fail "a temporary file stays"
  check_outcome
}

# A file system that does not answer for a while.
case_slow_disk() {
  FAULTS=trainer:trainer.step.done=sleep:300@1/every,supervisor:file.append=sleep:6500@1
  launch --log-level debug
  wait_step 3
  until_true $SOON says "the file system has not answered for 5 s" || fail "the silence was not said"
  within 5 answers || fail "status is not answered"
  finish 0
  check_outcome
  must_parse
}

# Each checkpoint takes 13 s: training waits for it a while, then goes on. Once it is written no other one is made of the same.
count_said() { grep -cF -- "$1" "$T/out" || true; }
case_slow_checkpoint() {
  FAULTS=trainer:trainer.step.done=sleep:400@1/every,trainer:checkpoint.written=sleep:13000@1/every
  launch
  until_true 60 says "writing a checkpoint to" || fail "the silence was not said"
  must_say "training goes on, the older one stays"
  until_true 20 answers || fail "status is not answered"
  until_true 60 says "the checkpoint that took long is written" || fail "it was not written" # found between two steps
  finish 0
  must_say "a checkpoint is written again"
  [ "$(count_said "the checkpoint that took long is written")" = 2 ] || fail "other checkpoints than those of 2 epochs were written"
  check_outcome
  must_equal_metrics
}

# The trainer's checkpoint is never written, and the run is asked to stop: another process saves the snapshot.
case_hanging_checkpoint() {
  local began
  FAULTS=$QUICK_PACE,trainer:checkpoint.written=sleep:600000@1
  launch
  until_true 90 says "training is done; waiting for a place to save" || fail "the wait is not said"
  status_json | grep -q '"state"' || fail "status is not answered"
  began=$SECONDS
  send INT
  finish 75
  must_have_taken 40 $began "the stop"
  must_say "NOT SAVED: writing a checkpoint to"
  must_say "saving the last snapshot instead"
  FAULTS="" start 0
  "$BIN/compare_states" --tensors "$REFERENCE/w/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" \
    || fail "the weights are others" # its metadata lack the best accuracy, whose weights were not written
}

# Errors of a disk that come and go, everywhere.
case_failing_disk() {
  local DISK=bad
  FAULTS="$QUICK_PACE,trainer:file.append=fail:EIO@2/every,supervisor:file.append=fail:EIO@2/every,trainer:file.fsync=fail:ENOSPC@5/every,supervisor:file.write=fail:EDQUOT@3/every"
  start 0 --log-level debug
  must_say "No space left on device" # of a checkpoint, or of the weights beside one
  must_say "a checkpoint is written again"
  check_outcome
  must_equal_metrics
  must_parse
}

# Names that would drive a terminal, from the data set and the command line.
case_escapes() {
  local evil=$'\e[2J\e]0;title\a\xc2\x9b31m\xe2\x80\xae\n\xff.jpg'
  cp -r "$REFERENCE/data" "$T/data"
  printf junk >"$T/data/train/class_000/$evil"
  printf x >"$T/data/train/class_000/$evil.txt"
  TRAIN+=(--data-dir "$T/data")
  start 0 --epochs 1
  must_say '\x1b[2J\x1b]0;title\x07\u009b31m\u202e\n\xff.jpg'
  "$BIN/imsuper" data index --data-dir "$T/data" >>"$T/out" 2>&1 || true
  must_say 'left out'
  "$BIN/imsuper" data index --json --data-dir "$T/data" >>"$T/out" 2>&1 || true
  "$BIN/imsuper" start --data-dir "$T/$evil" --workspace "$T/w" --run-name run2 >>"$T/out" 2>&1 && fail "no such data"
  "$BIN/imsuper" status --workspace "$T/$evil" >>"$T/out" 2>&1 && fail "no such run"
  "$BIN/imsuper" "$evil" >>"$T/out" 2>&1 && fail "no such verb"
  if tr -d '\n' <"$T/out" | LC_ALL=C grep -qE $'[\x01-\x1f\x7f]'; then fail "a control character was shown raw"; fi
  if LC_ALL=C grep -q $'\xc2[\x80-\x9f]' "$T/out"; then fail "a C1 control was shown raw"; fi
  if LC_ALL=C grep -qE $'\xe2\x80\xae|\xff' "$T/out"; then fail "an override or a bad byte was shown raw"; fi
  if LC_ALL=C tr -d '\n' <"$RUN/log.txt" | LC_ALL=C grep -qE $'[\x01-\x1f\x7f]'; then fail "log.txt has control characters"; fi
  T_OUT_LINES=$(grep -c 'title' "$T/out")
  [ "$T_OUT_LINES" -ge 4 ] || fail "the name was shown in $T_OUT_LINES lines only"
}

# A name of a checkpoint that may not be replaced (an immutable file, a mount point): after a few tries the run ends, and the state
# is kept under another name.
case_blocked_name() {
  local began=$SECONDS
  FAULTS=trainer:checkpoint.replace=fail:16@1/every
  start 75
  must_have_taken 60 $began "it"
  must_say "the run ends with all that was trained saved"
  must_say "kept.state.safetensors, which --resume takes"
  [ ! -e "$RUN/DONE" ] || fail "DONE says that the run is done"
  FAULTS=""
  RUN=$T/w/two
  start 0 --run-name two --resume "$T/w/run/checkpoints/kept.state.safetensors"
  grep -q 'msg="continuing" from=checkpoint next_batch=28 step=24 epochs_done=2' "$RUN/log.txt" || fail "it did not continue from the end"
  [ -s "$RUN/checkpoints/last.safetensors" ] || fail "there are no weights"
}

run_case

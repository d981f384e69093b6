# shellcheck shell=bash
# What the tests of whole runs share; to be sourced. Each test is one function of a script, called by name:
#
#   SCRIPT BIN REFERENCE CASE [seed]
#
# BIN is where the programs lie, REFERENCE the folder that reference.sh made (images, and a run that nobody disturbed).
# Everything a test makes lies in $T, which goes away with it. Each process carries E2E_TAG in its environment, so that
# none can be left behind unseen. All waits are bounded.
set -euo pipefail

BIN=$1 REFERENCE=$2 CASE=$3
T=$(mktemp -d /tmp/e2e.XXXXXX)
export E2E_TAG=$T XDG_RUNTIME_DIR=$T/rt XDG_CACHE_HOME=$T/cache
unset IMSUPER_FAULT NO_COLOR
export IMSUPER_GPUS=0 # these tests compare bits, and a machine with a GPU would take it
mkdir -p "$T/rt" "$T/cache"
mkfifo "$T/never" # nothing comes through it
chmod 700 "$T/rt"
LIMIT_SECONDS=${E2E_LIMIT_SECONDS:-200} # for one wait; CTest has the last word

# How the reference was trained; the same flags must give the same bits however the work is spread and disturbed.
TRAIN=(--data-dir "$REFERENCE/data" --model resnet20 --image-size 8 --batch-size 16 --epochs 2 --trainer-threads 1
  --seed 4 --queue-depth 8 --encoded-cells 32)
RUN=$T/w/run # the run directory of start and launch
FAULTS=""
PROGRAM="" # instead of BIN/imsuper, when not empty: a command and its first arguments
# How many times as long as elsewhere things take here: 1 up to five processes that want to run for each processor.
SLOWNESS=$(awk -v cpus="$(nproc)" '{ n = int($1 / (5 * cpus)) + 1; print (n > 6 ? 6 : n) }' /proc/loadavg)
# For FAULTS: a rest after each of the 24 steps. PACE leaves time for disturbances from outside, a poll and a kill that come late
# on a busy machine included; QUICK_PACE is enough where a fault point disturbs.
# shellcheck disable=SC2034 # used in the scripts
PACE=trainer:trainer.step.done=sleep:$((100 * SLOWNESS))@1/every QUICK_PACE=trainer:trainer.step.done=sleep:25@1/every
# For FAULTS, with flags for launch: the trainer stops itself after step 12, as SIGSTOP does, until let_go.
# shellcheck disable=SC2034 # used in the scripts
HOLD=trainer:trainer.step.done=stop@12 HELD=(--trainer-deadline 1000)

# A case `NAME_all` tries every point, `./quickstart test --long` does; `NAME`, in CI, each third one.
SAMPLE=3 POINTS=0
if [[ $CASE == *_all ]]; then SAMPLE=1; fi
# is_sampled: to be asked once for each point, in their order.
is_sampled() { POINTS=$((POINTS + 1)) && [ $(((POINTS - 1) % SAMPLE)) = 0 ]; }
must_be_points() { [ $POINTS -ge "$1" ] || fail "only $POINTS points were found"; }

fail() {
  echo "FAILED: $*" >&2
  for file in "$T"/out "$RUN"/log.txt "$RUN"/events.jsonl; do
    if [ -s "$file" ]; then echo "--- ${file##*/}:" >&2 && tail -n 25 "$file" >&2; fi
  done
  exit 1
}
skip() { echo "skipped: $*" && exit 77; }

# cmdline PID: empty when it is gone.
cmdline() { { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null || true; }
# Processes of this test that run one of our programs: those whose environment has its tag. Their folder says nothing: a clone
# may lie in a folder named imsuper.
ours() {
  local environ pid program
  for environ in $(grep -lzxF "E2E_TAG=$T" /proc/[0-9]*/environ 2>/dev/null || true); do
    pid=${environ#/proc/} && pid=${pid%/environ}
    program=$(readlink "/proc/$pid/exe" || true)
    case ${program##*/} in imsuper*) echo "$pid" ;; esac
  done
}
# pids ROLE: of the run's processes; ROLE is reader, augmenter, trainer, data, supervisor or warden.
pids() {
  local pid line
  for pid in $(ours); do
    line=$(cmdline "$pid")
    case $1:$line in
    supervisor:*imsuper\ supervise*) echo "$pid" ;;
    warden:*imsuper\ start*) echo "$pid" ;;
    *:*imsuper-$1\ --index\ *) echo "$pid" ;;
    esac
  done
}

# children NAME...: CHILDREN are those of the warden that have this name, such as imsuper-trainer (imsuper: the supervisor), the
# youngest last. Without a fork, for who has to find somebody often or soon; pids() reads all of /proc.
children() {
  local pid name list=""
  CHILDREN=()
  { read -r list <"/proc/$WARDEN/task/$WARDEN/children"; } 2>/dev/null || true
  for pid in $list; do
    { read -r name <"/proc/$pid/comm"; } 2>/dev/null || continue
    if [[ " $* " == *" $name "* ]]; then CHILDREN+=("$pid"); fi
  done
}

# kill_all ROLE
kill_all() {
  local pid
  for pid in $(pids "$1"); do kill -KILL "$pid" 2>/dev/null || true; done
}

clean() {
  local pid
  for pid in $(ours); do
    case $(cat "/proc/$pid/comm" 2>/dev/null || true) in imsuper*) kill -KILL "$pid" 2>/dev/null || true ;; esac
  done
  rm -rf "$T"
}
trap clean EXIT

# poll SECONDS COMMAND...: false when the time is over.
poll() {
  local end=$((SECONDS + $1)) poll_pipe poll_expired=0
  shift
  exec {poll_pipe}<>"$T/never"
  until "$@"; do
    if [ $SECONDS -ge $end ]; then poll_expired=1 && break; fi
    read -rt 0.1 -u "$poll_pipe" _ || true # sleeps without a process; a question costs the processor 15 ms
  done
  exec {poll_pipe}>&-
  return $poll_expired
}
# until_true SECONDS COMMAND...: polls. What comes true ends the wait, so that it may last: two minutes at least, for machines that
# do much else. within SECONDS COMMAND...: the same where it would come true later, too, and must do so in time.
until_true() { poll $(($1 < 120 ? 120 : $1)) "${@:2}"; }
within() { poll $(($1 * SLOWNESS)) "${@:2}"; }
# must_have_taken SECONDS BEGAN WHAT: at most, since then.
must_have_taken() { [ $((SECONDS - $2)) -le $(($1 * SLOWNESS)) ] || fail "$3 took $((SECONDS - $2)) s"; }

# The verbs of the overview, one a line ("data index"): they begin in column 10, behind the group's name, and end before two blanks.
listed_verbs() {
  "$BIN/imsuper" help | awk 'substr($0, 1, 9) ~ /^([A-Z][a-z]*)? +$/ && substr($0, 10) ~ /^[a-z]/ {
    text = substr($0, 10); sub(/  .*/, "", text); gsub(/ *(\[[^]]*\]|[A-Z]+)/, "", text); gsub(/, /, "\n", text); print text }'
}

# launch FLAG...: starts a run in the background as a terminal would, in its own process group with Ctrl-C enabled.
launch() {
  set -m
  # shellcheck disable=SC2086 # a command and its arguments
  IMSUPER_FAULT=$FAULTS ${PROGRAM:-"$BIN/imsuper"} start "${TRAIN[@]}" --plain --workspace "$T/w" --run-name run "$@" \
    >"$T/out" 2>&1 </dev/null &
  WARDEN=$!
  set +m
}
# The trainer of HOLD.
is_held() { [ "$(cut -d ' ' -f 3 "/proc/$(pids trainer)/stat" 2>/dev/null)" = T ]; }
wait_held() { until_true "$LIMIT_SECONDS" is_held || fail "the trainer does not come to step 12"; }
let_go() { kill -CONT "$(pids trainer)" || fail "there is no trainer to go on"; }
# remove_all PATH...: although a process may write in it meanwhile.
remove_all() { until_true 10 rm -rf "$@" 2>/dev/null || fail "cannot remove $*"; }
# A port that nobody has, below those that the kernel gives.
free_port() {
  local port=$((20000 + RANDOM % 12000))
  while (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((20000 + RANDOM % 12000)); done
  echo $port
}
is_over() { is_gone "$WARDEN"; }
# is_gone PID: of a process that this one has started. Without a fork: it is asked ten times a second, by each test.
is_gone() {
  local state
  kill -0 "$1" 2>/dev/null || return 0
  { read -r _ _ state _ <"/proc/$1/stat" && [ "$state" = Z ]; } 2>/dev/null
}

# finish STATUS: waits for the launched run; it must end with that exit status.
finish() {
  local status=0
  until_true "$LIMIT_SECONDS" is_over || fail "the run has not ended within $LIMIT_SECONDS s"
  wait "$WARDEN" || status=$?
  keep_events
  [ "$status" = "$1" ] || fail "exit status $status, not $1"
}
# For tests/chaos/table.sh: the events of a run that is over, if E2E_EVENTS names a folder.
keep_events() {
  local kind
  [ "${E2E_EVENTS:-}" ] || return 0
  kind=$(basename "$(dirname "$0")")
  events >>"$E2E_EVENTS/${kind}_$(basename "$0" .sh)_$CASE"
}
# start STATUS FLAG...
start() {
  local status=$1
  shift
  launch "$@"
  finish "$status"
}

events() { cat "$RUN/events.jsonl" 2>/dev/null || true; }
count_events() { events | grep -c -- "$1" || true; }
deaths_of() { count_events "\"process.died\",\"role\":\"$1\""; }
has_event() { [ "$(count_events "$1")" -gt 0 ]; }
says() { grep -qF -- "$1" "$T/out"; }
must_say() { says "$1" || fail "the output lacks: $1"; }

status_json() { "$BIN/imsuper" status --json --workspace "$T/w" --run-name run 2>/dev/null; }
# Training steps taken so far, over the whole run; nothing while nobody answers.
steps_done() {
  status_json | awk -F '[:,]' '/"epoch":/ {e = $2} /"step":/ {s = $2} /"split": *"val"/ {v = 12} END {if (s != "") print (e - 1) * 12 + (v ? v : s)}'
}
reached() {
  local steps
  steps=$(steps_done || true)
  [ -n "$steps" ] && [ "$steps" -ge "$1" ]
}
# send SIGNAL: to the launched run, which must still be there.
send() { kill "-$1" "$WARDEN" 2>/dev/null || fail "the run was over before it could be disturbed"; }
# Waits until training step N is done (or the run is over).
wait_step() { until_true "$LIMIT_SECONDS" eval "reached $1 || is_over" || fail "step $1 was not reached"; }

# The run's weights, optimiser and position must be the reference's, bit for bit, and the ledger must balance. With
# DISK=bad not its best epoch: weights that could not be written are not the best ones of a file, and which epoch has them in the
# reference depends on the CPU's rounding.
must_equal_reference() {
  "$BIN/compare_states" ${DISK:+--but-best} "$REFERENCE/w/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" \
    || fail "the weights are not those of the undisturbed run"
  if grep -q 'the ledger does not balance' "$RUN/log.txt"; then fail "a sample was lost or came twice"; fi
}
# The optimiser's and the network's tensors; the hash of the data is another, as it has other paths.
must_equal_weights() {
  "$BIN/compare_states" --tensors "$REFERENCE/w/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" ||
    fail "the weights are not those of the reference"
  cmp "$REFERENCE/w/run/classes.txt" "$RUN/classes.txt" || fail "classes.txt"
}
# The ledger at the end of each start of the run: every pass that came to its end had each of its samples exactly once.
must_balance() {
  local split passes exact
  [ "$(count_events '"run.finished"')" = 1 ] || fail "the run did not finish once"
  for split in train val; do
    passes=$(ledger "${split}_passes") exact=$(ledger "${split}_passes_exactly_once")
    if [ "$passes" = 0 ] || [ "$passes" != "$exact" ]; then
      fail "the ledger of $split: of $passes passes $exact had each sample exactly once"
    fi
  done
}
# ledger KEY: its sum over the starts of the run.
ledger() { events | grep -oE "\"$1\":[0-9]+" | awk -F : '{ sum += $2 } END { print sum + 0 }'; }
count_images() { find "$REFERENCE/data/$1" -name '*.jpg' | wc -l; }
# A run like the reference that was started once has delivered each image of both epochs, whatever died meanwhile.
must_count_all() {
  local split
  if [ "$(count_events '"run.started"')" != 1 ]; then return; fi
  for split in train val; do
    [ "$(ledger "${split}_samples")" = "$((2 * $(count_images $split)))" ] ||
      fail "${split}_samples is $(ledger "${split}_samples") after 2 epochs of $(count_images $split) images"
    [ "$(ledger "${split}_passes")" = 2 ] || fail "${split}_passes is $(ledger "${split}_passes") after 2 epochs"
  done
}
check_outcome() { must_equal_reference && must_balance && must_count_all; }

# Nobody and nothing may be left: no process, no shared memory, no control socket, no half-written file.
nobody_left() { [ -z "$(ours)" ]; }
must_leave_nothing() {
  local left
  until_true 10 nobody_left || fail "left behind: $(for pid in $(ours); do cmdline "$pid"; done)"
  left=$(find "$T" -name '*.sock' -o -name '.*.tmp-*' -o -name '*.next*' | tr '\n' ' ')
  [ -z "$left" ] || fail "left behind: $left"
  no_shared_memory || until_true 3 no_shared_memory || fail "left behind in /dev/shm: $(ls /dev/shm)"
}
# Names in /dev/shm live for microseconds; one that stays was forgotten.
no_shared_memory() { [ -z "$(compgen -G '/dev/shm/imsuper-*')" ]; }

# A process that a sanitizer ends is started again as any other; its report must not go unseen.
must_be_clean() {
  if grep -hE 'Sanitizer|runtime error:' "$T/out" "$RUN/log.txt" 2>/dev/null; then fail "a sanitizer reported"; fi
}

run_case() {
  declare -F "case_${CASE%_all}" >/dev/null || { echo "no case $CASE" >&2 && exit 2; }
  "case_${CASE%_all}"
  must_be_clean
  must_leave_nothing
  echo "ok: $CASE"
}

# A cgroup of so many bytes for what `start` starts; of version 2 or 1.
memory_cgroup() {
  local bytes=$1 own file
  for own in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    if [ -e $own/memory.limit_in_bytes ]; then file=memory.limit_in_bytes; else file=memory.max; fi
    CGROUP=$own/imsuper-test-$$
    mkdir "$CGROUP" 2>/dev/null || continue
    if echo "$bytes" 2>/dev/null >"$CGROUP/$file"; then
      { echo 0 >"$CGROUP/memory.swap.max"; } 2>/dev/null || true
      trap 'clean; rmdir "$CGROUP" 2>/dev/null || true' EXIT
      cat >"$T/imsuper" <<END
#!/bin/sh
echo \$\$ >$CGROUP/cgroup.procs && exec "$BIN/imsuper" "\$@"
END
      chmod +x "$T/imsuper"
      PROGRAM=$T/imsuper
      return
    fi
    rmdir "$CGROUP"
  done
  skip "no rights to make a memory cgroup"
}

#!/usr/bin/env bash
# A storm of signals over all processes of a run but the warden, at a rate, then calm: the run ends by itself with 0 and with the
# weights of the undisturbed run.
#
#   storm.sh BIN REFERENCE KIND_RATE_RANKS [seed]     such as kill_20_1, mix_100_2, trainer_1_1
#
# KIND is kill (SIGKILL to anyone), mix (SEGV, BUS, ABRT, or STOP and CONT a little later), or trainer (SIGKILL to trainers only).
# E2E_STORM_SECONDS: how long it lasts (60). The seed repeats the order of victims and signals.
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../e2e/ranks_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/ranks_lib.sh"
IFS=_ read -r KIND RATE RANKS <<<"$CASE"
STORM_SECONDS=${E2E_STORM_SECONDS:-60}
SEED=${E2E_SEED:-$RANDOM}

everybody=(imsuper imsuper-reader imsuper-augment imsuper-trainer) # the kernel keeps 15 bytes of a name
if [ "$KIND" = trainer ]; then everybody=(imsuper-trainer); fi

# disturb PID: one signal. A stopped process goes on after a second at most.
disturb() {
  local signals=(SEGV BUS ABRT STOP) signal=KILL
  if [ "$KIND" = mix ]; then signal=${signals[RANDOM % 4]}; fi
  kill "-$signal" "$1" 2>/dev/null || return 0
  sent=$((sent + 1))
  if [ "$signal" = STOP ]; then (sleep "0.$((RANDOM % 10))" && kill -CONT "$1" 2>/dev/null) & fi
}

# Signals at the rate, those of a tenth of a second at once.
storm() {
  local began=${EPOCHREALTIME/[.,]/} passed=0 due tried=0 rest=0.1
  if [ "$RATE" -lt 10 ]; then rest=0.$((10 / RATE)); fi
  if [ "$RATE" = 1 ]; then rest=1; fi
  while [ $passed -lt $((STORM_SECONDS * 1000000)) ] && ! is_over; do
    due=$((RATE * passed / 1000000 + 1))
    children "${everybody[@]}"
    for (( ; tried < due && ${#CHILDREN[@]} > 0; tried++)); do disturb "${CHILDREN[RANDOM % ${#CHILDREN[@]}]}"; done
    tried=$due # those that there was nobody for are not sent later
    sleep "$rest"
    passed=$((${EPOCHREALTIME/[.,]/} - began))
  done
}

sent=0
case $KIND:$RANKS in
kill:[12] | mix:[12] | trainer:[12]) ;;
*) echo "no case $CASE" >&2 && exit 2 ;;
esac
echo "seed $SEED (E2E_SEED=$SEED repeats the order of victims)"
flags=(--readers 2 --augmenters 2)
if [ "$RANKS" = 2 ]; then
  two_undisturbed
  flags+=("${TWO[@]}")
fi
RANDOM=$SEED
FAULTS=trainer:trainer.step.done=sleep:$((STORM_SECONDS * 45))@1/every # 24 steps: the run lasts longer than the storm
launch "${flags[@]}"
until_true "$LIMIT_SECONDS" reached 1 || fail "no first step"
storm
FAULTS=""
finish 0
echo "$sent signals: $(deaths_of reader) readers, $(deaths_of augmenter) augmenters, $(deaths_of trainer) trainers died," \
  "$(count_events '"run.reset"') resets, $(grep -c 'the supervisor died' "$T/out" || true) supervisors"
# Most of a hundred a second find nobody: who died is not there again yet.
[ "$sent" -ge $((STORM_SECONDS * (RATE < 20 ? RATE : 20) / 10)) ] || fail "only $sent signals were sent"
if [ "$RANKS" = 2 ]; then check_two; else check_outcome; fi
must_leave_nothing
echo "ok: $CASE"

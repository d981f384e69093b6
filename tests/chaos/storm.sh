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

victims=()
# Looks for the processes anew; seldom, since it reads all of /proc.
find_victims() {
  local role roles=(reader augmenter supervisor trainer)
  if [ "$KIND" = trainer ]; then roles=(trainer); fi
  mapfile -t victims < <(for role in "${roles[@]}"; do pids "$role"; done)
}

# disturb PID: one signal. A stopped process goes on after a second at most.
disturb() {
  local signals=(SEGV BUS ABRT STOP) signal=KILL
  if [ "$KIND" = mix ]; then signal=${signals[RANDOM % 4]}; fi
  kill "-$signal" "$1" 2>/dev/null || return 0
  sent=$((sent + 1))
  if [ "$signal" = STOP ]; then (sleep "0.$((RANDOM % 10))" && kill -CONT "$1" 2>/dev/null) & fi
}

# Signals at the rate, in turns of a tenth of a second or of one signal.
storm() {
  local end=$((SECONDS + STORM_SECONDS)) i per_turn=1 rest=1
  if [ "$RATE" -ge 10 ]; then per_turn=$((RATE / 10)) rest=0.1; else rest=$(awk "BEGIN { print 1 / $RATE }"); fi
  while [ $SECONDS -lt $end ] && ! is_over; do
    find_victims
    for ((i = 0; i < per_turn && ${#victims[@]} > 0; i++)); do disturb "${victims[RANDOM % ${#victims[@]}]}"; done
    sleep "$rest"
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
[ "$sent" -ge $((RATE < 5 ? RATE : 5)) ] || fail "only $sent signals were sent"
if [ "$RANKS" = 2 ]; then check_two; else check_outcome; fi
must_leave_nothing
echo "ok: $CASE"

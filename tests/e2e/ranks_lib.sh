# shellcheck shell=bash disable=SC2034 # for the scripts that source it, after lib.sh
TWO=(--ranks 2 --batch-size 8) # 12 steps an epoch, as with one rank and a batch of 16

# The run of two ranks that nobody disturbs, into $T/two.
two_undisturbed() {
  start 0 "${TWO[@]}" --readers 1 --augmenters 1
  must_balance
  mv "$T/w" "$T/two"
}
check_two() {
  "$BIN/compare_states" "$T/two/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" ||
    fail "the weights are not those of the undisturbed run"
  if grep -q 'the ledger does not balance' "$RUN/log.txt"; then fail "a sample was lost or came twice"; fi
  must_balance
}

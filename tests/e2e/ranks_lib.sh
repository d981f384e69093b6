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
# same_parameters STATE STATE: to the bit, apart from the running statistics of batch norm, which each number of ranks takes over
# other batches.
same_parameters() {
  "$BIN/compare_states" --tensors "$1" "$2" >"$T/differences" || true
  if grep -vE 'running_(mean|var)|num_batches_tracked' "$T/differences"; then fail "the weights are not those of the undisturbed run"; fi
}
losses() { awk -F, 'NR > 1 { printf "%d %.2f %.2f\n", $1, $2, $3 }' "$1"; }

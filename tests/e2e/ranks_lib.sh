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

# A run of virtual ranks, with all that a step can be made of: 48 batches of 4 images an epoch in 6 steps of 8 batches.
VIRTUAL=(--virtual-ranks 4 --batch-size 4 --accumulate 2 --mixup 0.2 --cutmix 1 --drop-path-rate 0.1 --ema 0.9 --grad-clip 1)
# virtual_undisturbed FLAG...: by one trainer, into $T/one.
virtual_undisturbed() {
  start 0 --ranks 1 "${VIRTUAL[@]}" "$@"
  must_balance
  mv "$T/w" "$T/one"
}
# Every tensor, batch norm's statistics and the averages among them, and each sum of losses to the last bit.
check_virtual() {
  "$BIN/compare_states" "$T/one/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" >"$T/differences" || true
  grep -q '^metadata checksum' "$T/differences" || [ ! -s "$T/differences" ] || fail "the states were not compared"
  if grep -vE '^metadata (ranks\.now|steps\.planned|checksum)' "$T/differences"; then fail "the state is not that of one trainer"; fi
  diff <(cut -d , -f 1-7,10- "$T/one/run/summary.csv") <(cut -d , -f 1-7,10- "$RUN/summary.csv") || fail "the numbers of the epochs differ"
  if grep -q 'the ledger does not balance' "$RUN/log.txt"; then fail "a sample was lost or came twice"; fi
}

# A run whose steps have a batch of each trainer: 48 batches are an epoch.
DROP=(--elastic drop --batch-size 4 --mixup 0.2 --drop-path-rate 0.1 --ema 0.9 --snapshot-steps 1)
# state_number NAME: of the run's last state.
state_number() { head -c 65536 "$RUN/checkpoints/last.state.safetensors" | grep -aoE "\"$1\":\"[0-9]+\"" | head -n 1 | grep -oE '[0-9]+"$' | tr -d '"'; }
# The learning rate of each step, without those that were done again.
rates() { grep '"split":"train","loss"' "$1/metrics.jsonl" | sed -nE 's/.*"step":([0-9]+),.*"lr":([0-9.e-]+),.*/\1 \2/p' | sort -n -u -k 1,1 | cut -d ' ' -f 2; }

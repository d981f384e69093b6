#!/usr/bin/env bash
# The same seed gives the same weights, bit for bit, however many processes share the work and however files are read.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case_many_processes() {
  start 0 --readers 3 --augmenters 5 --io auto
  check_outcome
}

case_uring() {
  start 0 --readers 1 --augmenters 1 --io uring
  grep -q 'reading with threads' "$RUN/log.txt" && fail "io_uring was not used"
  check_outcome
}

case_small_rings() {
  start 0 --readers 2 --augmenters 3 --encoded-cells 16 --batches-ahead 2 --queue-depth 3
  check_outcome
}

# Files larger than a cell go by reference; the bytes that are trained on are the same.
case_by_reference() {
  [ -n "$(find "$REFERENCE/data/train" -name '*.jpg' -size +4096c -print -quit)" ] || fail "no file is larger than a cell"
  start 0 --readers 2 --augmenters 2 --cell-bytes 4096
  check_outcome
}

# With every kind of random transform: one process of each role, and several that are interrupted and started again.
case_classic() {
  TRAIN+=(--augment classic --aug.affine-p 0.9 --aug.jitter-p 0.9 --aug.dropout-p 0.9 --aug.policy randaugment)
  start 0 --readers 1 --augmenters 1
  if "$BIN/compare_states" "$REFERENCE/w/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" >"$T/differences"; then
    fail "transforms make no difference"
  fi
  mkdir -p "$T/alone/w" && mv "$RUN" "$T/alone/w/run"
  REFERENCE=$T/alone FAULTS=$PACE
  launch --readers 3 --augmenters 2
  wait_step 8
  send INT
  finish 75
  FAULTS=""
  start 0 --readers 2 --augmenters 3
  check_outcome
}

# The comparison itself must be able to fail.
case_other_seed_differs() {
  TRAIN+=(--seed 8)
  start 0 --readers 1 --augmenters 1
  if "$BIN/compare_states" "$REFERENCE/w/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" >"$T/differences"; then
    fail "another seed gave the same weights"
  fi
  grep -q 'bytes differ' "$T/differences" || fail "no tensor was named"
}

run_case

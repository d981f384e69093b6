#!/usr/bin/env bash
# What only a GPU can tell, in one call: conformance, sanitizers, resuming, learning, speed beside PyTorch. Prints one table,
# leaves JSON lines and logs.
#
#   run.sh BIN OUT [STEP...]
#
# BIN is where the programs lie: build/cuda after `cmake --preset cuda && cmake --build --preset cuda`. For a machine that has no
# compiler and no oneDNN, build with -D IMSUPER_ONEDNN=off -D IMSUPER_CUDA_ARCHITECTURES=90 (an H100's or H200's), and carry there
# imsuper*, imsuper-cuda.so, cuda-seams, gpu-* and compare_states with the libraries that `ldd` names.
# OUT is a folder for logs and results.jsonl. Without STEP: all of them, in this order. What a step needs and is not there makes it
# `skipped`, which the table says; a failure does not keep the others from running. Exit status: 1 when a step failed.
#
#   facts        GPU, driver, libraries
#   seams        device memory, recordings, cuDNN and cuBLASLt against plain loops
#   kernels      our own kernels against the reference: fp32, bf16, fp16, odd shapes
#   conformance  every op of the backend against the reference, the same
#   trajectory   20 steps with every technique against PyTorch's numbers
#   memcheck     kernels and conformance under compute-sanitizer
#   racecheck    kernels, for races in shared memory
#   resume       stopped and continued runs with --deterministic have the weights of one that was left alone
#   cifar        ResNet-18, small stem, CIFAR-10 from JPEG files: top-1 and time
#   bench        the training step, synthetic and fed from JPEG files, beside PyTorch (bench_gpu.py)
#
# Environment: CIFAR, INET: folders with train/CLASS/* of JPEG files (CIFAR with test/ too; INET on the file system of OUT);
# LIMIT_SECONDS for one step (600); CIFAR_EPOCHS (24); CIFAR_TOP1, the least that passes (0.94); BENCH_FLAGS for bench_gpu.py; PYTHON (python3).
# shellcheck disable=SC2317 # steps are called by name
set -uo pipefail

[ $# -ge 2 ] || { sed -n '2,28s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(cd "$1" && pwd) out=$(mkdir -p "$2" && cd "$2" && pwd)
shift 2
limit=${LIMIT_SECONDS:-600} python=${PYTHON:-python3}
failed=0
rows=()
: >"$out/results.jsonl"

missing() { echo "skipped: $*" && exit 77; }
need_program() { [ -x "$bin/$1" ] || missing "no $1 in $bin"; }
need_data() { [ -d "${!1:-}" ] || missing "\$$1 names no folder"; }
# The last line of a run's summary.csv under a column's name.
last_of() { awk -F , -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i } { v = $c } END { print v }' "$2/summary.csv"; }

step_facts() {
  nvidia-smi || missing "no nvidia-smi"
  need_program imsuper
  "$bin/imsuper" gpus
}
step_seams() { need_program cuda-seams && "$bin/cuda-seams"; }
step_kernels() {
  local program
  need_program gpu-kernels-pixels
  for program in "$bin"/gpu-kernels-*; do "$program" || return 1; done
}
step_conformance() { need_program gpu-conformance && "$bin/gpu-conformance"; }
step_trajectory() { need_program gpu-trajectory && "$bin/gpu-trajectory" "$here/../golden/trajectory.txt"; }
step_memcheck() { sanitize memcheck "$bin"/gpu-kernels-* "$bin/gpu-conformance"; }
step_racecheck() { sanitize racecheck "$bin"/gpu-kernels-*; }
# sanitize TOOL PROGRAM...
sanitize() {
  local tool=$1 program
  shift
  command -v compute-sanitizer >/dev/null || missing "no compute-sanitizer"
  need_program gpu-kernels-pixels
  for program in "$@"; do compute-sanitizer --tool "$tool" --error-exitcode 99 "$program" || return 1; done
}

step_resume() {
  local flags work=$out/resume
  need_data CIFAR
  need_program compare_states
  rm -rf "$work"
  flags=(--data-dir "$CIFAR" --subset --subset-size 4000 --model resnet18 --stem small --image-size 32 --eval-resize 32 --train-crop pad:4
    --batch-size 128 --epochs 4 --gpus 1 --amp bf16 --deterministic --mixup 0.2 --ema 0.99 --seed 5 --workspace "$work" --quiet)
  "$bin/imsuper" start "${flags[@]}" --run-name whole || return 1
  for at in 3 6 9; do
    timeout --signal INT "$at" "$bin/imsuper" start "${flags[@]}" --run-name stopped
    [ -e "$work/stopped/DONE" ] && break
  done
  "$bin/imsuper" start "${flags[@]}" --run-name stopped || return 1
  grep -c '"run.ended","exit_status":75' "$work/stopped/events.jsonl" | sed 's/$/ interruptions/'
  "$bin/compare_states" "$work/whole/checkpoints/last.state.safetensors" "$work/stopped/checkpoints/last.state.safetensors"
}

step_cifar() {
  local work=$out/cifar began=$SECONDS top1
  need_data CIFAR
  rm -rf "$work"
  "$bin/imsuper" start --data-dir "$CIFAR" --model resnet18 --stem small --image-size 32 --eval-resize 32 --train-crop pad:4 --batch-size 256 \
    --epochs "${CIFAR_EPOCHS:-24}" --schedule onecycle --lr 0.4 --pct-start 0.25 --nesterov --weight-decay 5e-4 --label-smoothing 0.1 --gpus 1 --amp bf16 \
    --mean 0.4914,0.4822,0.4465 --std 0.2470,0.2435,0.2616 --seed 1 --workspace "$work" --run-name cifar --plain || return 1
  top1=$(last_of val_top1 "$work/cifar")
  cp "$work/cifar/summary.csv" "$out/cifar-summary.csv"
  echo "top-1 $top1 after $((SECONDS - began)) s"
  awk -v t="$top1" -v least="${CIFAR_TOP1:-0.94}" 'BEGIN { exit !(t >= least) }'
}

# A sample becomes a data set of some size: each file 64 times, as hard links.
spread() {
  rm -rf "$out/inet" && mkdir -p "$out/inet/train" && cp -al "$INET/train" "$out/inet/val" && "$python" - "$INET/train" "$out/inet/train" <<'PYTHON'
import os, sys
for name in os.listdir(sys.argv[1]):
    os.mkdir(os.path.join(sys.argv[2], name))
    for file in os.listdir(os.path.join(sys.argv[1], name)):
        for copy in range(64):
            os.link(os.path.join(sys.argv[1], name, file), os.path.join(sys.argv[2], name, f"{copy:02}-{file}"))
PYTHON
}

step_bench() {
  local data=()
  "$python" -c 'import torch, torchvision; assert torch.cuda.is_available()' 2>/dev/null || missing "no PyTorch with a GPU"
  if [ -d "${INET:-}" ]; then
    spread || return 1
    data=(--data "$out/inet")
  fi
  # shellcheck disable=SC2086 # a list of flags
  "$python" "$here/bench_gpu.py" --imsuper "$bin/imsuper" "${data[@]}" --out "$out/bench.json" ${BENCH_FLAGS:-}
}

run_step() {
  local name=$1 began=$SECONDS status=0 verdict note
  declare -F "step_$name" >/dev/null || { echo "run.sh: there is no step $name" >&2; exit 2; }
  # As a process group of its own, so that nothing outlives its time.
  export -f "step_$name" missing need_program need_data last_of sanitize spread
  bin=$bin out=$out here=$here python=$python timeout --kill-after 10 "$limit" bash -uo pipefail -c "step_$name" >"$out/$name.log" 2>&1 || status=$?
  case $status in
  0) verdict=ok ;;
  77) verdict=skipped ;;
  124 | 137) verdict="out of time" failed=1 ;;
  *) verdict="FAILED ($status)" failed=1 ;;
  esac
  note=$(grep -v '^[[:space:]]*$' "$out/$name.log" | tail -n 1 | cut -c 1-90)
  rows+=("$(printf '%-12s %-12s %5d s  %s' "$name" "$verdict" $((SECONDS - began)) "$note")")
  printf '{"step":"%s","verdict":"%s","status":%d,"seconds":%d}\n' "$name" "$verdict" "$status" $((SECONDS - began)) >>"$out/results.jsonl"
  echo "== $name: $verdict"
  case $verdict in ok | skipped) ;; *) tail -n 25 "$out/$name.log" ;; esac
}

steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(facts seams kernels conformance trajectory memcheck racecheck resume cifar bench)
for name in "${steps[@]}"; do run_step "$name"; done
echo
printf '%s\n' "${rows[@]}"
exit $failed

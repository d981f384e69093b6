#!/usr/bin/env bash
# What only a GPU can tell: conformance, recorded steps, speed beside PyTorch, learning, resuming, sanitizers. Made for a GPU that
# is there for minutes: the most valuable steps come first, each has a limit of its own, and what is known so far is always on disk.
#
#   run.sh [--stop] BIN OUT [STEP...]
#
# --stop ends at the first step that fails, as the first hour on a new GPU has to: what comes after a fault is worth nothing until it
# is mended. OUT/reproduce.sh then runs the command that failed, alone.
# BIN is where the programs lie: build/cuda after `cmake --preset cuda && cmake --build --preset cuda`, or bin/ of what bundle.sh
# made for a machine that has no compiler. OUT is a folder that gets a handful of files: report.txt (the table that is also printed),
# results.jsonl (a line for each step), log.txt (everything that was said), and what steps measured: speed.jsonl, timeline.nsys-rep,
# bench.json, fed.json, cifar.csv, plans.tar.gz. Without STEP: all of them, in this order, that of what depends on what. What a step needs and is not
# there makes it `skipped`, which the table says; a failure does not keep the others from running. Exit status: 1 when a step failed.
#
#   facts        GPU, driver, libraries, shared memory
#   seams        device memory, page-locked shared memory, recordings, cuDNN and cuBLASLt against plain loops
#   kernels      our own kernels against the reference: fp32, bf16, fp16, odd shapes
#   steps        whole recorded steps of the device against enqueued ones and against the host's: the same bits; snapshots beside them; steps ahead
#   speed        the training step of ResNet-50, and where its time goes; its plans go into plans.tar.gz
#   bench        the training step beside PyTorch's, on synthetic batches (bench_gpu.py)
#   trajectory   20 steps with every technique against PyTorch's numbers, in fp32
#   conformance  every op of the backend against the reference, as the kernels
#   fails        trainers that fail by themselves leave: of two GPUs, or of one, where the communicator is missing
#   fits         ResNet-50 with the largest batch that fits, and a run with it that has short batches
#   resume       with --deterministic two runs have the same weights, and an interrupted one has them too
#   memcheck     kernels and steps under compute-sanitizer
#   racecheck    kernels, for races in shared memory
#   fed          imsuper and PyTorch from JPEG files: the share of the synthetic rate, and the stage that limits
#   cifar        ResNet-18, small stem, CIFAR-10 from JPEG files: top-1 and time
#
# In three calls of ten minutes, with TOTAL_SECONDS=570 (and --stop in the first hour of a new GPU):
#   facts seams kernels steps speed | bench trajectory conformance fails | fits resume memcheck racecheck fed cifar
#
# Environment: CIFAR, INET: folders with train/CLASS/* of JPEG files (CIFAR with test/ too), or tar archives of such;
# TOTAL_SECONDS for all steps together (none): a step gets no more than is left of it; LIMIT_SECONDS in place of each step's own
# limit; PLANS: a plans.tar.gz of an earlier call; CIFAR_EPOCHS (24); CIFAR_TOP1, the least that passes (0.94); BENCH_FLAGS for
# bench_gpu.py; FAILS_FLAGS for the run of `fails`; WORK for what is thrown away (a folder in TMPDIR); PYTHON (python3).
# shellcheck disable=SC2317 # steps are called by name
set -uo pipefail

stop=false
[ "${1:-}" != --stop ] || { stop=true && shift; }
[ $# -ge 2 ] || { sed -n '2,/^# shellcheck/{/^# shellcheck/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(cd "$1" && pwd) && out=$(mkdir -p "$2" && cd "$2" && pwd) || exit 2
shift 2
python=${PYTHON:-python3} work=${WORK:-$(mktemp -d "${TMPDIR:-/tmp}/imsuper-gpu-XXXXXX")}
mkdir -p "$work"
failed=0
: >"$out/results.jsonl" && : >"$out/log.txt" && : >"$out/report.txt" || exit 2

missing() { echo "skipped: $*" && exit 77; }
need_program() { [ -x "$bin/$1" ] || missing "no $1 in $bin"; }
# By the driver's program, or, where it is not installed, by ours.
count_gpus() {
  local count
  count=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU')
  [ "$count" -gt 0 ] || count=$("$bin/imsuper" gpus --json 2>/dev/null | grep -o '"index":' | wc -l)
  echo "$count"
}
need_gpu() { [ "$(count_gpus)" -gt 0 ] || missing "no GPU"; }
# A folder of data, unpacked first where $1 names an archive; sets $data.
need_data() {
  data=${!1:-}
  if [ -f "$data" ]; then
    [ -e "$work/$1.whole" ] || { mkdir -p "$work/$1" && tar -C "$work/$1" -xf "$data" && touch "$work/$1.whole"; } || exit 1
    data=$work/$1
  fi
  [ -d "$data/train" ] || missing "\$$1 names no folder with train/ and no archive of one"
}
# The last line of a run's summary.csv under a column's name.
last_of() { awk -F , -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i } { v = $c } END { print v }' "$2/summary.csv"; }
lines_of() { if [ -f "$1" ]; then wc -l <"$1"; else echo 0; fi; }

# Libraries of a bundle, and CUDA's where the linker does not find them: those of Python packages, say.
find_libraries() {
  local name places at
  [ -d "$bin/../lib" ] && export LD_LIBRARY_PATH=$bin/../lib:${LD_LIBRARY_PATH:-}
  places=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' 2>/dev/null)
  for name in $(ldd "$bin/imsuper-cuda.so" 2>/dev/null | awk '$2 == "=>" && $3 == "not" { print $1 }') libnccl.so.2; do
    ldconfig -p 2>/dev/null | grep -q "$name " && continue
    at=$(find ${places:+"$places/nvidia"} /usr/local/cuda*/ /usr/lib /opt -name "$name" 2>/dev/null | head -n 1)
    [ -n "$at" ] && LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}:$(dirname "$at")
  done
  export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}
}

step_facts() {
  uname -r
  df -h /dev/shm "$work"
  nproc && free -g
  ldd "$bin/imsuper-cuda.so" | grep -E 'not found|cudnn|cublas|nccl'
  need_program imsuper
  nvidia-smi || echo "no nvidia-smi"
  "$bin/imsuper" gpus && return
  if $stop || [ "$(count_gpus)" -gt 0 ]; then return 1; fi
  missing "no GPU"
}
step_seams() { need_program gpu_seams && "$bin/gpu_seams"; }
step_steps() { need_program gpu_steps && "$bin/gpu_steps" && need_program gpu_snapshots && "$bin/gpu_snapshots" &&
  need_program gpu_ahead && "$bin/gpu_ahead"; }
step_conformance() {
  need_program gpu_conformance
  "$bin/gpu_conformance" && { [ ! -x "$bin/gpu_mixing" ] || "$bin/gpu_mixing" "$here/../golden/recipe.txt"; }
}
step_kernels() {
  local program status=0
  need_program gpu_kernels_pixels
  for program in "$bin"/gpu_kernels_*; do
    "$program" || { status=$? && [ "$status" -ne 77 ] && return "$status"; }
  done
  return "$status"
}
step_trajectory() { need_program gpu_trajectory && "$bin/gpu_trajectory" "$here/../golden/trajectory.txt"; }

# measure BATCH AMP FLAG...
measure() {
  local began=$SECONDS line
  line=$("$bin/imsuper" bench trainer --json --backend cuda --model resnet50 --classes 1000 --image-size 224 --batch-size "$1" --amp "$2" --passes 4 "${@:3}") || return 1
  echo "$line" | tee -a "$out/speed.jsonl"
  echo "batch $*: $(echo "$line" | grep -o '"images_per_second":[0-9.]*') in $((SECONDS - began)) s"
}
# Of a few steps, kernels of captured graphs one by one, where NVIDIA's profiler is: timeline.nsys-rep.
timeline() {
  local nsys
  nsys=$(PATH=$PATH:/usr/local/cuda/bin command -v nsys) || { echo "no nsys: no timeline" && return 0; }
  "$nsys" profile --force-overwrite true --trace cuda,nvtx --cuda-graph-trace node --output "$out/timeline" "$bin/imsuper" bench trainer --backend cuda \
    --model resnet50 --classes 1000 --image-size 224 --batch-size 256 --amp bf16 --passes 1 || echo "nsys made no timeline"
}
step_speed() {
  need_program imsuper
  need_gpu
  : >"$out/speed.jsonl"
  measure 256 bf16 || return 1
  measure 256 bf16 || return 1 # the plans are known now
  "$bin/imsuper" profile trainer --backend cuda --model resnet50 --classes 1000 --image-size 224 --batch-size 256 --amp bf16 --passes 2 || return 1
  timeline
  measure 512 bf16
  measure 256 bf16 --wgrad-stream || return 1
  measure 256 fp16
  head -n 2 "$out/speed.jsonl" | tail -n 1 | grep -o '"images_per_second":[0-9.]*'
}

# A learning rate and a weight decay that make weights a thousand times as large in each step: after some steps no loss is finite, and all
# ranks fail by themselves, while captured graphs refer to their communicator. The run says why, and ends soon: not by being killed.
step_fails() {
  local gpus began status=0
  need_program imsuper
  need_gpu
  gpus=$(count_gpus)
  [ "$gpus" -le 2 ] || gpus=2
  rm -rf "$work/fails"
  "$bin/imsuper" data synth --out "$work/fails/data" --classes 2 --per-class 512 --val-per-class 4 || return 1
  began=$SECONDS
  # shellcheck disable=SC2086 # a list of flags
  "$bin/imsuper" start --data-dir "$work/fails/data" --model resnet18 --image-size 64 --batch-size 32 --epochs 20 --gpus "$gpus" --lr 1000 \
    --weight-decay 1 --warmup-epochs 0 --max-bad-steps 8 --workspace "$work/fails" --run-name fails --plain ${FAILS_FLAGS:-} || status=$?
  grep -h "in a row" "$work/fails/fails/log.txt" | tail -n 2
  [ "$status" -eq 1 ] || { echo "exit status $status" && return 1; }
  grep -q "not finite in 8 steps in a row" "$work/fails/fails/log.txt" || { echo "it did not say why" && return 1; }
  if grep -qE 'does not leave|"end":"signal' "$work/fails/fails/log.txt" "$work/fails/fails/events.jsonl"; then echo "a trainer did not leave by itself" && return 1; fi
  echo "$gpus GPU(s): all left by themselves, $((SECONDS - began)) s after the start"
}

# Memory for the largest batch is planned with the short batches of a run, so that none of them has to be planned when it is full.
step_fits() {
  local said batch images=512
  need_program imsuper
  need_gpu
  said=$("$bin/imsuper" bench trainer --backend cuda --model resnet50 --classes 10 --image-size 224 --batch-size 65536 --amp bf16 2>&1)
  echo "$said"
  batch=$(sed -n 's/.*the largest batch that fits is \([0-9]*\).*/\1/p' <<<"$said")
  [ -n "$batch" ] || { echo "the error does not name the largest batch" && return 1; }
  "$bin/imsuper" bench trainer --backend cuda --model resnet50 --classes 10 --image-size 224 --batch-size "$batch" --amp bf16 --passes 1 || return 1
  rm -rf "$work/fits"
  [ "$batch" -lt "$images" ] || images=$((batch + 7)) # a whole batch and a short one
  "$bin/imsuper" data synth --out "$work/fits/data" --classes 2 --per-class $(((images + 1) / 2)) --val-per-class 4 || return 1
  "$bin/imsuper" start --data-dir "$work/fits/data" --model resnet50 --image-size 224 --batch-size "$batch" --epochs 2 --gpus 1 --amp bf16 \
    --workspace "$work/fits" --run-name fits --plain || return 1
  echo "batch $batch"
}

step_cifar() {
  local began=$SECONDS top1 status=0
  need_program imsuper
  need_gpu
  need_data CIFAR
  rm -rf "$work/cifar"
  "$bin/imsuper" start --data-dir "$data" --model resnet18 --stem small --image-size 32 --eval-resize 32 --train-crop pad:4 --batch-size 256 \
    --epochs "${CIFAR_EPOCHS:-24}" --schedule onecycle --lr 0.4 --pct-start 0.25 --nesterov --weight-decay 5e-4 --label-smoothing 0.1 --gpus 1 --amp bf16 \
    --mean 0.4914,0.4822,0.4465 --std 0.2470,0.2435,0.2616 --seed 1 --workspace "$work/cifar" --run-name cifar --plain || status=$?
  [ -f "$work/cifar/cifar/summary.csv" ] || return 1
  cp "$work/cifar/cifar/summary.csv" "$out/cifar.csv"
  top1=$(last_of val_top1 "$work/cifar/cifar")
  echo "top-1 $top1 after $((SECONDS - began)) s"
  [ "$status" -eq 0 ] && awk -v t="$top1" -v least="${CIFAR_TOP1:-0.94}" 'BEGIN { exit !(t >= least) }'
}

need_torch() { "$python" -c 'import torch, torchvision; assert torch.cuda.is_available()' 2>/dev/null || missing "no PyTorch with a GPU"; }
step_bench() {
  need_program imsuper
  need_torch
  # shellcheck disable=SC2086 # a list of flags
  "$python" "$here/bench_gpu.py" --imsuper "$bin/imsuper" --out "$out/bench.json" ${BENCH_FLAGS:-}
}

# A sample becomes a data set of some size: each file 128 times, as hard links.
spread() {
  "$python" - "$1/train" "$work/inet" <<'PYTHON'
import os, shutil, sys
shutil.rmtree(sys.argv[2], ignore_errors=True)
shutil.copytree(sys.argv[1], sys.argv[2] + "/val")
for name in os.listdir(sys.argv[2] + "/val"):
    os.makedirs(os.path.join(sys.argv[2], "train", name))
    for file in os.listdir(os.path.join(sys.argv[2], "val", name)):
        for copy in range(128):
            os.link(os.path.join(sys.argv[2], "val", name, file), os.path.join(sys.argv[2], "train", name, f"{copy:03}-{file}"))
PYTHON
}
step_fed() {
  local augmenters=$(($(nproc) > 3 ? $(nproc) - 2 : 1)) # a core for the trainer, one for readers and the supervisor
  need_program imsuper
  need_torch
  need_data INET
  spread "$data" || return 1
  # shellcheck disable=SC2086 # a list of flags
  "$python" "$here/bench_gpu.py" --imsuper "$bin/imsuper" --rounds 0 --data "$work/inet" --augmenters "$augmenters" --out "$out/fed.json" ${BENCH_FLAGS:-}
}

# Interrupts a run when it has made $1 epochs; false: it ended first.
interrupt_after() {
  local epochs=$1 run
  shift
  "$@" &
  run=$!
  while kill -0 "$run" 2>/dev/null; do
    if [ "$(lines_of "$work/resume/stopped/summary.csv")" -gt "$epochs" ]; then
      sleep 0.5
      kill -TERM "$run" 2>/dev/null # a shell lets what it runs in the background ignore INT
      break
    fi
    sleep 0.05
  done
  wait "$run"
  [ $? -eq 75 ]
}
step_resume() {
  local start epochs
  need_program compare_states
  need_gpu
  need_data CIFAR
  rm -rf "$work/resume"
  start=("$bin/imsuper" start --data-dir "$data" --model resnet18 --stem small --image-size 32 --eval-resize 32 --train-crop pad:4
    --batch-size 128 --epochs 4 --gpus 1 --amp bf16 --deterministic --mixup 0.2 --ema 0.99 --seed 5 --workspace "$work/resume" --quiet)
  "${start[@]}" --run-name whole || return 1
  "${start[@]}" --run-name again || return 1
  same_state whole again || { echo "two runs with --deterministic differ" && return 1; }
  for epochs in 1 2; do
    interrupt_after "$epochs" "${start[@]}" --run-name stopped || { echo "the run could not be interrupted in epoch $((epochs + 1))" && return 1; }
  done
  "${start[@]}" --run-name stopped || return 1
  same_state whole stopped || { echo "the run that was interrupted differs" && return 1; }
}
# same_state RUN RUN
same_state() { "$bin/compare_states" "$work/resume/$1/checkpoints/last.state.safetensors" "$work/resume/$2/checkpoints/last.state.safetensors"; }

# sanitize TOOL PROGRAM...
sanitize() {
  local tool=$1 program
  shift
  PATH=$PATH:/usr/local/cuda/bin
  command -v compute-sanitizer >/dev/null || missing "no compute-sanitizer"
  need_program gpu_kernels_pixels
  need_gpu
  for program in "$@"; do compute-sanitizer --tool "$tool" --error-exitcode 99 "$program" || return 1; done
}
step_memcheck() { sanitize memcheck "$bin"/gpu_kernels_* "$bin/gpu_steps"; }
step_racecheck() { sanitize racecheck "$bin"/gpu_kernels_*; }

limit_of() {
  case $1 in
  facts | kernels) echo 60 ;;
  seams | trajectory) echo 120 ;;
  steps | conformance | fed | resume | fits | fails) echo 180 ;;
  speed) echo 300 ;;
  bench) echo 420 ;;
  *) echo 240 ;;
  esac
}

# What cuDNN's engines were found to take, for the next call.
keep_plans() {
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}
  [ -e "$cache/imsuper/cuda.plans" ] && tar -C "$cache" -czf "$out/plans.tar.gz" imsuper
}

# The last program of ours, or Python, that the step $1 started.
reproduce() {
  local command
  command=$(grep -E "^\++ (compute-sanitizer .*)?('?$bin/|'?$python )" "$work/trace" | tail -n 1 | sed 's/^+* //')
  {
    echo '#!/usr/bin/env bash'
    echo "# The step $1 failed with this. All of the step: $here/run.sh $bin OUT $1"
    echo "export LD_LIBRARY_PATH=${LD_LIBRARY_PATH@Q} WORK=${work@Q}"
    echo "${command:-bash $here/run.sh $bin $out/again $1}"
  } >"$out/reproduce.sh"
}

run_step() {
  local name=$1 began=$SECONDS status=0 verdict note limit before left=${TOTAL_SECONDS:+$((TOTAL_SECONDS - SECONDS))}
  declare -F "step_$name" >/dev/null || { echo "run.sh: there is no step $name" >&2; exit 2; }
  limit=${LIMIT_SECONDS:-$(limit_of "$name")}
  [ "${left:-$limit}" -ge "$limit" ] || limit=$left
  echo "==== $name" >>"$out/log.txt"
  before=$(stat -c %s "$out/log.txt")
  if [ "${left:-10}" -lt 10 ]; then
    echo "skipped: no time is left" >>"$out/log.txt" && status=77
  else
    # As a process group of its own, so that nothing outlives its time.
    # The trace is of commands, for reproduce.sh.
    BASH_XTRACEFD=9 PS4='+ ' timeout --kill-after 10 "$limit" bash -xuo pipefail -c "step_$name" \
      </dev/null >>"$out/log.txt" 2>&1 9>"$work/trace" || status=$?
  fi
  case $status in
  0) verdict=ok ;;
  77) verdict=skipped ;;
  124 | 137) verdict="out of time" failed=1 ;;
  *) verdict="FAILED ($status)" failed=1 ;;
  esac
  note=$(tail -c "+$((before + 1))" "$out/log.txt" | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c 1-90)
  printf '%-12s %-12s %5d s  %s\n' "$name" "$verdict" $((SECONDS - began)) "$note" >>"$out/report.txt"
  printf '{"step":"%s","verdict":"%s","status":%d,"seconds":%d}\n' "$name" "$verdict" "$status" $((SECONDS - began)) >>"$out/results.jsonl"
  echo "== $name: $verdict, $((SECONDS - began)) s"
  case $verdict in ok | skipped) ;; *) tail -c "+$((before + 1))" "$out/log.txt" | tail -n 20 ;; esac
  case $name in speed | bench | cifar | fed) keep_plans ;; esac
}

find_libraries
if [ -n "${PLANS:-}" ] && [ -f "$PLANS" ]; then
  mkdir -p "${XDG_CACHE_HOME:-$HOME/.cache}" && tar -C "${XDG_CACHE_HOME:-$HOME/.cache}" --skip-old-files -xzf "$PLANS"
fi
export bin out here python work stop IMSUPER_TEST_PLANS=$work/tests.plans
for name in $(declare -F | awk '{ print $3 }'); do export -f "${name?}"; done
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(facts seams kernels steps speed bench trajectory conformance fails fits resume memcheck racecheck fed cifar)
for name in "${steps[@]}"; do
  run_step "$name"
  if $stop && [ $failed -ne 0 ]; then
    reproduce "$name"
    echo "== stopped at $name; the command that failed: $out/reproduce.sh"
    break
  fi
done
[ -n "${WORK:-}" ] || { $stop && [ $failed -ne 0 ]; } || rm -rf "$work"
echo
cat "$out/report.txt"
exit $failed

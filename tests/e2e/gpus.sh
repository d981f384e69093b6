#!/usr/bin/env bash
# Everything around the GPUs of a run, with a module that shows GPUs that are not there and computes on the CPU, and with a
# driver's library that makes numbers up (tests/cuda/fakes): choice, refusals, several trainers, telemetry.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

BUILD=$BIN FAKES=$BIN/tests/cuda/fakes
unset IMSUPER_GPUS CUDA_VISIBLE_DEVICES HWLOC_XMLFILE
# The programs look for the module beside themselves, and must not find a real one.
install_programs() {
  mkdir "$T/bin"
  cp "$BIN/imsuper" "$BIN"/imsuper-{reader,augmenter,trainer} "$T/bin/"
  if [ $# -gt 0 ]; then cp "$FAKES/$1/imsuper-cuda.so" "$T/bin/"; fi
  BIN=$T/bin
  export LD_LIBRARY_PATH=$FAKES/nvml${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

# The real backend, on a GPU that is the processor.
install_emulated() {
  local module=$BUILD/tests/cuda/lanes/module/imsuper-cuda.so
  [ -e "$module" ] || skip "this build does not emulate the kernels"
  install_programs
  cp "$module" "$BIN/"
}

# refused STATUS SENTENCE FLAG...
refused() {
  local status=$1 sentence=$2
  shift 2
  start "$status" "$@"
  must_say "$sentence"
  [ ! -e "$RUN" ] || fail "a run directory was left behind"
}

case_no_module() {
  install_programs
  refused 69 "this build of imsuper has no CUDA" --gpus 1
  refused 69 "this build of imsuper has no CUDA" --backend cuda
  start 0 --gpus auto --epochs 1
  [ "$(grep -c 'GPU' "$T/out")" = 0 ] || [ -e /dev/nvidiactl ] || fail "a CPU machine is told about GPUs"
  grep -q '^gpus: "\?0"\?' "$RUN/config.yaml" || fail "config.yaml does not say that the CPU was taken"
}

case_stale_module() {
  install_programs module_stale
  refused 69 "is from another build" --gpus 1
}

case_wrong_wishes() {
  install_programs module
  refused 2 "this machine has 2 GPUs, numbered from 0" --gpus 3
  refused 2 "no GPU 2" --gpus 0,2
  refused 2 "without duplicates" --gpus 1,1
  refused 2 "contradict each other" --gpus 2 --ranks 1
  refused 2 "contradict each other" --gpus 1 --backend onednn
  refused 2 "contradict each other" --gpus 0 --backend cuda
  CUDA_VISIBLE_DEVICES=5 refused 2 "CUDA_VISIBLE_DEVICES=5 leaves 1 GPU" --gpus 2
  CUDA_VISIBLE_DEVICES="" refused 69 "CUDA_VISIBLE_DEVICES hides all GPUs" --gpus 1
  FAKE_CUDA=no_driver refused 69 "there is no NVIDIA driver" --gpus 1
  FAKE_CUDA=old_driver refused 69 "update the driver" --gpus 1
  FAKE_GPU_NAME="NVIDIA A100-SXM4-40GB MIG 1g.5gb" refused 2 "MIG instance" --gpus 2
}

case_falls_back_aloud() {
  install_programs module
  FAKE_CUDA=old_driver start 0 --epochs 1
  must_say "device  CPU; no GPU, for the driver is for CUDA 11.4"
  must_balance
}

case_lists() {
  install_programs module
  "$BIN/imsuper" gpus >"$T/out" || fail "imsuper gpus failed"
  must_say "NVIDIA H200"
  must_say "0000:21:00.0"
  FAKE_CUDA=no_driver "$BIN/imsuper" gpus >"$T/out" 2>&1 && fail "no driver is no failure"
  must_say "there is no NVIDIA driver"
  grep -q '"index":1' < <("$BIN/imsuper" gpus --json) || fail "the JSON lacks a GPU"
}

# The module computes on the CPU, which is slow in bf16 and cannot do fp16: what is chosen is what counts.
case_amp() {
  install_programs module
  launch --gpus 1 --epochs 3 --batch-size 8
  wait_step 2
  must_say "amp     bf16: compute capability 9.0 has bf16 (auto; --amp none for fp32)"
  status_json | grep -q '"amp": *"bf16"' || fail "status does not say the type"
  send INT
  finish 75
  grep -q '^amp: bf16' "$RUN/config.yaml" || fail "config.yaml does not say the type"
  FAKE_GPU_SM=75 start 2 --gpus 1 --epochs 3 --batch-size 8
  must_say "and bf16 needs 8.0; use --amp fp16"
  start 0 --backend onednn --gpus 0 --epochs 1 --batch-size 8
  must_say "amp     bf16, as this run began"
  rm -r "$RUN"
  FAKE_GPU_SM=70 start 0 --gpus 1 --epochs 1 --dry-run
  must_say "amp     fp16 with loss scaling: compute capability 7.0 lacks bf16"
  refused 2 "CPUs compute in fp32" --gpus 0 --fp16
  refused 2 "wgrad-stream has no effect without a GPU" --gpus 0 --wgrad-stream
}

# Two trainers, one a GPU; the same bits as two ranks on the CPU, for here they compute there.
case_two() {
  install_programs module
  start 0 --backend onednn --ranks 2 --batch-size 8 --epochs 4
  mv "$T/w" "$T/cpu"
  FAULTS=$PACE # long enough for two looks at the GPU, which are a second apart
  start 0 --gpus auto --batch-size 8 --epochs 4 --amp none
  must_say "amp     tf32, as --amp none says"
  must_say "device  2 x NVIDIA H200 (140.0 GiB): GPU 0, 1; CUDA 13.0, driver for 13.0"
  must_say "cores   trainers "
  must_balance
  "$BUILD/compare_states" "$T/cpu/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" ||
    fail "the weights differ"
  grep -q '"event":"epoch".*"gpu_power_w":1283.0' "$RUN/metrics.jsonl" || fail "metrics.jsonl lacks the GPUs' power"
  grep -q '"event":"epoch".*"gpu_throttled":\["power"\]' "$RUN/metrics.jsonl" || fail "metrics.jsonl does not say why they throttle"
  grep -q '"event":"epoch".*"joules_per_image":' "$RUN/metrics.jsonl" || fail "metrics.jsonl lacks the energy"
  grep -q '"event":"epoch".*"mfu":' "$RUN/metrics.jsonl" || fail "metrics.jsonl lacks the MFU"
}

case_unknown_gpu_has_no_mfu() {
  install_programs module
  FAKE_GPU_NAME="NVIDIA Tomorrow" start 0 --gpus 1 --epochs 1
  grep -q '"gpu_busy":0.97' "$RUN/metrics.jsonl" || fail "metrics.jsonl lacks the GPU"
  if grep -q '"mfu"' "$RUN/metrics.jsonl"; then fail "an MFU was made up"; fi
}

case_status() {
  install_programs module
  FAULTS=$PACE
  launch --gpus 1,0 --batch-size 8
  wait_step 4
  "$BIN/imsuper" status --workspace "$T/w" --run-name run >"$T/status"
  status_json >"$T/status.json"
  grep -Eq '^ +0 +1 +97% +47684 MiB +642 W +62 C +1755 MHz +power$' "$T/status" || { cat "$T/status" && fail "status lacks rank 0 on GPU 1"; }
  grep -Eq '^ +1 +0 +97%' "$T/status" || { cat "$T/status" && fail "status lacks rank 1 on GPU 0"; }
  grep -q '"energy_j"' "$T/status.json" || fail "status --json lacks the energy"
  send INT
  finish 75
}

# The driver's library loses the GPU: training does not depend on it.
case_lost() {
  install_programs module
  FAULTS=$PACE
  FAKE_NVML=lost:2 start 0 --gpus 1
  grep -q 'the GPU no longer responds.*GPU is lost' "$RUN/log.txt" || fail "the log does not say that the GPU is gone"
  if tail -n 1 "$RUN/metrics.jsonl" | grep -q gpu_busy; then fail "numbers of a GPU that is gone"; fi
  must_balance
}

# The driver hangs: neither the steps nor the end wait for it.
case_hang() {
  install_programs module
  FAKE_NVML=hang:1 start 0 --gpus 1 --epochs 1
  must_balance
}

case_without_nvml() {
  install_programs module
  FAKE_NVML=dead start 0 --gpus 1 --epochs 1
  grep -q 'no GPU telemetry.*Driver Not Loaded' "$RUN/log.txt" || fail "the log does not say why there are no numbers"
  must_balance
}

# A machine that is described to hwloc, and is not this one.
case_places() {
  install_programs module
  HWLOC_XMLFILE=$(dirname "${BASH_SOURCE[0]}")/../unit/supervisor/warden/two_sockets_eight_gpus.xml start 0 --gpus 2 --epochs 1 --batch-size 8
  must_say "(of another machine's description: not applied)"
  must_balance
}

# The real backend, on a GPU that is the processor: a run in one piece, one whose trainer is killed half way, and one whose
# trainer is killed when it has given a batch back in the middle of its step.
case_emulated() {
  local flags=(--gpus 1 --amp none --epochs 1 --image-size 8 --subset --subset-size 96 --snapshot-steps 2)
  install_emulated
  start 0 "${flags[@]}"
  must_balance
  mv "$T/w" "$T/first"
  FAULTS=$PACE
  launch "${flags[@]}"
  wait_step 3
  kill -KILL "$(pids trainer)"
  finish 0
  [ "$(deaths_of trainer)" = 1 ] || fail "no trainer died"
  "$BUILD/compare_states" "$T/first/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" ||
    fail "the weights differ"
  rm -r "$T/w"
  FAULTS="trainer:trainer.freed=kill@4"
  start 0 "${flags[@]}"
  [ "$(deaths_of trainer)" -ge 1 ] || fail "no trainer died"
  must_balance
  "$BUILD/compare_states" "$T/first/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" ||
    fail "the weights differ after a death in a step"
}

# A first start that takes long is seen, and ends when it is told to, not when its trainer is killed.
case_planning() {
  local began
  install_emulated
  export HOST_PLAN_MS=300
  launch --gpus 1 --epochs 1 --status-interval 0.1
  until_true "$LIMIT_SECONDS" says " cudnn_plans=" || fail "nobody says how far planning has come"
  began=$SECONDS
  send INT
  finish 75
  must_have_taken 8 $began "the end of a trainer that plans"
  if has_event '"process.died"'; then fail "a trainer that plans was killed"; fi
}

run_case

#!/usr/bin/env bash
# run.sh without a GPU: programs that pass, skip, fail, hang and are not there, a run that is interrupted, and no time left. Each has
# its verdict, the others still run, and what is known is on disk.
# shellcheck disable=SC2016 # the programs expand them
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*" >&2; cat "$work/said" "$work"/out/* >&2; exit 1; }
program() { printf '#!/bin/sh\n%s\n' "$2" >"$work/bin/$1" && chmod +x "$work/bin/$1"; }
mkdir "$work/bin" "$work/none"
program gpu_seams 'echo all is well'
program gpu_steps 'echo "step 3 differs"; exit 3'
program gpu_conformance 'echo begun; exec sleep 100'
program gpu_kernels_pixels 'exit 77'
program imsuper 'exit 1'
program nvidia-smi 'exit 9'
PATH=$work/bin:$PATH

CIFAR='' LIMIT_SECONDS=2 bash "$here/run.sh" "$work/bin" "$work/out" seams steps conformance kernels trajectory speed fails cifar resume >"$work/said" 2>&1
[ $? -eq 1 ] || fail "a failed step is not in the exit status"
verdict() { grep -q "^$1 *$2 .*$3" "$work/out/report.txt" || fail "$1 is not '$2 $3'"; }
verdict seams ok 'all is well'
verdict steps 'FAILED (3)' 'step 3 differs'
verdict conformance 'out of time' 'begun'
verdict kernels skipped ''
verdict trajectory skipped 'no gpu_trajectory'
verdict speed skipped 'no GPU'
verdict fails skipped 'no GPU'
verdict cifar skipped 'no GPU'
verdict resume skipped 'no compare_states'
[ "$(wc -l <"$work/out/results.jsonl")" -eq 9 ] || fail "a step has no line"
[ "$(find "$work/out" -type f | wc -l)" -le 8 ] || fail "more files than a handful"
diff <(tail -n 9 "$work/said") "$work/out/report.txt" || fail "what is printed is not the report"

# --stop: nothing after a fault, and the command that failed.
WORK=$work/kept CIFAR='' bash "$here/run.sh" --stop "$work/bin" "$work/stop" seams steps kernels >"$work/said" 2>&1
[ $? -eq 1 ] || fail "a failed step is not in the exit status"
[ "$(cut -d ' ' -f 1 "$work/stop/report.txt" | xargs)" = "seams steps" ] || fail "it went on after a fault"
bash "$work/stop/reproduce.sh" >"$work/said" 2>&1
{ [ $? -eq 3 ] && grep -q 'step 3 differs' "$work/said"; } || fail "reproduce.sh does not fail as the step did"

# Without names: what others depend on comes first, as in the list in run.sh.
WORK=$work/kept CIFAR='' INET='' PYTHON=false bash "$here/run.sh" "$work/none" "$work/order" >"$work/said" 2>&1 || fail "nothing to run is no failure"
order=$(cut -d ' ' -f 1 "$work/order/report.txt" | xargs)
[ "$order" = "facts seams kernels steps speed bench trajectory conformance fails fits resume memcheck racecheck fed cifar" ] || fail "the order is $order"
[ "$(sed -n 's/^#   \([a-z]*\)  .*/\1/p' "$here/run.sh" | xargs)" = "$order" ] || fail "the list in run.sh has another order"

# No GPU, which --stop does not pass over; one that the driver shows and we do not see; one without the driver's program.
program imsuper 'echo "imsuper: there is no NVIDIA driver" >&2; exit 69'
WORK=$work/kept bash "$here/run.sh" "$work/bin" "$work/out" facts >"$work/said" 2>&1 || fail "no GPU is no failure"
verdict facts skipped 'no GPU'
WORK=$work/kept bash "$here/run.sh" --stop "$work/bin" "$work/out" facts seams >"$work/said" 2>&1 && fail "--stop goes on without a GPU"
verdict facts 'FAILED (1)' 'there is no NVIDIA driver'
program nvidia-smi 'echo "GPU 0: X"'
WORK=$work/kept bash "$here/run.sh" "$work/bin" "$work/out" facts >"$work/said" 2>&1 && fail "a GPU that we do not see is passed over"
verdict facts 'FAILED (1)' 'there is no NVIDIA driver'
program nvidia-smi 'exit 9'
program imsuper 'case $* in "gpus --json") echo "{\"gpus\":[{\"index\":0}]}" ;; gpus) echo "0 X" ;; *) exit 1 ;; esac'
WORK=$work/kept bash "$here/run.sh" "$work/bin" "$work/out" facts fits >"$work/said" 2>&1
verdict facts ok '0 X'
verdict fits 'FAILED (1)' 'does not name the largest batch'

# A run of four epochs that counts how often it was stopped.
program imsuper 'for i do case $last in --workspace) work=$i ;; --run-name) name=$i ;; esac; last=$i; done
mkdir -p "$work/$name/checkpoints" && cd "$work/$name" || exit 1
trap "echo stopped >>../../stops; exit 75" TERM
[ -f summary.csv ] || echo epoch,val_top1 >summary.csv
while [ "$(wc -l <summary.csv)" -le 4 ]; do sleep 0.1; sleep 0.6 & wait; echo 1,0.5 >>summary.csv; done
echo the weights >checkpoints/last.state.safetensors'
program nvidia-smi 'echo GPU 0'
program compare_states 'cmp "$1" "$2" && echo alike'
mkdir -p "$work/data/train"
tar -C "$work/data" -cf "$work/data.tar" train
WORK=$work/kept CIFAR=$work/data.tar bash "$here/run.sh" "$work/bin" "$work/out" resume >"$work/said" 2>&1 || fail "resume failed"
verdict resume ok alike
[ "$(wc -l <"$work/kept/stops")" -eq 2 ] || fail "the run was not stopped twice"
program compare_states 'case $2 in */again/*) echo differ; exit 1 ;; esac'
WORK=$work/kept CIFAR=$work/data.tar bash "$here/run.sh" "$work/bin" "$work/out" resume >"$work/said" 2>&1
verdict resume 'FAILED (1)' 'two runs with --deterministic differ'

# Trainers that fail: one run says why and ends, one has a trainer that does not leave, one goes on.
for ends in 'exit 1' 'echo "{\"end\":\"signal 9\"}" >>events.jsonl; exit 1' 'exit 0'; do
  program imsuper "[ \$1 = start ] || exit 0
while [ \$1 != --workspace ]; do shift; done
mkdir -p \$2/fails && cd \$2/fails && echo 'not finite in 8 steps in a row' >log.txt && touch events.jsonl; $ends"
  WORK=$work/kept bash "$here/run.sh" "$work/bin" "$work/out" fails >"$work/said" 2>&1
  case $ends in
  'exit 1') verdict fails ok '1 GPU(s): all left by themselves' ;;
  'exit 0') verdict fails 'FAILED (1)' 'exit status 0' ;;
  *) verdict fails 'FAILED (1)' 'a trainer did not leave by itself' ;;
  esac
done

# A timeline where there is a profiler, none where there is not, and both streams of gradients.
program imsuper 'echo "$*" >>"$work/asked"; echo "{\"images_per_second\":1.5}"'
WORK=$work/kept bash "$here/run.sh" "$work/bin" "$work/out" speed >"$work/said" 2>&1 || fail "speed failed"
verdict speed ok '"images_per_second":1.5'
grep -q 'no nsys' "$work/out/log.txt" || fail "no word about a timeline"
grep -q -- '--wgrad-stream' "$work/kept/asked" || fail "gradients of weights on a second stream were not measured"
program nsys 'echo "$*" >"$out/timeline.nsys-rep"'
WORK=$work/kept bash "$here/run.sh" "$work/bin" "$work/out" speed >"$work/said" 2>&1 || fail "speed failed"
grep -q 'cuda-graph-trace node' "$work/out/timeline.nsys-rep" || fail "no timeline"

TOTAL_SECONDS=5 bash "$here/run.sh" "$work/bin" "$work/out" seams >"$work/said" 2>&1 || fail "no time left is no failure"
verdict seams skipped 'no time is left'

# A bundle takes the same words, --stop too.
mkdir "$work/build" && cp "$(type -P true)" "$work/build/imsuper"
bash "$here/bundle.sh" "$work/build" "$work/bundle" >"$work/said" 2>&1 || fail "no bundle"
WORK=$work/unpacked bash "$work/bundle/run" --stop "$work/out" facts >"$work/said" 2>&1 || fail "the bundle does not run"
verdict facts ok ''

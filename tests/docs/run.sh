#!/usr/bin/env bash
# Runs each command that the documents show, in a folder where what they name is there: images, finished runs, weights. `start` gets
# --dry-run, measurements get a short pass. What is not run is counted by its reason; a verb that this script does not know fails.
#
#   run.sh BIN REFERENCE all
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=list.sh
. "$(dirname "${BASH_SOURCE[0]}")/list.sh"

quietly() { "$BIN/imsuper" "$@" >"$T/out" 2>&1 </dev/null || fail "imsuper $*: exit status $?"; }
# What the documents name, in the current folder.
make_things() {
  local name
  mkdir -p path/to runs checkpoints
  # As many as a step of the recipes takes.
  quietly data synth --out path/to/images --classes 8 --per-class 160 --val-per-class 4 --side-min 16 --side-max 24 --quiet
  for name in data path/to/class-folders path/to/tiny-imagenet-200 path/to/imagenet; do cp -rl path/to/images $name; done
  rm -r path/to/class-folders/val
  for name in demo first one two three run-a run-b run-c finetune imagenet; do cp -r "$REFERENCE/w/run" runs/$name; done
  for name in weights a b checkpoints/best net; do cp "$REFERENCE/w/run/checkpoints/last.safetensors" $name.safetensors; done
  quietly export weights.safetensors --image-size 16 --format pt -o weights.pth
  for name in checkpoint.pth.tar resnet50.pth; do cp weights.pth $name; done
  cp "$(find path/to/images/val -name '*.jpg' | head -n 1)" photo.jpg
  cp -r path/to/images/val path/to/folder
  (cd path/to/images/train && ls) >imagenet_classes.txt
  mkdir -p runs/demo/nodes/node1
  ln -s ../../checkpoints runs/demo/nodes/node1/checkpoints
  ln -s demo runs/latest
  quietly data pack path/to/images path/to/shards
  quietly eval demo --shard 0/1 -o parts
  cp -r "$ROOT/examples" examples
}

# Words in capitals stand for others.
# shellcheck disable=SC2016 # the variables of the examples are looked for
fill_in() {
  sed -E 's/\[GPU\]/h200/; s/-o DIR/-o made/; s/\bDIR\b/path\/to\/images/; s/--model NAME/--model resnet20/; s/--aug\.NAME VALUE/--aug.hue 0.2/
    s/\b(RUN|NAME)\b/demo/g; s/WEIGHTS\.pth/weights.pth/; s/NEW\.safetensors/new.safetensors/; s/FILE\.\.\./photo.jpg/; s/\bFILE\b/weights.safetensors/
    s/--batch-size N\b/--batch-size 8/; s/\x27//g; s/\$(data|folder)\b/path\/to\/images/; s/\$weights\b/weights.safetensors/; s/\$split\b/0/; s/=\/images/=path\/to\/images/; s/=\/runs/=runs/' <<<"$1"
}

declare -A skipped seen
skip_for() { skipped[$1]=$((${skipped[$1]:-0} + 1)); }
# try STATUSES WORD...: ends by itself, with one of these exit statuses.
try() {
  local expected=" $1 " status=0
  shift
  timeout 100 "$BIN/imsuper" "$@" >"$T/out" 2>&1 </dev/null || status=$?
  if [[ $expected != *" $status "* ]]; then
    echo "$place: imsuper $*: exit status $status, not${expected% }: $(tail -n 2 "$T/out")"
    found=$((found + 1))
  fi
  ran=$((ran + 1))
}
short=(--passes 1 --image-size 16 --batch-size 8 --trainer-threads 1)

# run_command WORD...: of a command without its "imsuper".
# shellcheck disable=SC2046 # flags or nothing
run_command() {
  local verb=$1
  case $verb in data | bench | profile | cluster) verb="$1 ${2:-}" ;; esac
  case $* in
  "$verb" | "data" | "bench" | "profile")
    case $verb in
    doctor | gpus | memory | status | logs | runs | recipes | version | model | stop | "bench ring" | "profile ring") ;;
    *) skip_for "a verb by its name alone" && return ;;
    esac
    ;;
  esac
  case "$*" in
  *'$'*) skip_for "an example with variables of its shell" && return ;;
  *://* | *" URL "* | *'{0000'*) skip_for "images on a server, or of ImageNet: e2e_remote_*, unit tests" && return ;;
  *--serve*) skip_for "a server: e2e_predict_serve_*" && return ;;
  "data index --rebuild-index" | "data index --json" | "data verify --sample"*) skip_for "a flag of a verb, without its images" && return ;;
  esac
  # Named with some flags, in a sentence.
  case $verb in start | lr-find | "bench data" | "bench all" | "data index") if [[ $* != *--data* ]]; then set -- "$@" --data-dir path/to/images; fi ;; esac
  case $verb in
  start | python | torchrun)
    case "$*" in
    *--cluster-key*) skip_for "a machine of several: e2e_nodes_*" && return ;;
    *--gpus*) try "0 69" "$@" --dry-run --workspace new ;;
    *--resume*) try 0 "$@" --dry-run "${TRAIN[@]:2}" ;;
    "torchrun "*) try 0 "$@" --dry-run --workspace new --batch-size 16 ;;
    *cifar10-fast*) try 0 "$@" --dry-run --workspace new --batch-size 256 ;; # fewer images here than its batches of 2,000
    *) try 0 "$@" --dry-run --workspace new ;;
    esac
    ;;
  lr-find) try 0 "$@" --dry-run ;;
  top) skip_for "a full screen: e2e_screens_*" ;;
  doctor | gpus) try "0 69" "$@" ;;
  status | stop | pause | resume | scale | restart | trace) try 3 "$@" ;;
  "bench trainer" | "profile trainer") try 0 "$@" "${short[@]}" --model resnet20 --amp none ;;
  "bench data" | "bench all") try 0 "$@" "${short[@]}" --pass-seconds 0.1 --warm-up-seconds 0 --model resnet20 $(case $* in *--scan*) echo --scan augmenters=1..2 ;; esac) ;;
  "bench read" | "profile reader") try 0 "$@" --passes 1 --queue-depth 4 ;;
  "bench augment" | "profile augment" | "bench decode") try 0 "$@" --passes 1 ;;
  eval) try 0 "$@" $(case $* in *--shard*) echo --batch-size 4 -o made ;; *--join*) ;; *) echo --trainer-threads 1 ;; esac) $(case $* in *resnet50.pth*) echo --image-size 32 ;; esac) ;;
  export | import) try 0 "$@" $(case $* in *weights.safetensors* | *.pth*) echo --image-size 16 ;; esac) ;;
  logs) try "0 1" "$@" ;; # 1: of a process that there was not
  model) try "$(case $* in *--init-from*) echo "0 65" ;; *) echo 0 ;; esac)" "$@" ;; # 65: what does not fit is named
  "bench cluster") try "0 2" "$@" ;; # 2: named with a part of its flags
  "cluster key") try 0 "$@" ;;
  average | predict | runs | compare | plot | recipes | memory | version | help) try 0 "$@" ;;
  "bench ring" | "profile ring") skip_for "nothing to choose, and long: install_verbs" ;;
  "data synth") try 0 "$@" --per-class 10 --val-per-class 2 --side-min 16 --side-max 32 ;;
  "data index") try 0 "$@" $(case $* in *--subset*) echo --subset-size 20 ;; esac) ;;
  "data organise" | "data pack" | "data unpack" | "data verify" | "data stats" | "data preview") try 0 "$@" ;;
  *) fail "$place: what is: imsuper $*" ;;
  esac
}

# The page's Python names the class that predict names.
try_python() {
  local document=$ROOT/docs/getting-started.md expected
  # shellcheck disable=SC2016 # Markdown
  sed -n '/^```python$/,/^```$/{/^```/d; p}' "$document" >page.py
  grep -q InferenceSession page.py || fail "$document: no Python"
  python3 -c "import json, numpy, onnxruntime, PIL.Image" 2>"$T/out" || { skip_for "Python: python3 has no onnxruntime, numpy or Pillow" && return; }
  "$BIN/imsuper" export first -o first.onnx >"$T/out" 2>&1 || fail "export"
  expected=$("$BIN/imsuper" predict first photo.jpg --top-k 1 --json 2>"$T/out" | sed 's/.*"class":"\([^"]*\)".*/\1/')
  python3 page.py >"$T/out" 2>&1 || fail "$document: $(tail -n 2 "$T/out")"
  [ "$(cut -d ' ' -f 1 "$T/out")" = "$expected" ] || fail "$document: $(cat "$T/out"), predict says $expected"
  ran=$((ran + 1))
}

# The table of what fits GPUs is what the command prints.
try_table() {
  "$BIN/imsuper" memory --model resnet50 --batch-size 256 >memory.txt 2>&1 || fail "imsuper memory: exit status $?"
  diff -B memory.txt <(awk '/^    resnet50, 224 px/ { on = 1 } on && NF && !/^    / { exit } on { sub(/^    /, ""); print }' "$ROOT/docs/gpus.md") ||
    fail "docs/gpus.md: the table is not that of imsuper memory"
}

case_all() {
  local command word reason ran=0 found=0 place
  mkdir "$T/here"
  documented "$ROOT" >"$T/commands"
  cd "$T/here" && make_things
  while IFS=$'\t' read -r place command; do
    [[ $command == "imsuper "* ]] || continue
    command=$(fill_in "${command#imsuper }")
    if [ -n "${seen[$command]:-}" ]; then continue; fi
    seen[$command]=1
    read -ra word <<<"$command"
    run_command "${word[@]}"
  done <"$T/commands"
  try_python
  try_table
  for reason in "${!skipped[@]}"; do echo "not run: ${skipped[$reason]}, $reason"; done
  echo "run: $ran"
  [ $found = 0 ] || fail "$found commands of the documents do not work"
  [ $ran -gt 90 ] || fail "only $ran commands were run"
}

run_case

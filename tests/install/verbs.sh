#!/usr/bin/env bash
# Installs a build into a folder and runs every verb that `imsuper help` lists from there. Programs look for each other beside
# themselves, so one that is not installed is missing here.
#
#   verbs.sh CMAKE BUILD PROGRAM...
#
# Each PROGRAM of the build is there and says its version. The test fails when the help lists a verb that has no verb_ function here, and when a function's verb is not listed. They run in
# the order of the help.
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
cmake=${1:?cmake} build=${2:?build}
programs=("${@:3}")
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh" "" "" verbs

BIN=$T/prefix/bin
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tiny=(--data-dir "$T/data" --model resnet20 --image-size 16 --batch-size 8 --trainer-threads 1)
steps=(--model resnet20 --image-size 16 --batch-size 8 --passes 1 --trainer-threads 1)

# run STATUS WORD...: imsuper with these words; its output goes to $T/out.
run() {
  local expected=$1 status=0
  shift
  "$BIN/imsuper" "$@" >"$T/out" 2>&1 </dev/null || status=$?
  [ "$status" = "$expected" ] || fail "imsuper $*: exit status $status, not $expected"
}
must_exist() { [ -s "$1" ] || fail "there is no $1"; }

make_images() { run 0 data synth --out "$1" --classes 2 --per-class 16 --val-per-class 4 --side-min 32 --side-max 48; }

verb_data_synth() {
  make_images "$T/synth"
  [ -d "$T/synth/val" ] || fail "there are no images"
}
verb_data_organise() {
  run 0 data organise "$T/data" "$T/organised"
  [ -d "$T/organised/train" ] || fail "there are no class folders"
}
verb_data_pack() {
  run 0 data pack "$T/data" "$T/packed" --json && must_say '"imsuper.packed/1"'
  must_exist "$T/packed/train-000000.tar" && must_exist "$T/packed/_info.json"
  run 0 data index --data-dir "$T/packed" && must_say "shards (tar)"
}
verb_data_unpack() {
  run 0 data unpack "$T/packed" "$T/unpacked"
  diff -r -x organise.undo "$T/data" "$T/unpacked" || fail "other files than were packed"
}
verb_data_index() { run 0 data index --data-dir "$T/data" --seek && must_say "2 classes" && must_say "have an index"; }
verb_data_verify() { run 0 data verify --data-dir "$T/data" -o "$T/page.html" && must_say "can be used" && must_exist "$T/page.html"; }
verb_data_stats() { run 0 data stats --data-dir "$T/data" && must_say "mean"; }
verb_data_preview() { run 0 data preview --data-dir "$T/data" --output "$T/preview.png" && must_exist "$T/preview.png"; }
verb_start() {
  run 0 start "${tiny[@]}" --recipe quickstart --epochs 1 --plain --workspace "$T/w" --run-name run
  must_exist "$RUN/checkpoints/last.safetensors"
}
verb_status() { run 3 status --workspace "$T/w" --run-name run && must_say "done, 1/1 epochs"; }
verb_top() { run 2 top --workspace "$T/w" && must_say "top needs a terminal"; }
verb_trace() {
  run 4 trace other --workspace "$T/w" && run 3 trace run --workspace "$T/w" && must_say "done"
  run 1 trace run --workspace "$T/w" -o "$T/no/f" && must_say "folder is not there" && run 2 trace --seconds 0
}
verb_logs() {
  run 0 logs trainer#0 run --workspace "$T/w" && must_say "network ready"
  run 4 logs other --workspace "$T/w" && run 2 logs augmentor#1 run --workspace "$T/w" && must_say "did you mean"
}
verb_runs() { run 0 runs --workspace "$T/w" && must_say "done"; }
verb_plot() { run 0 plot run --workspace "$T/w" --metric loss,lr --output "$T/plot.png" && must_exist "$T/plot.png"; }
verb_compare() {
  run 0 compare run "$RUN" --workspace "$T/w" --json --output "$T/compare.png" && must_say '"imsuper.compare/1"'
  must_exist "$T/compare.png"
  run 4 compare run none --workspace "$T/w" && must_say "no run none"
}
verb_stop() { run 3 stop --workspace "$T/w" --run-name run; }
# Of a run that is over; tests/e2e/control.sh asks one that goes on.
verb_pause() { run 3 pause --workspace "$T/w" --run-name run && must_say "done"; }
verb_resume() { run 3 resume --workspace "$T/w" --run-name run; }
verb_restart() { run 3 restart augmenter#0 --workspace "$T/w" --run-name run && run 2 restart augmentor && must_say "did you mean"; }
verb_scale() { run 3 scale augmenters=2 readers=1 --workspace "$T/w" --run-name run && run 2 scale augmenters=0; }
verb_lr_find() { run 0 lr-find "${tiny[@]}" --num-iter 30 --plain --output "$T/curve.png" && must_exist "$T/curve.png"; }
verb_eval() { run 0 eval run --workspace "$T/w" --plain && must_say "top-1"; }
verb_predict() { run 0 predict run --workspace "$T/w" "$T/data/val" --plain && must_say "images/s" && run 2 predict run --workspace "$T/w" --serve nowhere && must_say "is not PORT"; }
verb_recipes() {
  run 0 recipes && must_say "quickstart"
  run 0 recipes quickstart && cmp "$T/out" "$T/prefix/share/imsuper/recipes/quickstart.yaml"
}
verb_cluster_key() {
  run 0 cluster key "$T/cluster.key" && must_say "fingerprint"
  [ "$(stat -c %a "$T/cluster.key")" = 600 ] || fail "others may read the key"
  run 1 cluster key "$T/cluster.key" && must_say "File exists"
}
verb_doctor() {
  run 0 doctor --data-dir "$T/data" && must_say "0 failures"
  cp -r "$T/data/train" "$T/classes"
  run 0 doctor --data-dir "$T/classes" && must_say "fix: imsuper start --data-dir DIR --val-split 0.1"
}
# The table of docs/gpus.md is what the command says.
verb_memory() {
  run 0 memory && must_say "h200"
  diff <(sed -n '/^    resnet50, 224 px/,/^    b200/s/^    //p' "$(dirname "${BASH_SOURCE[0]}")/../../docs/gpus.md") <(sed '/^$/d' "$T/out") ||
    fail "docs/gpus.md has another table"
  run 0 memory v100-16 --batch-size 512 && must_say " no "
  run 2 memory h20 && must_say "no GPU \"h20\" is described here"
}
verb_gpus() { run 0 gpus --json && must_say '"imsuper.gpus/1"'; }
verb_model() { run 0 model --model resnet20 && must_say "parameters"; }
verb_bench_data() { run 0 bench data --data-dir "$T/data" --batch-size 8 --image-size 16 --passes 1 --pass-seconds 0.1 --warm-up-seconds 0 && must_say "verdict"; }
verb_bench_all() { compares imsuper.bench-all/1 verdict bench all "${tiny[@]}" --passes 2 --pass-seconds 0.1 --warm-up-seconds 0; }
# compares TYPE WORD VERB...: an answer as its schema says, and compared with it a text that has the word.
compares() {
  local type=$1 word=$2
  shift 2
  run 0 "$@" --json && cp "$T/out" "$T/old.json"
  "$build/check_schema" "$root/docs/schemas" "$T/old.json" "$type" || fail "$*: not as docs/schemas says: $(head -c 2000 "$T/old.json")"
  run 0 "$@" --compare "$T/old.json" && must_say "compared" && must_say "$word"
  echo '{"schema":"other/1"}' >"$T/old.json" && run 65 "$@" --compare "$T/old.json" && must_say "it is no answer of the same command"
}
verb_bench_cluster() {
  run 0 bench cluster --model resnet50 --ranks 8 --step-ms 100 --nodes 1..256 --bandwidth 100 --latency 10
  must_say "102.2 MB of gradients" && must_say "scaling" && run 2 bench cluster --nodes 4 && must_say "--step-ms"
  run 2 bench cluster --step-ms 1 --nodes 9..3 && must_say "1..256"
}
verb_bench_ring() { compares imsuper.bench-ring/2 wake bench ring; }
# is_profile KIND FILE: as the rules of speedscope, or of trace events, say; the measurement that it is of took at least a microsecond.
is_profile() {
  must_exist "$2"
  "$build/check_profile" "$2" >"$T/out" 2>&1 || fail "$2 is no profile"
  case $1 in speedscope) grep -q '"type":"sampled"' "$2" ;; trace) grep -q '"traceEvents":' "$2" ;; esac || fail "$2 is not of $1"
}
# profiles WORD...: into files of both formats, and not where no file can be.
profiles() {
  run 0 "$@" -o "$T/p.speedscope.json" && { grep -qE "share|cold" "$T/out" || fail "$*: no table"; } && is_profile speedscope "$T/p.speedscope.json"
  run 0 "$@" --json -o "$T/p.trace.json" && is_profile trace "$T/p.trace.json"
  run 1 "$@" -o "$T/no/such.json" && must_say "$T/no"
}
verb_profile_ring() { run 0 profile ring -o "$T/p.speedscope.json" && must_say "p99.9" && is_profile speedscope "$T/p.speedscope.json"; }
verb_bench_decode() { compares imsuper.bench-decode/1 images/s bench decode --data-dir "$T/data" --passes 2; }
verb_bench_read() { compares imsuper.bench-read/1 images/s bench read --data-dir "$T/data" --passes 2; }
verb_profile_reader() { profiles profile reader --data-dir "$T/data" --passes 1 --queue-depth 4; }
verb_export() {
  run 0 export "$RUN" -o "$T/net.onnx" && must_say "2 classes" && must_exist "$T/net.onnx"
  grep -q '"proven": ' "$T/net.onnx.proof.json" || fail "no proof, and no reason why there is none"
  run 0 export run --workspace "$T/w" --format pt -o "$T/net.pt" --json && must_say '"imsuper.export/1"' && must_exist "$T/net.pt"
  grep -q '"proven": true' "$T/net.pt.proof.json" || fail "a .pt file that is not what was read back"
  run 0 export "$T/net.pt" --image-size 16 --format safetensors -o "$T/net.safetensors" && must_say "resnet20"
  run 2 export "$RUN" && must_say "-o FILE is missing"
  run 2 export "$RUN" --format timm -o "$T/timm" && must_say "timm has no resnet20"
  run 0 export "$RUN" -o "$T/by-name.safetensors" && run 0 import "$T/by-name.safetensors" -o "$T/by-name-again.safetensors"
  run 2 export "$RUN" --format pt -o "$T/net.onnx" && must_say "a name that ends in .pt" && run 2 import "$T/net.pt" -o "$T/net.onnx"
  run 4 export "$RUN" --weights ema -o "$T/net.onnx" && must_say "averages need --ema"
  run 2 export "$RUN" --format pt --input float -o "$T/net.pt" && must_say "is for --format onnx"
}
verb_import() {
  run 0 import "$T/net.pt" --image-size 16 -o "$T/imported.safetensors" && must_say "resnet20 with 2 classes"
  run 0 import "$T/net.onnx" -o "$T/imported.safetensors" && must_say "resnet20 with 2 classes"
  run 2 import "$T/net.pt" && must_say "output is required"
  printf 'cat\ndog\n' >"$T/names"
  run 0 import "$T/net.pt" --class-names "$T/names" --image-size 16 -o "$T/imported.safetensors" --json && must_say '"class_names":true'
  run 0 predict "$T/imported.safetensors" "$T/data/val" --json --plain && must_say '"class":"dog"'
  run 0 export "$T/imported.safetensors" -o "$T/named.onnx" --no-prove
  grep -aqF '["cat","dog"]' "$T/named.onnx" || fail "the ONNX file has no names"
  run 0 import "$T/named.onnx" --class-names ant,bee -o "$T/again.safetensors"
  grep -aqF '[\"ant\",\"bee\"]' "$T/again.safetensors" || fail "other names"
  run 2 import "$T/net.pt" --class-names cat,dog,cow -o "$T/no.safetensors" && must_say "names 3 classes, and $T/net.pt has 2 outputs"
  run 65 import "$T/net.pt" --class-names cat,cat -o "$T/no.safetensors" && must_say "twice"
  printf 'cat\n\033[2J\n' >"$T/names"
  run 65 import "$T/net.pt" --class-names "$T/names" -o "$T/no.safetensors" && must_say "control character"
  [ ! -e "$T/no.safetensors" ] || fail "a file in spite of bad names"
}
verb_average() {
  run 0 average "$RUN" "$RUN/checkpoints/last.safetensors" --ratio 0.3,0.7 --trainer-threads 1 -o "$T/mean.safetensors"
  must_say "anew over 32 training images" && must_exist "$T/mean.safetensors"
  run 0 average run run --workspace "$T/w" --bn mean --json -o "$T/mean.safetensors" && must_say '"bn":"mean"'
  run 2 average run --workspace "$T/w" -o "$T/mean.safetensors" && must_say "two or more"
  run 2 average run run --workspace "$T/w" --ratio 1 -o "$T/mean.safetensors" && must_say "give 2 numbers"
  run 2 average run run --workspace "$T/w" --data-dir "$T/none" -o "$T/mean.safetensors" && must_say "bn mean"
}
verb_bench_augment() { compares imsuper.bench-augment/1 images/s bench augment --data-dir "$T/data" --passes 2; }
verb_profile_augment() {
  profiles profile augment --data-dir "$T/data" --passes 1
  run 0 data synth --out "$T/small" --classes 2 --per-class 16 --val-per-class 4 --side-min 16 --side-max 16
  run 0 profile augment --data-dir "$T/small" --image-size 16 --passes 1
  if grep -E ' -[0-9]' "$T/out"; then fail "a time below 0"; fi
}
verb_bench_trainer() { compares imsuper.bench-trainer/1 images/s bench trainer "${steps[@]}"; }
verb_profile_trainer() {
  profiles profile trainer "${steps[@]}"
}
verb_version() { run 0 version && must_say "imsuper "; }
verb_help() {
  local verb
  listed_verbs | cut -d ' ' -f 1 | sort -u >"$T/verbs"
  while read -r verb; do
    case $verb in help | version) continue ;; esac
    run 0 help "$verb" && must_say "imsuper $verb"
  done <"$T/verbs"
  run 0 help
  if grep -E '.{81}' "$T/out"; then fail "a line of \`imsuper help\` has more than 80 columns"; fi
}

function_of() { echo "verb_${1//[ -]/_}"; }

"$cmake" --install "$build" --prefix "$T/prefix" >"$T/out" 2>&1 || fail "cmake --install"
mapfile -t listed < <(listed_verbs)
[ ${#listed[@]} -gt 0 ] || fail "imsuper help lists no verbs"
diff <(for verb in "${listed[@]}"; do function_of "$verb"; done | sort) <(compgen -A function verb_ | sort) ||
  fail "< verbs that imsuper help lists and this script does not run, > verbs that it runs and imsuper help does not list"
[ ${#programs[@]} -ge 4 ] || fail "the build has ${#programs[@]} programs"
for program in "${programs[@]}"; do
  "$BIN/$program" --version >"$T/out" 2>&1 || fail "$program is not installed"
  grep -q "^$program [0-9]" "$T/out" || fail "$program --version"
done
make_images "$T/data"
for verb in "${listed[@]}"; do "$(function_of "$verb")"; done
must_leave_nothing
echo "ok: ${#listed[@]} verbs"

#!/usr/bin/env bash
# What programs rely on: each --json answer keeps the schema of its name and number (docs/schemas), and each verb has --help and refuses
# wrong calls with status 2, one sentence, and nothing on standard output. tests/install/verbs.sh has the answers of most `bench` verbs.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export TMPDIR=$T
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
RUNS=$REFERENCE/w DATA=$REFERENCE/data
STEPS=(--model resnet20 --image-size 16 --batch-size 8 --passes 1 --trainer-threads 1)

# answers TYPE STATUS VERB WORD...: with --json; kept in JSON_DIR, if that is set, for whoever writes schemas.
answers() {
  local type=$1 expected=$2 status=0
  shift 2
  "$BIN/imsuper" "$@" --json >"$T/answer" 2>"$T/out" </dev/null || status=$?
  [ "$status" = "$expected" ] || fail "$*: exit status $status, not $expected: $(cat "$T/out")"
  if [ -n "${JSON_DIR:-}" ]; then cp "$T/answer" "$JSON_DIR/$(echo "$type-$*" | md5sum | cut -c 1-12)"; fi
  "$BIN/check_schema" "$ROOT/docs/schemas" "$T/answer" "$type" || fail "$*: not as docs/schemas says: $(head -c 2000 "$T/answer")"
}

case_schemas() {
  local weights=$RUNS/run/checkpoints/last.safetensors image
  image=$(find "$DATA/val" -name '*.jpg' | head -n 1)
  answers imsuper.status/1 3 status run --workspace "$RUNS"
  answers imsuper.runs/1 0 runs --workspace "$RUNS"
  answers imsuper.compare/1 0 compare run run --workspace "$RUNS" -o "$T/c.png"
  answers imsuper.eval/1 0 eval run --workspace "$RUNS" -o "$T/eval"
  "$BIN/check_schema" "$ROOT/docs/schemas" "$T/eval/eval.json" imsuper.eval/1 || fail "eval.json"
  "$BIN/check_schema" "$ROOT/docs/schemas" "$T/eval/confusion.json" imsuper.confusion/1 || fail "confusion.json"
  answers imsuper.eval-part/1 0 eval run --workspace "$RUNS" --shard 0/1 -o "$T/part"
  answers imsuper.eval/1 0 eval "$T/part" --join
  echo "no image" >"$T/text.jpg"
  answers imsuper.predict/1 65 predict run "$image" "$T/text.jpg" --workspace "$RUNS"
  answers imsuper.export/1 0 export run --workspace "$RUNS" --format pt -o "$T/net.pt"
  answers imsuper.import/1 0 import "$T/net.pt" --image-size 16 -o "$T/net.safetensors"
  answers imsuper.average/1 0 average "$weights" "$weights" --bn mean -o "$T/mean.safetensors"
  answers imsuper.model/1 0 model --model resnet20 --image-size 16
  answers imsuper.memory/1 0 memory h200
  answers imsuper.gpus/1 0 gpus
  answers imsuper.plot/1 0 plot run --workspace "$RUNS" --metric loss,lr -o "$T/p.png"
  answers imsuper.log/1 0 logs run --workspace "$RUNS"
  grep -q '"process":"trainer#0","level":"info","text":"network ready parameters_bytes=' "$T/answer" || fail "logs: $(head -n 3 "$T/answer")"
  answers imsuper.top/1 0 top run --workspace "$RUNS"
  answers imsuper.recipes/1 0 recipes
  answers imsuper.recipes/1 0 recipes quickstart
  grep -q '"options":{.*"epochs":' "$T/answer" || fail "recipes quickstart: $(cat "$T/answer")"
  answers imsuper.key/1 0 cluster key "$T/key"
  answers imsuper.version/1 0 version
  answers imsuper.help/1 0 help
  answers imsuper.verb/1 0 help data synth
  answers imsuper.doctor/1 "$("$BIN/imsuper" doctor --workspace "$T/w" >"$T/out" 2>&1 && echo 0 || echo $?)" doctor --workspace "$T/w"
  answers imsuper.synth/1 0 data synth --out "$T/synth" --classes 2 --per-class 2 --val-per-class 1
  answers imsuper.organised/1 0 data organise "$DATA" "$T/organised"
  answers imsuper.undone/1 0 data organise --undo "$T/organised/organise.undo"
  answers imsuper.preview/1 0 data preview --data-dir "$DATA" --image-size 16 -o "$T/preview.png"
  answers imsuper.packed/1 0 data pack "$DATA" "$T/packed"
  answers imsuper.organised/1 0 data unpack "$T/packed" "$T/unpacked"
  answers imsuper.index/1 0 data index --data-dir "$DATA"
  answers imsuper.verify/1 0 data verify --data-dir "$DATA" --near-duplicates 2
  answers imsuper.stats/1 0 data stats --data-dir "$DATA"
  answers imsuper.lr-find/1 0 lr-find --data-dir "$DATA" --model resnet20 --image-size 16 --batch-size 16 --num-iter 30 --trainer-threads 1 --workspace "$T/w" -o "$T/lr"
  answers imsuper.bench-data/1 0 bench data --data-dir "$DATA" --batch-size 8 --image-size 16 --passes 1 --pass-seconds 0.1 --warm-up-seconds 0
  answers imsuper.bench-cluster/1 0 bench cluster --nodes 1..4 --step-ms 100
  answers imsuper.profile-reader/1 0 profile reader --data-dir "$DATA" --passes 1 --queue-depth 4
  answers imsuper.profile-augment/1 0 profile augment --data-dir "$DATA" --passes 1
  answers imsuper.profile-trainer/1 0 profile trainer "${STEPS[@]}"
  answers imsuper.profile-ring/1 0 profile ring
  # A checker that takes anything would find nothing.
  sed 's/"results"/"result"/' "$T/answer" >"$T/other"
  if "$BIN/check_schema" "$ROOT/docs/schemas" "$T/other" 2>"$T/out"; then fail "an answer without results is as docs/schemas says"; fi
  grep -q 'lacks results' "$T/out" || fail "$(cat "$T/out")"
}

# Each event of a run and its progress are lines, and the screen says nothing.
case_events() {
  local event tiny=(--data-dir "$DATA" --model resnet20 --image-size 16 --batch-size 8 --epochs 1 --trainer-threads 1 --workspace "$T/w" --run-name run)
  answers imsuper.event/1 0 start "${tiny[@]}" --dry-run
  grep -q '"event":"run.prepared".*"dry_run":true.*"options":{.*"epochs":1' "$T/answer" || fail "dry run: $(cat "$T/answer")"
  answers imsuper.event/1 0 start "${tiny[@]}" --status-interval 0.1
  for event in run.prepared progress run.started epoch.ended checkpoint.saved run.finished; do
    grep -q "\"event\":\"$event\"" "$T/answer" || fail "no $event: $(cat "$T/answer")"
  done
  [ ! -s "$T/out" ] || fail "a screen beside the lines: $(cat "$T/out")"
  tail -n 1 "$T/answer" | grep -q '"event":"run.finished".*"exit_status":0' || fail "the last line: $(tail -n 1 "$T/answer")"
  answers imsuper.event/1 0 start "${tiny[@]}"
  grep -q '"event":"run.finished".*"already":true' "$T/answer" || fail "a run that is done: $(cat "$T/answer")"
  # Who reads the lines may leave.
  "$BIN/imsuper" start "${tiny[@]}" --epochs 2 --json --status-interval 0.1 2>"$T/out" | head -n 1 >"$T/answer"
  [ "${PIPESTATUS[0]}" = 0 ] || fail "the reader left: exit status ${PIPESTATUS[0]}: $(cat "$T/out")"
}

# Of a run that goes on.
case_live() {
  FAULTS=$PACE
  launch
  wait_step 2
  answers imsuper.status/1 0 status run --workspace "$T/w"
  answers imsuper.top/1 0 top --workspace "$T/w"
  grep -q '"processes":\[.*"cores":' "$T/answer" || fail "top: no process with its rate: $(head -c 2000 "$T/answer")"
  answers imsuper.trace/1 0 trace run --workspace "$T/w" --seconds 0.5 -o "$T/t.json"
  answers imsuper.reply/1 0 scale readers=1 run --workspace "$T/w"
  answers imsuper.reply/1 0 restart reader run --workspace "$T/w"
  answers imsuper.reply/1 0 pause run --workspace "$T/w"
  answers imsuper.reply/1 0 resume run --workspace "$T/w"
  answers imsuper.reply/1 0 stop run --workspace "$T/w"
  finish 75
}

# refuses WORD...: status 2, a sentence of ours, and no answer.
refuses() {
  local status=0
  "$BIN/imsuper" "$@" >"$T/answer" 2>"$T/out" </dev/null || status=$?
  [ "$status" = 2 ] || fail "imsuper $*: exit status $status, not 2: $(cat "$T/out")"
  [ ! -s "$T/answer" ] || fail "imsuper $*: an answer: $(head -n 3 "$T/answer")"
  [ "$(wc -l <"$T/out")" -le 3 ] || fail "imsuper $*: more than a sentence: $(cat "$T/out")"
}
# has_json VERB...: does it take the flag?
has_json() { "$BIN/imsuper" "$@" --help >"$T/help" </dev/null && grep -qE -- '--(\[no-\])?json' "$T/help"; }
# Each verb takes --json, and has its line above or in the test of the installed verbs.
case_tables() {
  local verb words
  listed_verbs >"$T/verbs"
  [ "$(wc -l <"$T/verbs")" -gt 45 ] || fail "few verbs: $(cat "$T/verbs")"
  while read -r verb; do
    read -ra words <<<"$verb"
    has_json "${words[@]}" || fail "$verb takes no --json"
    grep -qE "^  answers imsuper\.[a-z-]+/[0-9]+ (\"|[0-9]+ )(.* )?$verb( |\$)" "${BASH_SOURCE[0]}" ||
      grep -qE " compares imsuper\.[a-z-]+/[0-9]+ [^ ]+ ${verb}[ ;]" "${BASH_SOURCE[0]%/*}/../install/verbs.sh" || fail "no answer of $verb is held against its schema"
  done <"$T/verbs"
}

case_calls() {
  local verb words
  listed_verbs >"$T/verbs"
  [ "$(wc -l <"$T/verbs")" -gt 45 ] || fail "few verbs: $(cat "$T/verbs")"
  refuses version --no-such-flag && refuses version x && refuses help nothing && refuses help ""
  while read -r verb; do
    read -ra words <<<"$verb"
    case $verb in help | version) continue ;; esac
    "$BIN/imsuper" "${words[@]}" --help >"$T/answer" 2>"$T/out" || fail "$verb --help: exit status $?"
    grep -q "^imsuper $verb" "$T/answer" || fail "$verb --help: $(head -n 2 "$T/answer")"
    [ ! -s "$T/out" ] || fail "$verb --help: $(cat "$T/out")"
    if grep -E '.{81}' "$T/answer" >"$T/out"; then fail "$verb --help: a line of more than 80 columns: $(cat "$T/out")"; fi
    refuses "${words[@]}" --no-such-flag
    refuses "${words[@]}" ""
    case $verb in
    recipes) refuses recipes no-such-recipe ;;
    "cluster key") refuses cluster key ;;
    *) refuses "${words[@]}" --log-level loudest ;;
    esac
  done <"$T/verbs"
}

run_case

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
  echo "no image" >"$T/text.jpg"
  answers imsuper.predict/1 65 predict run "$image" "$T/text.jpg" --workspace "$RUNS"
  answers imsuper.export/1 0 export run --workspace "$RUNS" --format pt -o "$T/net.pt"
  answers imsuper.import/1 0 import "$T/net.pt" --image-size 16 -o "$T/net.safetensors"
  answers imsuper.average/1 0 average "$weights" "$weights" --bn mean -o "$T/mean.safetensors"
  answers imsuper.model/1 0 model --model resnet20 --image-size 16
  answers imsuper.memory/1 0 memory h200
  answers imsuper.gpus/1 0 gpus
  answers imsuper.doctor/1 "$("$BIN/imsuper" doctor --workspace "$T/w" >"$T/out" 2>&1 && echo 0 || echo $?)" doctor --workspace "$T/w"
  answers imsuper.packed/1 0 data pack "$DATA" "$T/packed"
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

# Of a run that goes on.
case_live() {
  FAULTS=$PACE
  launch
  wait_step 2
  answers imsuper.status/1 0 status run --workspace "$T/w"
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
# Without an answer for programs: start and logs write files of JSON lines, top is a screen, the others say what they made in a
# line, or print what is a file already.
silent=(start top logs plot recipes "cluster key" "data organise" "data unpack" "data synth" "data preview")
# Each verb that takes --json has its line above or in the test of the installed verbs, and each that does not stands in the list.
case_tables() {
  local verb words
  listed_verbs >"$T/verbs"
  [ "$(wc -l <"$T/verbs")" -gt 45 ] || fail "few verbs: $(cat "$T/verbs")"
  while read -r verb; do
    read -ra words <<<"$verb"
    case $verb in help | version) continue ;; esac
    if has_json "${words[@]}"; then
      grep -qE "^  answers imsuper\.[a-z-]+/[0-9]+ (\"|[0-9]+ )(.* )?$verb( |\$)" "${BASH_SOURCE[0]}" ||
        grep -qE " compares imsuper\.[a-z-]+/[0-9]+ [^ ]+ ${verb}[ ;]" "${BASH_SOURCE[0]%/*}/../install/verbs.sh" || fail "no answer of $verb is held against its schema"
      if printf '%s\n' "${silent[@]}" | grep -qxF "$verb"; then fail "$verb takes --json"; fi
    else
      printf '%s\n' "${silent[@]}" | grep -qxF "$verb" || fail "$verb takes no --json"
    fi
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

#!/usr/bin/env bash
# `imsuper predict --serve`: the answers of `imsuper predict`, digit by digit, whoever asks and whatever dies meanwhile.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export TMPDIR=$T/tmp
mkdir "$TMPDIR"
IMAGE=$(find "$REFERENCE/data/val" -name '*.jpg' | sort | head -n 1)

# serve ADDRESS FLAG...
serve() {
  local address=$1
  shift
  : >"$T/out"
  set -m
  "$BIN/imsuper" predict run --workspace "$REFERENCE/w" --serve "$address" "$@" >"$T/out" 2>&1 </dev/null &
  WARDEN=$!
  set +m
  until_true "$LIMIT_SECONDS" says "are answered at" || fail "nothing is served"
}
# At a port that nobody has.
serve_port() {
  PORT=$(free_port)
  serve "$PORT" "$@"
}
# ask METHOD PATH [FILE [HEADER...]]: the answer, with its status line and headers.
ask() {
  local method=$1 path=$2 file=${3:-/dev/null}
  shift 2 && shift $(($# > 0 ? 1 : 0))
  exec 3<>"/dev/tcp/127.0.0.1/$PORT"
  { printf '%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %s\r\n' "$method" "$path" "$(stat -c %s "$file")" &&
    { [ $# = 0 ] || printf '%s\r\n' "$@"; } && printf '\r\n' && cat "$file"; } >&3
  timeout 60 cat <&3 | tr -d '\r'
  exec 3>&-
}
# must_answer STATUS TEXT, about $T/answer.
must_answer() {
  [ "$(sed -n '1s/^HTTP[^ ]* \([0-9]*\) .*/\1/p' "$T/answer")" = "$1" ] || fail "not $1: $(cat "$T/answer")"
  grep -qF -- "$2" "$T/answer" || fail "lacks $2: $(cat "$T/answer")"
}
health() { ask GET /healthz | tail -n 1 | grep -oE "\"$1\":[^,}]*" | cut -d : -f 2; }
has_health() { [ "$(health "$1")" = "$2" ]; }
# server ROLE: its process.
server() {
  local pid
  for pid in $(ours); do
    case $(cmdline "$pid") in *imsuper-$1\ *) echo "$pid" ;; esac
  done
}
is_stopped() { [ "$(cut -d ' ' -f 3 "/proc/$1/stat")" = T ]; }
must_be_clean() {
  until_true 10 has_no_processes || fail "processes are left: $(ours)"
  [ -z "$(ls -A "$TMPDIR")" ] || fail "$(ls "$TMPDIR") is left behind"
}
has_no_processes() { [ -z "$(ours)" ]; }

# top_of: the classes, and their probabilities to five digits; of an answer on stdin.
top_of() { grep -oE '"class":[^,]*|"probability":[^,}]*' | awk -F : '/prob/ { printf "%.5f\n", $2 } /class/'; }

case_answers() {
  local expected number clients=()
  serve_port
  expected=$("$BIN/imsuper" predict run --workspace "$REFERENCE/w" --json "$IMAGE" 2>/dev/null)
  ask POST "/?name=$IMAGE" "$IMAGE" >"$T/answer"
  must_answer 200 "$expected"
  expected=${expected#*\"top\":}
  { printf -- '--border\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n--border\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n' &&
    cat "$IMAGE" && printf '\r\n--border--\r\n'; } >"$T/form"
  ask POST / "$T/form" "Content-Type: multipart/form-data; boundary=border" >"$T/answer"
  must_answer 200 "\"image\":\"a.jpg\",\"top\":$expected"
  printf -- '--border\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n--border--\r\n' >"$T/form"
  ask POST / "$T/form" "Content-Type: multipart/form-data; boundary=border" >"$T/answer" && must_answer 400 "no file in the form"
  echo "no image" >"$T/text"
  ask POST / "$T/text" >"$T/answer" && must_answer 422 '"error":"the file is not an image'
  ask POST / >"$T/answer" && must_answer 422 '"error":"the file is empty"'
  ask DELETE / >"$T/answer" && must_answer 405 "Allow: GET, HEAD, POST"
  ask POST /healthz >"$T/answer" && must_answer 405 "Allow: GET, HEAD"
  ask GET /etc/passwd >"$T/answer" && must_answer 404 error
  ask GET / >"$T/answer" && must_answer 200 "<!doctype html>"
  # All places are taken, by 64 clients at once: another one is told to come again. Nobody is forgotten, and batches have
  # the digits of a batch of `imsuper predict`.
  kill -STOP "$(server trainer)"
  for number in $(seq 64); do
    ask POST / "$IMAGE" >"$T/answer.$number" &
    clients+=($!)
  done
  until_true 60 has_health requests 64 || fail "$(health requests) requests wait"
  ask POST / "$IMAGE" >"$T/answer" && must_answer 503 "Retry-After: 1"
  kill -CONT "$(server trainer)"
  wait "${clients[@]}"
  expected=$(for number in $(seq 32); do echo "$IMAGE"; done |
    "$BIN/imsuper" predict run --workspace "$REFERENCE/w" --json - 2>/dev/null | sed -n 1p)
  [ "$(cat "$T"/answer.* | grep -cF "\"top\":${expected#*\"top\":}")" -ge 32 ] || fail "$(cat "$T"/answer.* | grep '^{' | sort | uniq -c)"
  expected=$(top_of <<<"$expected")
  for number in $(seq 64); do
    [ "$(tail -n 1 "$T/answer.$number" | top_of)" = "$expected" ] || fail "$(cat "$T/answer.$number")"
  done
  kill -INT "$WARDEN"
  finish 130
  must_be_clean
}

waits_or_has_ended() { has_health requests 2 || ! kill -0 "$1" 2>/dev/null; }
case_disturbed() {
  local client pid
  serve_port --sample-deadline-ms 100 --max-file-bytes 100000 --batch-size 1 --trainer-deadline 3
  # Clients that stop in the middle of their header and of their image hold up nobody.
  exec 4<>"/dev/tcp/127.0.0.1/$PORT" && printf 'POST / HT' >&4
  exec 5<>"/dev/tcp/127.0.0.1/$PORT" && printf 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc' >&5
  ask POST / "$IMAGE" >"$T/answer" && must_answer 200 probability
  head -c 200000 /dev/zero >"$T/large"
  ask POST / "$T/large" >"$T/answer" && must_answer 413 max-file-bytes
  { printf '30d40\r\n' && cat "$T/large" && printf '\r\n0\r\n\r\n'; } >"$T/chunks"
  exec 3<>"/dev/tcp/127.0.0.1/$PORT"
  { printf 'POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n' && cat "$T/chunks"; } >&3
  timeout 60 cat <&3 >"$T/answer"
  must_answer 413 max-file-bytes
  # A decoder that is stopped or killed costs nothing.
  pid=$(server augmenter) && kill -STOP "$pid"
  ask POST / "$IMAGE" >"$T/answer" && must_answer 200 probability
  kill -KILL "$(server augmenter)"
  ask POST / "$IMAGE" >"$T/answer" && must_answer 200 probability
  pid=$(server augmenter) && kill -STOP "$pid" && until_true 10 is_stopped "$pid"
  ask POST / "$IMAGE" >"$T/answer" &
  client=$!
  until_true 10 waits_or_has_ended "$client" || fail "$(health requests) requests" # and the one that does not go on
  kill -KILL "$pid" || true # on a busy machine the server was faster
  wait "$client"
  must_answer 200 probability
  kill -KILL "$(server trainer)" # another one computes what waits
  ask POST / "$IMAGE" >"$T/answer" && must_answer 200 probability
  ask POST / "$IMAGE" >"$T/answer" && must_answer 200 probability
  must_say "which computes, has ended; starting another"
  pid=$(server trainer) && kill -STOP "$pid" && until_true 10 is_stopped "$pid"
  ask POST / "$IMAGE" >"$T/answer" && must_answer 200 probability
  must_say "which computes, does not answer; starting another"
  [ "$(health decoder_deaths)" -ge 3 ] || fail "$(health decoder_deaths) deaths"
  exec 4>&- 5>&-
  kill -TERM "$WARDEN"
  finish 0
  must_be_clean
  # At a path, for this user alone; what a killed one left is replaced.
  serve "unix:$T/s"
  [ "$(stat -c %a "$T/s")" = 600 ] || fail "the socket is $(stat -c %a "$T/s")"
  kill -KILL "$WARDEN" && finish 137
  must_be_clean
  [ -S "$T/s" ] || fail "there is no socket left"
  serve "unix:$T/s"
  kill -KILL "$(server trainer)"
  kill -INT "$WARDEN"
  finish 130
  must_be_clean
  [ ! -e "$T/s" ] || fail "the socket is left behind"
  status=0 && "$BIN/imsuper" predict run --workspace "$REFERENCE/w" --serve nowhere >"$T/out" 2>&1 || status=$?
  [ $status = 2 ] && must_say "is not PORT"
}

run_case

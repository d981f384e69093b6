#!/usr/bin/env bash
# Images on HTTP and S3 servers: the same weights as from the folder, whatever the server does, and whoever dies.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
unset AWS_PROFILE AWS_REGION AWS_ENDPOINT_URL_S3 AWS_SESSION_TOKEN
export AWS_ACCESS_KEY_ID=AKIDEXAMPLE AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI AWS_SHARED_CREDENTIALS_FILE=$T/none AWS_CONFIG_FILE=$T/none

# serve FAULT...: a server of the reference's images, with these faults.
serve() {
  mkdir -p "$T/served"
  cp -r "$REFERENCE/data/train" "$REFERENCE/data/val" "$T/served"
  (cd "$T/served" && find . -type f -printf '%P\t%s\n' >"$T/index.txt" && mv "$T/index.txt" .)
  faults "$@"
  "$BIN/object_server" "$T/served" "$T/control" >"$T/port" &
  until_true 10 test -s "$T/port" || fail "the server does not start"
  PORT=$(cat "$T/port")
  export AWS_ENDPOINT_URL=http://127.0.0.1:$PORT
}
faults() {
  printf '%s\n' "$@" >"$T/control.new"
  mv "$T/control.new" "$T/control"
}
requests() { grep -c "$1" "$T/control.log" || true; }
over_http() { TRAIN[1]=http://127.0.0.1:$PORT/; }
over_s3() { TRAIN[1]=s3://bucket; }
kept() { du -s --apparent-size -B1 "$T"/objects/*/data "$T/objects/tmp" | awk '{ sum += $1 } END { print sum }'; }
CACHE=(--cache-dir "$T/objects" --read-deadline-ms 1000)

# All that a server of files may do wrong.
case_http() {
  serve 'stall 1' 'truncate 4' 'reset 4' 'length 4' 'error 5' 'busy 2' 'slow 5' 'html 3' redirect
  over_http
  start 0 "${CACHE[@]}"
  must_equal_reference
  must_balance
  local epoch
  epoch=$(requests 'GET')
  # All is here now: a run without the server.
  faults away
  mv "$RUN" "$T/first"
  start 0 "${CACHE[@]}"
  must_equal_reference
  [ "$(requests GET)" = "$epoch" ] || fail "the second run asked the server"
}

# Wrong bytes, and a list of many pages; fetchers die all the time.
case_s3() {
  serve 'flip 4' 'etag 4' 'error 4' 'slow 30'
  over_s3
  FAULTS=$PACE
  launch "${CACHE[@]}" --connections 4
  local killed=0
  until is_over || [ $killed = 12 ]; do
    for pid in $(pids fetcher); do kill -KILL "$pid" 2>/dev/null && killed=$((killed + 1)); done
    sleep 0.15
  done
  finish 0
  must_equal_reference
  must_balance
  [ "$(deaths_of fetcher)" -gt 2 ] || fail "the fetcher was not disturbed"
  if grep -rqF "$AWS_SECRET_ACCESS_KEY" "$RUN" "$T/objects" "$T/out"; then fail "the secret was written down"; fi
}

case "$CASE" in
*) "case_$CASE" ;;
esac
must_leave_nothing

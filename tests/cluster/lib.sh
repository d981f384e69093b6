# shellcheck shell=bash
# What the trials of the channel share; to be sourced. Arguments: the build folder. Logs lie in $T, a line of link_node's a
# line; every wait is for such a line, and bounded.
set -euo pipefail
NODE=$1/link_node
T=$(mktemp -d /tmp/cluster.XXXXXX)
export XDG_RUNTIME_DIR=$T
chmod 700 "$T"

fail() {
  echo "FAILED: $*" >&2
  for log in "$T"/*.log; do echo "--- ${log##*/}" >&2 && tail -n 30 "$log" >&2; done
  exit 1
}
skip() { echo "skipped: $*" && exit 77; }
# has COUNT TEXT LOG: so many lines of the log hold the text, at least.
has() { [ "$(grep -c -- "$2" "$T/$3.log" 2>/dev/null || true)" -ge "$1" ]; }
# await TEXT LOG...: in each of the logs. COUNT before it: so often.
await() {
  local count=${COUNT:-1} text=$1 log end=$((SECONDS + 90))
  shift
  for log in "$@"; do
    until has "$count" "$text" "$log"; do
      [ $SECONDS -lt $end ] || fail "no \"$text\" ($count times) in $log.log"
      sleep 0.1
    done
  done
}

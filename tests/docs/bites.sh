#!/usr/bin/env bash
# commands.sh must print for the bad documents of selftest/ exactly what `expect` lists. Argument: the folder of the programs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
status=0
found=$("$here/commands.sh" "$here/selftest" "${1:?folder of the programs}") || status=$?
[ "$status" -eq 1 ] || { echo "exit status $status on bad documents, not 1" && exit 1; }
diff "$here/selftest/expect" - <<<"$found"

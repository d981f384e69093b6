#!/usr/bin/env bash
# The table of tests/chaos/scenarios with what happened today: runs the tests of each line and reads the events of their runs.
#
#   tests/chaos/table.sh BUILD [EVENTS]   BUILD: with fault points, such as build/dev; EVENTS: a folder with the events of an earlier
#                                         call, whose tests are not run again
#
# Tests with the label `long` are not run: what EVENTS has of them counts (E2E_EVENTS=FOLDER ctest ... keeps it). Markdown. Milliseconds are from a
# death to the moment when the successor was ready, of all deaths that were followed by one; done again are files read, images rendered and
# batches trained a second time.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd) build=$(realpath "$1") events=${2:-}
if [ "$events" = "" ]; then events=$(mktemp -d /tmp/imsuper-table.XXXXXX) && echo "events: $events" >&2; fi
mkdir -p "$events"
long=" $(ctest --test-dir "$build" -N -L long | sed -n 's/^ *Test *#[0-9]*: //p' | tr '\n' ' ') "
rows() { grep -v '^#' "$here/scenarios" | sed 's/ | /\t/g'; }

# A line "test passed|failed|not run" for each.
names=$(rows | cut -f 4 | tr ' ' '\n' | sort -u)
if [ ! -e "$events/results" ]; then
  # shellcheck disable=SC2086 # a list of names
  wanted=$(for name in $names; do case $long in *" $name "*) ;; *) echo "$name" ;; esac; done | paste -sd '|')
  E2E_EVENTS=$events ctest --test-dir "$build" -R "^($wanted)\$" -j "${CTEST_JOBS:-1}" >"$events/log" 2>&1 || true
  sed -nE 's/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: ([a-z0-9_]+) [. ]*(\*+)?(Passed|Failed|Skipped|Timeout|Not Run).*/\1 \3/p' "$events/log" >"$events/results"
fi
result() { { grep "^$1 " "$events/results" || echo "$1 long"; } | head -n 1 | cut -d ' ' -f 2-; }

# of NAME...: milliseconds p50 / p99 / max (deaths), and what was done again.
measured() {
  local name
  for name in "$@"; do if [ -s "$events/$name" ]; then sort -u "$events/$name"; fi; done | awk '
    /"(process|supervisor).recovered"/ && match($0, /"seconds":[0-9.e-]+/) { s[n++] = 1000 * substr($0, RSTART + 10, RLENGTH - 10) }
    /"process.died"/ { if (match($0, /"returned_reads":[0-9]+/)) reads += substr($0, RSTART + 17, RLENGTH - 17)
      if (match($0, /"returned_samples":[0-9]+/)) images += substr($0, RSTART + 19, RLENGTH - 19) }
    /"repeated_batches":[0-9]+/ { match($0, /"repeated_batches":[0-9]+/); batches += substr($0, RSTART + 19, RLENGTH - 19) }
    END { for (i = 1; i < n; i++) { v = s[i]; for (j = i - 1; j >= 0 && s[j] > v; j--) s[j + 1] = s[j]; s[j + 1] = v }
      if (n) printf "%.0f / %.0f / %.0f (%d) | ", s[int((n - 1) / 2)], s[int(n * 0.99 + 0.999) - 1], s[n - 1], n; else printf "- | "
      if (reads + images + batches) printf "%d files, %d images, %d batches", reads, images, batches; else printf "-" }'
}

echo "Load $(cut -d ' ' -f 1 /proc/loadavg), $(nproc) cores, $(git -C "$here" log -1 --format=%h 2>/dev/null || true)."
echo
echo "| # | fault | what follows | ms to recover: p50 / p99 / max (of) | done again | tests |"
echo "|---|---|---|---|---|---|"
rows | while IFS=$'\t' read -r number fault follows tests; do
  list=""
  # shellcheck disable=SC2086 # a list of names
  for name in $tests; do
    got=$(result "$name")
    case $got in Passed) list+=" \`$name\`" ;; long) list+=" \`$name\` (long)" ;; *) list+=" \`$name\` (**$got**)" ;; esac
  done
  # shellcheck disable=SC2086 # a list of names
  echo "| $number | $fault | $follows | $(measured $tests) |$list |"
done

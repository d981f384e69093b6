#!/usr/bin/env bash
# A long run with deaths now and then: no process that lives on may grow in memory, descriptors or threads.
#
#   soak.sh BIN REFERENCE soak
#
# E2E_SOAK_SECONDS: how long (1800). Each 10 s a reader, an augmenter or the trainer is killed, and the supervisor at a third of the
# time; the others of each role are spared. Each 5 s private memory, descriptors and threads of all are noted. A process that lived
# for more than a third of the time is judged: the second quarter of its life against the last one, by the largest memory and by the
# fewest descriptors and threads (a file that is open for a moment is no leak).
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
SOAK_SECONDS=${E2E_SOAK_SECONDS:-1800}
MEMORY_SLACK_KIB=1024 # of what the histories of 1,500 epochs and some hundred deaths take

# The kernel keeps 15 bytes of a name.
of_role() {
  case $1 in
  warden) CHILDREN=("$WARDEN") ;;
  supervisor) children imsuper ;;
  augmenter) children imsuper-augment ;;
  *) children "imsuper-$1" ;;
  esac
}
# note ROLE: a line "seconds role pid private_kib descriptors threads" for each process.
note() {
  local pid fields
  of_role "$1"
  for pid in "${CHILDREN[@]}"; do
    fields=$(awk '/^RssAnon:/ {memory = $2} /^Threads:/ {threads = $2} END {print memory, threads}' "/proc/$pid/status" 2>/dev/null) || continue
    if [ "${fields% *}" = "" ]; then continue; fi
    echo "$SECONDS $1 $pid ${fields% *} $(find "/proc/$pid/fd" -mindepth 1 2>/dev/null | wc -l) ${fields#* }" >>"$T/samples"
  done
}

# The youngest of a role, so that the others grow old. The only trainer is killed in the first third.
kill_one() {
  of_role "$1"
  if [ ${#CHILDREN[@]} -gt 0 ] && kill -KILL "${CHILDREN[-1]}" 2>/dev/null; then kills=$((kills + 1)); fi
}

judge() {
  sort -k 2,3 -k 1,1n "$T/samples" | awk -v least=$((SOAK_SECONDS / 3)) -v slack=$MEMORY_SLACK_KIB '
    function extreme(column, from, to, i, m) {
      m = value[from, column] + 0
      for (i = from + 1; i <= to; i++)
        if (column == 1 ? value[i, column] + 0 > m : value[i, column] + 0 < m) m = value[i, column] + 0
      return m
    }
    function close_process(i, column, early, late, bad) {
      if (n == 0 || last - first < least) return
      judged[role]++
      printf "%-10s %7d lived %5d s:", role, pid, last - first
      for (column = 1; column <= 3; column++) {
        early = extreme(column, int(n / 4) + 1, int(n / 2)); late = extreme(column, int(3 * n / 4) + 1, n)
        bad = late > early + (column == 1 ? slack : 0)
        printf "  %s %d -> %d%s", column == 1 ? "KiB" : column == 2 ? "descriptors" : "threads", early, late, bad ? " GROWN" : ""
        grown += bad
      }
      print ""
    }
    $2 != role || $3 != pid { close_process(); role = $2; pid = $3; first = $1; n = 0 }
    { n++; last = $1; for (column = 1; column <= 3; column++) value[n, column] = $(column + 3) }
    END {
      close_process()
      split("warden supervisor reader augmenter trainer", roles, " ")
      for (i = 1; i in roles; i++) if (!judged[roles[i]]) { print "none to judge: " roles[i]; grown++ }
      exit grown > 0
    }'
}

case_soak() {
  local role turn=0 killed_supervisor=0 victims=(reader augmenter trainer)
  kills=0
  FAULTS=$PACE
  launch --readers 2 --augmenters 3 --epochs 100000
  wait_step 1
  SECONDS=0
  while [ $SECONDS -lt "$SOAK_SECONDS" ]; do
    if is_over; then fail "the run has ended"; fi
    for role in warden supervisor reader augmenter trainer; do note $role; done
    if [ $SECONDS -gt $((SOAK_SECONDS / 3)) ]; then
      victims=(reader augmenter)
      if [ $killed_supervisor = 0 ]; then kill_one supervisor && killed_supervisor=1; fi
    fi
    if [ $((turn++ % 2)) = 0 ]; then kill_one "${victims[RANDOM % ${#victims[@]}]}"; fi
    sleep 5
  done
  send INT
  finish 75
  echo "$kills kills in $SOAK_SECONDS s, $(ledger train_samples) samples; early -> late:"
  [ $kills -ge $((SOAK_SECONDS / 30)) ] || fail "only $kills were killed"
  judge || fail "a process has grown"
}
run_case

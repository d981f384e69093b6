#!/usr/bin/env bash
# What people see on a terminal, in tmux: the screen of `imsuper start`, `imsuper top` and `imsuper logs`, of one run.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

command -v tmux >/dev/null || fail "this test needs tmux (apt-get install tmux)"
export LC_ALL=C.UTF-8 TERM=xterm-256color
unset TMUX COLUMNS LINES
tm() { tmux -u -f /dev/null -S "$T/tmux" "$@"; }
end_tmux() {
  tm kill-server 2>/dev/null || true
  clean
}
trap end_tmux EXIT

# show NAME COLUMNS ROWS COMMAND: in a terminal of its own; its last line is the exit status.
show() { tm new-session -d -s "$1" -x "$2" -y "$3" "$4; echo exit status \$?; sleep 1000"; }
seen() { tm capture-pane -p -t "$1"; }
shows() { seen "$1" | grep -qE -- "$2"; }
must_show() { until_true "${3:-60}" shows "$1" "$2" || fail "the screen of $1 lacks: $2: $(seen "$1")"; }
# A line that the terminal had to wrap is one line where tmux joins them.
must_not_wrap() { [ "$(seen "$1")" = "$(tm capture-pane -p -J -t "$1" | sed 's/ *$//')" ] || fail "a line of $1 wraps: $(seen "$1")"; }
widest() { awk '{ if (length($0) > n) n = length($0) } END { print n + 0 }' "$1"; }

# followed N: `logs -f` has shown that the trainer began N times.
followed() { [ "$(grep -c 'network ready' "$T/followed")" = "$1" ]; }

case_screens() {
  local start
  start=$(printf '%q ' "$BIN/imsuper" start "${TRAIN[@]}" --epochs 40 --workspace "$T/w" --run-name run)
  show empty 80 24 "$BIN/imsuper top --workspace $T/w"
  must_show empty 'There is no run in'
  show start 80 24 "IMSUPER_FAULT=$PACE $start"
  must_show start '^start   new run, with random weights'
  must_show start '^augment light: rrc 0.08-1, hflip 0.5'
  must_show start '^ +1/40 .* loss [0-9.]+ .*lr [0-9.e-]+ .* img/s .* eta .* → limited by train'
  must_not_wrap start
  must_show empty 'imsuper top  run  (training|validating)' # it has come
  show top 80 24 "$BIN/imsuper top run --workspace $T/w"
  must_show top '^augmenter#0 +[0-9]+ '
  must_show top '^read 1 → \[.* files\] → augment 1 → '
  must_show top 'h Help  q Quit'
  tm resize-window -t top -x 120 -y 40
  must_show top 'P99 ms LAST'
  tm resize-window -t top -x 30 -y 10
  must_show top 'imsuper top needs 40 columns'
  tm resize-window -t top -x 80 -y 24
  # shellcheck disable=SC2046 # a number
  kill -KILL $(pids augmenter | head -n 1)
  must_show top 'process.died augmenter#0'
  must_show top '^augmenter#0 .* 1 [0-9:]+ died'
  tm send-keys -t top p
  must_show top 'imsuper top  run  paused'
  tm send-keys -t top p
  must_show top 'imsuper top  run  (training|validating)'
  tm send-keys -t top Down + # the augmenter's stage
  must_show top '^augmenter#1 '
  tm send-keys -t top l
  must_show top 'role=augmenter id=0'
  tm send-keys -t top l Down r
  must_show top 'process.left augmenter#1'
  tm send-keys -t top h
  must_show top 'this help'
  "$BIN/imsuper" status run --workspace "$T/w" >"$T/status" || fail "no status"
  [ "$(tail -n +3 "$T/status" | tee "$T/tables" | wc -l)" -gt 10 ] || fail "the status is $(cat "$T/status")"
  [ "$(widest "$T/tables")" -le 80 ] || fail "a line of the status has $(widest "$T/tables") columns: $(cat "$T/status")"
  "$BIN/imsuper" logs -f trainer --workspace "$T/w" >"$T/followed" &
  "$BIN/imsuper" logs augmenter#0 run --workspace "$T/w" >"$T/logged" || fail "no logs"
  grep -q 'role=augmenter id=0 ' "$T/logged" || fail "the log of augmenter#0 is empty"
  if grep -v 'role=augmenter id=0 ' "$T/logged"; then fail "lines of others in the log of augmenter#0"; fi
  until_true 60 followed 1 || fail "the log was not followed: $(cat "$T/followed")"
  mv "$RUN/log.txt" "$RUN/log.1.txt" # as logrotate does: the run begins a new one, which is followed, too
  "$BIN/imsuper" restart trainer --workspace "$T/w" --run-name run >"$T/answer" || fail "no restart"
  until_true 60 followed 2 || fail "the restart was not followed: $(cat "$T/followed")"
  [ "$(grep -c 'network ready' "$RUN/log.txt")" = 1 ] || fail "the new log.txt lacks the restart: $(cat "$RUN/log.txt")"
  tm send-keys -t start C-c
  must_show start 'exit status 75'
  must_show top 'imsuper top  run  stopped after'
  wait $! || fail "logs -f did not end well"
  grep -q 'role=trainer id=0 ' "$T/followed" || fail "nothing was followed"
  tm send-keys -t top q
  must_show top 'exit status 0'
  tm send-keys -t empty C-c
  must_show empty 'exit status 0'
  tm kill-server
}

run_case

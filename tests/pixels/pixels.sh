#!/bin/sh
# imsuper data preview, bench augment and profile augment on a small made data set:
#
#   pixels.sh BUILD
set -eu

imsuper=${1:?folder of the programs}/imsuper
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME="$work/cache"

fail() {
  echo "pixels: $*" >&2
  exit 1
}
# Says FILE's bytes FROM to FROM+3 as a big-endian number.
number_at() {
  od -An -t u1 -j "$2" -N 4 "$1" | awk '{ print (($1 * 256 + $2) * 256 + $3) * 256 + $4 }'
}
preview() {
  "$imsuper" data preview --data-dir "$work/data" --image-size 32 --images 6 --quiet "$@"
}

"$imsuper" data synth --out "$work/data" --classes 3 --per-class 4 --val-per-class 1 --quiet >/dev/null

# A grid of 8 columns of 160 pixels, 2 rows of draws and 1 of images.
preview --augment classic -o "$work/a.png"
[ "$(head -c 4 "$work/a.png" | od -An -c | tr -d ' ')" = '211PNG' ] || fail "a.png is no PNG file"
[ "$(number_at "$work/a.png" 16)" = $((6 + 8 * 166)) ] || fail "a.png is $(number_at "$work/a.png" 16) wide"
[ "$(number_at "$work/a.png" 20)" = $((6 + 2 * 15 + 3 * 188)) ] || fail "a.png is $(number_at "$work/a.png" 20) high"

# The same run draws the same; another set, seed or epoch does not.
preview --augment classic -o "$work/b.png"
cmp -s "$work/a.png" "$work/b.png" || fail "two previews of one run differ"
for other in "--augment trivial" "--augment classic --seed 7" "--augment classic --epoch 1"; do
  # shellcheck disable=SC2086 # words on purpose
  preview $other -o "$work/b.png"
  ! cmp -s "$work/a.png" "$work/b.png" || fail "$other shows nothing else"
done
preview --augment classic --diff -o "$work/b.png"
[ "$(number_at "$work/b.png" 16)" = $((6 + 4 * 326)) ] || fail "--diff is $(number_at "$work/b.png" 16) wide"

# While it writes its picture it is in the sandbox: system calls are filtered (2).
if grep -q '^Seccomp:' /proc/self/status; then
  mkfifo "$work/fifo"
  "${imsuper%/*}/imsuper-augmenter" preview --data-dir "$work/data" --images 64 --diff -o "$work/fifo" >/dev/null &
  exec 3<"$work/fifo"
  head -c 4 <&3 >/dev/null
  filter=$(sed -n 's/^Seccomp:[^0-9]*//p' "/proc/$!/status")
  cat <&3 >/dev/null
  exec 3<&-
  wait $! || fail "a preview into a pipe failed"
  [ "$filter" = 2 ] || fail "strangers' images were decoded outside of the sandbox (filter $filter)"
fi

# bench and profile: text for people, one JSON object for programs.
bench="--data-dir $work/data --image-size 32 --images 6 --passes 2 --augment randaugment"
# shellcheck disable=SC2086 # words on purpose
"$imsuper" bench augment $bench | grep -q 'images/s per core (median of passes)' || fail "bench says no images/s"
# shellcheck disable=SC2086
"$imsuper" bench augment $bench --json >"$work/bench.json"
for key in '"schema":"imsuper.bench-augment/1"' '"images":6' '"name":"decode","samples":12' '"p99_ms":' '"wait_ms":' '"images_per_cpu_second":'; do
  tr -d ' ' <"$work/bench.json" | grep -qF "$key" || fail "bench --json lacks $key"
done
# shellcheck disable=SC2086
"$imsuper" profile augment $bench >"$work/profile"
for line in 'Huffman codes' 'IDCT' 'resize' 'color'; do
  grep -q "$line" "$work/profile" || fail "profile says nothing of: $line"
done

# Wrong use is refused in a sentence.
for wrong in "data preview" "bench augment --data-dir $work/none" "bench what" "data preview --data-dir $work/data --images 65"; do
  # shellcheck disable=SC2086
  if "$imsuper" $wrong 2>"$work/err"; then fail "'$wrong' was taken"; fi
  grep -q '^imsuper: ' "$work/err" || fail "'$wrong' was refused without a sentence"
done

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

# must_measure FLAG...: bench data, over the address of the run.
must_measure() {
  "$BIN/imsuper" bench data --data-dir "${TRAIN[1]}" "${CACHE[@]}" --image-size 8 --batch-size 16 --readers 1 --augmenters 1 --warm-up-seconds 0 \
    --passes 1 --pass-seconds 0.2 --json "$@" >"$T/measured" 2>"$T/out" || fail "bench data over ${TRAIN[1]}"
  grep -q '"schema": *"imsuper.bench-data/1"' "$T/measured" || fail "bench data over ${TRAIN[1]} measured nothing"
}

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
  must_measure
  start 0 "${CACHE[@]}" --epochs 3
  if says 'changed since this run began'; then fail "objects that came are taken for others"; fi
}

# A server whose certificate nobody has signed is refused at once.
case_certificate() {
  local address=127.0.0.1:$((20000 + $$ % 10000)) began server
  command -v openssl >/dev/null || skip "openssl is not installed"
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$T/key.pem" -out "$T/certificate.pem" -days 1 -subj /CN=127.0.0.1 2>"$T/openssl.log"
  mkdir "$T/secure"
  echo 'train/a/1.jpg' >"$T/secure/index.txt"
  (cd "$T/secure" && exec openssl s_server -accept "$address" -key "$T/key.pem" -cert "$T/certificate.pem" -WWW -quiet) >"$T/openssl.log" 2>&1 &
  server=$!
  until_true 20 eval "(exec 3<>/dev/tcp/${address/://}) 2>/dev/null" || fail "openssl does not serve: $(cat "$T/openssl.log")"
  began=$SECONDS
  "$BIN/imsuper" data index --data-dir "https://$address/" --cache-dir "$T/objects" >"$T/out" 2>&1 && fail "the certificate was taken"
  must_have_taken 5 "$began" "the refusal"
  must_say "certificate"
  kill "$server"
  wait "$server" 2>/dev/null || true
}

# The list has no lengths: what is not the object must be seen by the answer itself.
case_no_lengths() {
  serve 'html 100'
  over_http
  "$BIN/imsuper" data index --data-dir "${TRAIN[1]}" --cache-dir "$T/objects" >"$T/out" 2>&1 && fail "a page was taken for a list"
  must_say 'a page in place of the list'
  (cd "$T/served" && cut -f 1 index.txt >"$T/index.txt" && mv "$T/index.txt" .)
  faults
  "$BIN/imsuper" data index --data-dir "${TRAIN[1]}" --cache-dir "$T/objects" >"$T/out" 2>&1 || fail "list: $(cat "$T/out")"
  faults 'html 5' 'packed 5' 'partial 5' 'trickle 2'
  start 0 "${CACHE[@]}"
  must_equal_reference
  must_balance
}

# Shards, of which members are asked for: named by a list, from a server of files that does all wrong.
pack() { "$BIN/imsuper" data pack "$REFERENCE/data" "$T/shards" --shard-images 40 >"$T/out" 2>&1 || fail "pack"; }
case_shards() {
  pack
  serve 'stall 1' 'truncate 4' 'reset 4' 'length 4' 'error 5' 'busy 2' 'slow 5' 'html 3' redirect
  mv "$T"/shards/* "$T/served"
  local list="http://127.0.0.1:$PORT/{train-{000000..000004},val-000000}.tar" asked
  start 0 --data-dir "$list" "${CACHE[@]}"
  must_say "layout shards"
  must_equal_weights
  must_balance
  # All is here now: listing again keeps it, where the server tells each shard by its ETag.
  faults
  "$BIN/imsuper" data index --data-dir "$list" --cache-dir "$T/objects" --rebuild-index >"$T/out" 2>&1 || fail "list: $(cat "$T/out")"
  asked=$(requests GET)
  faults away
  rm -rf "$T/w"
  start 0 --data-dir "$list" "${CACHE[@]}"
  must_equal_weights
  [ "$(requests GET)" = "$asked" ] || fail "the second run asked the server"
  start 0 --data-dir "$list" "${CACHE[@]}" --epochs 3 # the same run goes on
  if says 'changed since this run began'; then fail "members that came are taken for others"; fi
  # A shard with other members: what was fetched of the one before is not taken for them.
  faults
  (cd "$T/served" && cp train-000001.tar train-000000.tar)
  "$BIN/imsuper" data index --data-dir "$list" --cache-dir "$T/objects" --rebuild-index >"$T/out" 2>&1 || fail "list: $(cat "$T/out")"
  [ "$(find "$T"/objects/*/data/.train-000000.tar -type f 2>/dev/null | wc -l)" = 0 ] || fail "members of another shard stayed"
  [ "$(find "$T"/objects/*/data/.train-000001.tar -type f | wc -l)" -gt 30 ] || fail "members were thrown away"
}

# Shards in a bucket, a cache that holds a third of them, and fetchers and readers that die all the time.
case_shards_killed() {
  pack
  serve 'etag 2' 'error 4' 'slow 10' 'truncate 3'
  rm -rf "$T"/served/*
  mv "$T"/shards/* "$T/served"
  over_s3
  FAULTS=$QUICK_PACE
  launch "${CACHE[@]}" --cache-size 300K --connections 4
  local killed=0 role=fetcher most=0 now
  until is_over || [ $killed = 12 ]; do
    for pid in $(pids $role); do kill -KILL "$pid" 2>/dev/null && killed=$((killed + 1)); done
    if [ $role = fetcher ]; then role=reader; else role=fetcher; fi
    now=$(kept 2>/dev/null) && [ "$now" -gt "$most" ] && most=$now
    sleep 0.15
  done
  finish 0
  must_equal_weights
  must_balance
  [ "$(deaths_of fetcher)" -gt 2 ] || fail "the fetcher was not disturbed"
  [ "$most" -le $((307200 + 16384 + 65536)) ] || fail "the cache took $most bytes"
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
  must_measure --cache-dir "$T/measured_objects"
  if grep -rqF "$AWS_SECRET_ACCESS_KEY" "$RUN" "$T/objects" "$T/out"; then fail "the secret was written down"; fi
  # What is wrong with the keys is said: there are none, or half of one, or the server knows them no more.
  faults 'expired 100'
  if AWS_ACCESS_KEY_ID='' AWS_SECRET_ACCESS_KEY='' lists_anew; then fail "a bucket that is not public was listed"; fi
  must_say 'HTTP 403 (AccessDenied): requests are not signed, for there are no keys'
  if AWS_ACCESS_KEY_ID='' lists_anew; then fail "half of a key was used"; fi
  must_say 'AWS_SECRET_ACCESS_KEY is set, and AWS_ACCESS_KEY_ID is not'
  if lists_anew; then fail "expired keys were used"; fi
  must_say 'HTTP 403 (ExpiredToken): the keys have expired'
}
lists_anew() { "$BIN/imsuper" data index --data-dir s3://bucket --cache-dir "$T/anew" --rebuild-index >"$T/out" 2>&1; }

# A cache that holds a third of the images, and two runs that share it.
case_limit() {
  serve 'error 3'
  over_http
  local most=0 now other
  IMSUPER_FAULT=$QUICK_PACE "$BIN/imsuper" start "${TRAIN[@]}" --plain --workspace "$T/w" --run-name other "${CACHE[@]}" --cache-size 300K \
    >"$T/other.out" 2>&1 </dev/null &
  other=$!
  launch "${CACHE[@]}" --cache-size 300K
  until is_over; do
    now=$(kept 2>/dev/null) && [ "$now" -gt "$most" ] && most=$now
    sleep 0.1
  done
  now=$(kept) && [ "$now" -gt "$most" ] && most=$now
  finish 0
  wait $other || fail "the other run failed: $(tail -n 5 "$T/other.out")"
  must_equal_reference
  RUN=$T/w/other must_equal_reference
  # du sees an object twice that is renamed meanwhile: one more may be counted.
  [ "$most" -le $((307200 + 16384)) ] || fail "the cache took $most bytes"
  [ "$most" -gt 150000 ] || fail "the cache took $most bytes only"
}

# Objects that are not there are left out by name; a server that is away is waited for.
case_away() {
  serve 'missing train/class_003/0000[12].jpg' 'forbidden val/class_001/00000.jpg'
  over_http
  FAULTS=$QUICK_PACE
  launch "${CACHE[@]}" --connections 2
  wait_step 2
  faults away
  until_true 60 has_event '"outage.began"' || fail "nobody said that the server is away"
  sleep 1
  faults 'missing train/class_003/0000[12].jpg' 'forbidden val/class_001/00000.jpg'
  finish 0
  has_event '"outage.ended"' || fail "nobody said that the server is back"
  for name in train/class_003/00001.jpg train/class_003/00002.jpg val/class_001/00000.jpg; do
    has_event "sample.bad.*$name" || fail "$name is not named"
  done
  [ "$(count_events '"sample.bad"')" = 3 ] || fail "other images were left out"
  grep -q 'why="HTTP 403 (AccessDenied)"' "$RUN/log.txt" || fail "the log does not say why"
}

# Objects of the cache that are others than when they were fetched are fetched again, by name: before a run and in it, whether readers or
# augmenters read them. (A change that keeps the time is what a failing disk makes.)
damage() { cp -p "$1" "$T/before" && "${@:2}" && touch -r "$T/before" "$1"; }
case_damaged() {
  local data file large most=0
  serve
  over_http
  start 0 "${CACHE[@]}"
  data=$(echo "$T"/objects/*/data/train)
  mv "$RUN" "$T/first"
  damage "$data/class_000/00001.jpg" dd if=/dev/zero of="$data/class_000/00001.jpg" bs=1 seek=200 count=9 conv=notrunc status=none
  damage "$data/class_001/00002.jpg" truncate -s 150 "$data/class_001/00002.jpg"
  damage "$data/class_002/00003.jpg" truncate -s 9999 "$data/class_002/00003.jpg"
  printf 'written over' >"$data/class_003/00004.jpg"
  rm "$data/class_003/00005.jpg" && mkdir "$data/class_003/00005.jpg"
  rm "$data/class_003/00006.jpg" && ln -s /dev/zero "$data/class_003/00006.jpg"
  mv "$data/class_004/00001.jpg" "$T/other" && mv "$data/class_005/00001.jpg" "$data/class_004/00001.jpg"
  mv "$T/other" "$data/class_005/00001.jpg" # whole, but of another class
  start 0 "${CACHE[@]}"
  must_equal_reference
  must_balance
  for file in class_000/00001 class_001/00002 class_002/00003 class_004/00001 class_005/00001; do
    grep -q "was damaged; it is fetched again.*$file" "$RUN/log.txt" || fail "$file is not named"
  done
  if has_event '"sample.bad"'; then fail "images were left out"; fi
  rm -r "$RUN"

  # Larger than a cell, and in the run.
  mapfile -t large < <(find "$data" -type f -size +4096c)
  for file in "${large[@]}"; do
    damage "$file" dd if=/dev/zero of="$file" bs=1 seek=300 count=9 conv=notrunc status=none
    most=$((most + 1))
  done
  [ $most -ge 3 ] || fail "$most images are larger than a cell"
  FAULTS=$QUICK_PACE
  launch "${CACHE[@]}" --cell-bytes 4096
  until is_over; do
    file=$data/class_00$((most % 4))/0000$((most % 9)).jpg
    damage "$file" dd if=/dev/zero of="$file" bs=1 seek=300 count=9 conv=notrunc status=none
    most=$((most + 1))
    sleep 0.1
  done
  finish 0
  must_equal_reference
  if has_event '"sample.bad"'; then fail "images were left out"; fi
}

# A disk that is full: the run waits, and goes on when there is room.
case_full() {
  serve
  over_http
  mkdir "$T/objects"
  mount -t tmpfs -o size=600k tmpfs "$T/objects" 2>/dev/null || skip "needs the right to mount"
  trap 'umount -l "$T/objects"; clean' EXIT
  "$BIN/imsuper" data index --data-dir "${TRAIN[1]}" --cache-dir "$T/objects" >/dev/null || fail "there is no index"
  head -c 600000 /dev/zero >"$T/objects/filler" 2>/dev/null || true
  launch "${CACHE[@]}" --cache-size 1G
  until_true 60 has_event '"outage.began"' || fail "nobody said that the disk is full"
  grep -q 'the cache takes no more objects' "$RUN/log.txt" || fail "the log does not say why"
  must_say 'waiting for room in the cache'
  : >"$T/objects/filler" # room for a few: others make room for them
  finish 0
  must_equal_reference
  # A disk smaller than what `auto` leaves of large ones.
  rm -r "$RUN"
  find "$T"/objects/*/data -name '*.jpg' -exec truncate -s 0 {} +
  start 0 "${CACHE[@]}"
  must_equal_reference
}

# One that turns read-only: the same.
case_read_only() {
  serve 'slow 100'
  over_http
  mkdir "$T/objects"
  mount -t tmpfs -o size=8m tmpfs "$T/objects" 2>/dev/null || skip "needs the right to mount"
  trap 'umount -l "$T/objects"; clean' EXIT
  "$BIN/imsuper" data index --data-dir "${TRAIN[1]}" --cache-dir "$T/objects" >/dev/null || fail "there is no index"
  FAULTS=$QUICK_PACE
  launch "${CACHE[@]}" --connections 1
  wait_step 1
  until mount -o remount,ro "$T/objects" 2>/dev/null; do kill_all fetcher; done # not while it has a file open for writing
  until_true 60 has_event '"outage.began"' || fail "nobody said that the disk cannot be written"
  must_say 'waiting for the disk of the cache'
  faults
  mount -o remount,rw "$T/objects"
  finish 0
  must_equal_reference
}

# Somebody removes the cache, or parts of it, while the run goes on and processes die: it is made again.
case_cache_removed() {
  serve
  over_http
  FAULTS=$PACE
  launch "${CACHE[@]}"
  wait_step 2
  until rm -rf "$T/objects" 2>/dev/null; do :; done
  kill_all fetcher
  kill_all reader
  wait_step 5
  rm -rf "$T"/objects/*/data/train/class_00[0-5] 2>/dev/null || true
  wait_step 8
  until mv "$T/objects" "$T/moved" && : >"$T/objects"; do rm -rf "$T/moved"; done 2>/dev/null # the fetcher may be faster
  kill_all fetcher
  until_true 60 grep -q 'the cache cannot be opened' "$RUN/log.txt" || fail "nobody said that there is no cache"
  rm -r "$T/objects" "$T/moved" # the fetcher may have been killed within a write there, out of its successors' reach
  finish 0
  must_equal_reference
  must_balance
  if has_event '"sample.bad"'; then fail "images were left out"; fi
}

# A start that is ended while the objects are listed leaves nobody behind.
lists() {
  local pid
  for pid in $(ours); do case $(cmdline "$pid") in *imsuper-fetcher\ list\ *) return 0 ;; esac done
  return 1
}
case_list_ended() {
  serve away
  over_http
  launch "${CACHE[@]}"
  until_true 30 lists || fail "nobody lists the objects"
  send TERM
  finish 75
}

# The fetcher dies at each of its fault points.
case_points() {
  local point here
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
  serve 'error 3'
  over_s3
  while IFS= read -r point; do
    is_sampled || continue
    rm -rf "$T/w" "$T/objects"
    FAULTS="fetcher:$point=kill@20"
    start 0 "${CACHE[@]}" --cache-size 300K
    must_equal_reference
    [ "$(deaths_of fetcher)" -ge 1 ] || fail "$point was not passed"
    echo "$point: $(deaths_of fetcher) deaths"
  done < <(grep -rhoE 'IM_FAULT\("[^"]+"\)' "$here/fetcher" | sed 's/.*"\(.*\)".*/\1/' | sort -u)
  must_be_points 7
}

run_case

#!/usr/bin/env bash
# A run on several machines, which are processes on this one at loopback addresses of their own: the weights are those of one
# machine with as many trainers, to the bit, whoever dies and wherever somebody asks to stop.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=ranks_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/ranks_lib.sh"

# An address that no other test has: they run at the same time.
HEAD_AT=127.$((1 + $$ / 65536 % 250)).$(($$ / 256 % 256)).$(($$ % 256))
ONE=(--ranks 1 --batch-size 8 --nodes "$HEAD_AT,$HEAD_AT" --readers 1 --augmenters 1)

# launch_nodes FLAG...: node 0 is the WARDEN of lib.sh, node 1 the MEMBER with its output in $T/out1.
launch_nodes() {
  launch "${ONE[@]}" --node 0 "$@"
  launch_member "$@"
}
launch_member() {
  set -m
  IMSUPER_FAULT=${MEMBER_FAULTS-$FAULTS} "$BIN/imsuper" start "${TRAIN[@]}" --plain --workspace "$T/w" --run-name run \
    "${ONE[@]}" --node 1 "$@" >"$T/out1" 2>&1 </dev/null &
  MEMBER=$!
  set +m
}
member_is_over() { is_gone "$MEMBER"; }
# finish_nodes STATUS [STATUS OF NODE 1]
finish_nodes() {
  local status=0
  until_true "$LIMIT_SECONDS" is_over || fail_nodes "node 0 has not ended within $LIMIT_SECONDS s"
  until_true "$LIMIT_SECONDS" member_is_over || fail_nodes "node 1 has not ended within $LIMIT_SECONDS s"
  wait "$MEMBER" || status=$?
  [ "$status" = "${2-$1}" ] || fail_nodes "node 1 has exit status $status, not ${2-$1}"
  status=0
  wait "$WARDEN" || status=$?
  [ "$status" = "$1" ] || fail_nodes "node 0 has exit status $status, not $1"
}
fail_nodes() {
  echo "--- node 1:" >&2 && tail -n 25 "$T/out1" >&2
  fail "$@"
}
member_says() { grep -qF -- "$1" "$T/out1"; }
# of WARDEN ROLE: the pid of a process of that node.
of() {
  local pid
  for pid in $(pids "$2"); do
    if [ "$(cut -d ' ' -f 4 "/proc/$pid/stat" 2>/dev/null)" = "$1" ]; then echo "$pid" && return; fi
  done
}
# kill_of WARDEN ROLE: kills it, once it is there.
kill_of() {
  local pid
  until_true 20 eval "[ -n \"\$(of $1 $2)\" ]" || fail_nodes "there is no $2 of $1"
  pid=$(of "$1" "$2")
  kill -KILL "$pid" 2>/dev/null || true
}
# kill_node WARDEN: all of its processes at once, as a machine that loses its power.
kill_node() {
  local pid all="$1"
  for pid in $(ours); do
    if [ "$(cut -d ' ' -f 4 "/proc/$pid/stat" 2>/dev/null)" = "$1" ]; then all="$all $pid"; fi
  done
  # shellcheck disable=SC2086 # a list
  kill -KILL $all 2>/dev/null || true
}

case_same_bits() {
  two_undisturbed
  launch_nodes
  finish_nodes 0
  check_two
  [ "$(ledger train_samples)" = "$(count_images train)" ] || fail "node 0 had $(ledger train_samples) images in 2 epochs"
  if [ -e "$T/w/run/nodes/node1/metrics.jsonl" ]; then fail "node 1 has written the run's files"; fi
  # A node whose options differ is told the first difference, and the others go on.
  launch "${ONE[@]}" --node 0 --epochs 3
  launch_member --lr 0.2 --epochs 3
  until_true "$LIMIT_SECONDS" member_is_over || fail_nodes "node 1 was not refused"
  member_says "lr" || fail_nodes "node 1 was not told that lr differs"
  # So is one with other bytes in an image of the same name and size; times do not matter.
  cp -r "$REFERENCE/data" "$T/copy"
  find "$T/copy" -name '*.jpg' -exec touch -d 2001-01-01 {} +
  local image
  image=$(find "$T/copy/train" -name '*.jpg' | LC_ALL=C sort | sed -n 20p)
  cp "$image" "$T/kept"
  printf '\0' | dd of="$image" bs=1 seek=100 conv=notrunc status=none
  launch_member --data-dir "$T/copy" --epochs 3
  until_true "$LIMIT_SECONDS" member_is_over || fail_nodes "node 1 with another image was not refused"
  member_says "image ${image#"$T/copy/"} is" || fail_nodes "node 1 was not told which image differs"
  cp "$T/kept" "$image"
  launch_member --data-dir "$T/copy" --epochs 3
  finish_nodes 0
}

# ask_member VERB WORD...: as a user of node 1's machine does; the answer is in $T/answer.
ask_member() { "$BIN/imsuper" "$@" --workspace "$T/w/run/nodes" --run-name node1 >"$T/answer" 2>&1 || fail_nodes "$*: $(cat "$T/answer")"; }
ask_head() { "$BIN/imsuper" "$@" --workspace "$T/w" --run-name run >"$T/answer" 2>&1 || fail_nodes "$*: $(cat "$T/answer")"; }
must_answer() { grep -qF -- "$1" "$T/answer" || fail_nodes "no \"$1\" in the answer: $(cat "$T/answer")"; }
both_answer() { ask_member status --json && [ "$(grep -c '"answered": true' "$T/answer")" = 2 ]; }
# must_have_augmenters OF_NODE_0 OF_NODE_1, by the status that node 0 gives.
must_have_augmenters() {
  ask_head status --json
  [ "$(awk '/"nodes": \[/ { on = 1 } /"stage":/ { stage = /"augment"/ } on && stage && /"wanted"/ { gsub(/[^0-9]/, ""); printf "%s ", $0 }' "$T/answer")" = "$1 $2 " ] ||
    fail_nodes "there are not $1 and $2 augmenters: $(cat "$T/answer")"
}

# Whatever is asked on one node is about all.
case_any_node() {
  FAULTS=$HOLD
  launch_nodes "${HELD[@]}" --cluster-timeout 100
  wait_step 3
  until_true 20 both_answer || fail_nodes "node 1 does not show all: $(cat "$T/answer")"
  must_answer '"run": "run"'
  "$BIN/check_schema" "$(dirname "${BASH_SOURCE[0]}")/../../docs/schemas" "$T/answer" imsuper.status/1 || fail_nodes "not as docs/schemas says: $(cat "$T/answer")"
  [ "$(grep -c '"stage": "augment"' "$T/answer")" = 3 ] || fail_nodes "not the stages of node 0's run and of both nodes"
  ask_member status
  must_answer "node 1 ("
  must_answer "READERS"
  ask_member pause
  must_answer "paused"
  ask_head status --json
  must_answer '"paused": true'
  ask_head resume
  must_answer "resumed"
  ask_member status --json
  must_answer '"paused": false'
  ask_head scale node1.augmenters=2
  must_have_augmenters 1 2
  ask_member scale augmenters=3
  must_answer "node 0: readers 1, augmenters 3; node 1: readers 1, augmenters 3"
  must_have_augmenters 3 3
  ask_member restart reader --node 0
  must_answer "restarting 1 reader"
  if "$BIN/imsuper" scale augmenters=2 --node 7 --workspace "$T/w" --run-name run >"$T/answer" 2>&1; then fail_nodes "there is a node 7"; fi
  ask_head logs --node 1
  diff <(head -n 5 "$T/answer") <(head -n 5 "$T/w/run/nodes/node1/log.txt") || fail_nodes "another log than node 1's"
  ask_member logs --node 0 trainer
  must_answer "role=trainer id=0"
  local pid
  for pid in $(pids trainer); do kill -CONT "$pid" || fail_nodes "there is no trainer to go on"; done
  ask_member stop
  finish_nodes 75
}

# Each process of each node once; every time all trainers begin again at the last snapshot.
case_deaths() {
  two_undisturbed
  FAULTS=trainer:trainer.step.done=sleep:$((300 * SLOWNESS))@1/every # seven kills, each of a process that has to be found first
  launch_nodes --snapshot-steps 2
  wait_step 3
  kill_of "$MEMBER" trainer
  wait_step 7
  kill_of "$WARDEN" trainer
  wait_step 9
  kill_of "$MEMBER" supervisor
  kill_of "$WARDEN" augmenter
  wait_step 13
  kill_of "$WARDEN" supervisor
  wait_step 16
  kill_of "$MEMBER" reader
  kill_of "$MEMBER" trainer
  finish_nodes 0
  check_two
  [ "$(deaths_of trainer)" -ge 1 ] || fail "no trainer died on node 0"
  grep -q '"process.died","role":"trainer"' "$T/w/run/nodes/node1/events.jsonl" || fail "no trainer died on node 1"
}

# Asked on either node, all save and end; the same commands continue.
case_stops() {
  local status=0
  two_undisturbed
  launch_member # without node 0 there is nobody to ask
  until_true "$LIMIT_SECONDS" member_says "waiting for the head" || fail_nodes "node 1 does not wait"
  kill -TERM "$MEMBER"
  until_true "$LIMIT_SECONDS" member_is_over || fail_nodes "node 1 alone was not stopped"
  wait "$MEMBER" || status=$?
  [ "$status" = 75 ] || fail_nodes "node 1 alone has exit status $status, not 75"
  FAULTS=$PACE
  launch_nodes
  wait_step 4
  kill -TERM "$MEMBER"
  finish_nodes 75
  must_say "saved "
  launch_nodes
  wait_step 13
  send INT
  finish_nodes 75
  FAULTS=""
  launch_nodes
  finish_nodes 0
  check_two
}

# Where all are needed, one that is gone is waited for, and then the run ends, saved; without node 0 the others cannot go on.
case_lost_nodes() {
  two_undisturbed
  FAULTS=$PACE
  launch_nodes --snapshot-steps 1 --cluster-timeout 3 --cluster-min-nodes 2
  wait_step 4
  kill_node "$MEMBER"
  finish_nodes 75 137
  must_say "node 1"
  launch_nodes --snapshot-steps 1 --cluster-timeout 15
  wait_step 9
  kill_node "$MEMBER"
  until_true 60 grep -qi 'node 1.*closed its connection\|missing 1' "$T/out" || fail_nodes "the death of node 1 was not seen"
  launch_member --snapshot-steps 1 --cluster-timeout 15 # it comes back, and the run goes on
  wait_step 14
  send USR2
  wait_step 16
  kill_node "$WARDEN"
  finish_nodes 137 75
  member_says "node 0" || fail_nodes "node 1 does not say that node 0 is gone"
  FAULTS=""
  launch_nodes
  finish_nodes 0
  check_two
}

# What a validation says of each class and label, and an evaluation of the run, are those of one machine with as many trainers.
case_tables() {
  local flags=(--per-class-log --ema 0.9) labels=(--data-dir "$T/d" --multi-label --layout csv --augment none --image-size 16)
  start 0 "${TWO[@]}" --readers 1 --augmenters 1 "${flags[@]}"
  "$BIN/imsuper" eval "$RUN" --json >"$T/eval.two" 2>"$T/answer" || fail "eval: $(cat "$T/answer")"
  mv "$T/w" "$T/two"
  launch_nodes "${flags[@]}" --snapshot-steps 1
  finish_nodes 0
  [ "$(find "$T/two/run/per_class" -type f | wc -l)" -ge 4 ] || fail "not a table of each epoch and kind of weights"
  diff -r "$T/two/run/per_class" "$RUN/per_class" >&2 || fail_nodes "the tables of each class differ"
  "$BIN/imsuper" eval "$RUN" --json >"$T/eval.nodes" 2>"$T/answer" || fail "eval: $(cat "$T/answer")"
  diff <(grep -oE '"(top1|top5|loss|images)":[^,]*' "$T/eval.two") <(grep -oE '"(top1|top5|loss|images)":[^,]*' "$T/eval.nodes") >&2 || fail "the evaluations differ"
  rm -r "$T/w" "$T/two"
  mkdir -p "$T/d/images"
  awk -v dir="$T/d" -v train=64 -v val=27 -v flags=0 -f "$(dirname "${BASH_SOURCE[0]}")/multi_label.awk"
  start 0 "${TWO[@]}" --readers 1 --augmenters 1 "${labels[@]}"
  mv "$T/w" "$T/two"
  launch_nodes "${labels[@]}" --snapshot-steps 1
  finish_nodes 0
  cmp "$T/two/run/class_scores.csv" "$RUN/class_scores.csv" || fail_nodes "the scores of each label differ"
  cut -d , -f 1-3,6- "$RUN/summary.csv" | head -n 1 | grep -q val_map || fail "summary.csv lacks mAP"
  diff <(grep -o '"best_val_map":[0-9.e-]*' "$T/two/run/DONE") <(grep -o '"best_val_map":[0-9.e-]*' "$RUN/DONE") || fail "mAP differs"
}

share_work() { grep -qF "$1 machines share the work" "$T/out"; }
# The ledgers of all nodes, the starts of a node that came back among them: each image of both epochs.
check_cluster_ledger() {
  local sum file
  sum=$(cat "$RUN/events.jsonl" "$T"/w/run/nodes/node*/events.jsonl | grep -oE '"train_samples":[0-9]+' | awk -F : '{ sum += $2 } END { print sum + 0 }')
  [ "$sum" = "$((2 * $1))" ] || fail_nodes "all nodes had $sum images in 2 epochs of $1"
  for file in "$RUN/log.txt" "$T"/w/run/nodes/node*/log.txt; do
    if grep -q 'the ledger does not balance' "$file"; then fail_nodes "a sample was lost or came twice"; fi
  done
}

# A machine that is gone: the other one does its work, with the same samples in each step, until it is back. Two gradients have one
# sum in whichever order, so that the weights are those of the undisturbed run.
case_survivors() {
  local began
  two_undisturbed
  FAULTS=trainer:trainer.step.done=sleep:$((500 * SLOWNESS))@1/every # node 1 is let in 10 s after it was lost at the earliest
  launch_nodes --snapshot-steps 1 --cluster-wait 1
  wait_step 3
  kill_node "$MEMBER"
  began=$SECONDS
  until_true 60 share_work "1 of 2" || fail_nodes "node 0 does not go on alone"
  must_have_taken 15 "$began" "going on without node 1" # 2 s until it is dead, 1 s more, and the start of a trainer
  must_say "1 trainer, before 2; the same 16 images a step in the same order, up to 2 batches a trainer"
  status_json >"$T/status" || fail "no status"
  grep -q '"node_trainers": 1' "$T/status" || fail "status does not tell that one trainer is left"
  wait_step 8
  launch_member --snapshot-steps 1 --cluster-wait 1
  until_true 60 share_work "2 of 2" || fail_nodes "node 1 was not let in"
  must_say "node 1"
  [ "$(events | grep -oE '"repeated_batches":[0-9]+' | tail -n 1 | cut -d : -f 2)" -le 4 ] || # the step that was half done, and one more where the new generation is slow to come
    fail_nodes "steps were repeated when node 1 was let in"
  FAULTS=""
  finish_nodes 0
  check_two_shared
}

# Batch norm's running statistics among them: they follow rank 0's batches, whoever takes those of the others.
check_two_shared() {
  check_two
  diff <(losses "$T/two/run/summary.csv") <(losses "$RUN/summary.csv") || fail "the training losses differ"
  check_cluster_ledger "$(count_images train)"
}

# With virtual ranks the weights are those of one trainer that nobody disturbs, to the bit: also where four batches of a step are
# shared by two trainers, by one, and by two again.
case_virtual() {
  virtual_undisturbed --readers 1
  ONE=(--ranks 1 "${VIRTUAL[@]}" --nodes "$HEAD_AT,$HEAD_AT" --readers 1 --augmenters 1 --cluster-wait 1)
  FAULTS=trainer:trainer.step.done=sleep:$((250 * SLOWNESS))@1/every # node 1 is let in 10 s after it was lost at the earliest
  launch_nodes --snapshot-steps 1
  wait_step 3
  kill_node "$MEMBER"
  until_true 60 share_work "1 of 2" || fail_nodes "node 0 does not go on alone"
  must_say "1 trainer, before 2; the same 32 images a step in the same order, up to 8 batches a trainer"
  launch_member --snapshot-steps 1 --trainer-threads 2
  until_true "$LIMIT_SECONDS" member_is_over || fail_nodes "node 1 with other threads was not refused"
  member_says "trainer-threads" || fail_nodes "node 1 was not told that its threads differ"
  launch_member --snapshot-steps 1
  until_true 60 share_work "2 of 2" || fail_nodes "node 1 was not let in"
  FAULTS=""
  finish_nodes 0
  check_virtual
  check_cluster_ledger "$(count_images train)"
}

# With --elastic drop the steps of the machine that is left have half as many images, until the other one is back; all samples once.
case_dropped() {
  ONE=(--ranks 1 "${DROP[@]}" --nodes "$HEAD_AT,$HEAD_AT" --readers 1 --augmenters 1 --cluster-wait 1)
  FAULTS=trainer:trainer.step.done=sleep:$((350 * SLOWNESS))@1/every # node 1 is let in 10 s after it was lost at the earliest
  launch_nodes
  wait_step 4
  kill_node "$MEMBER"
  until_true 60 share_work "1 of 2" || fail_nodes "node 0 does not go on alone"
  must_say "1 trainer, before 2; 4 images a step, before 8 (elastic drop); the learning rate stays that of the same place in the data"
  launch_member
  until_true 60 share_work "2 of 2" || fail_nodes "node 1 was not let in"
  must_say "2 trainers, before 1; 8 images a step, before 4 (elastic drop)"
  grep -q '"event":"nodes.shared".*"step_images":4' <(events) || fail_nodes "no event of smaller steps"
  FAULTS=""
  finish_nodes 0
  check_cluster_ledger "$(count_images train)"
  # With 24 steps of two an epoch, and more where one was alone.
  [ "$(state_number step)" -gt 48 ] || fail "$(state_number step) steps in all"
  [ "$(rates "$RUN" | sort -g | tail -n 1)" = 0.1 ] || fail "the learning rate rose"
}

# Four machines, then three, which do not divide the four virtual ranks, then two, and one.
case_virtual_four() {
  local others=() member
  virtual_undisturbed --readers 1
  ONE=(--ranks 1 "${VIRTUAL[@]}" --nodes "$HEAD_AT,$HEAD_AT,$HEAD_AT,$HEAD_AT" --readers 1 --augmenters 1 --cluster-wait 1
    --cluster-min-nodes 1 --snapshot-steps 1)
  FAULTS=$PACE
  launch "${ONE[@]}" --node 0
  for member in 1 2 3; do launch_member --node $member && others+=("$MEMBER"); done
  wait_step 2
  kill_node "${others[2]}"
  until_true 60 share_work "3 of 4" || fail_nodes "three nodes do not go on"
  wait_step 6
  kill_node "${others[0]}"
  until_true 60 share_work "2 of 4" || fail_nodes "two nodes do not go on"
  wait_step 14
  kill_node "${others[1]}"
  until_true 60 share_work "1 of 4" || fail_nodes "node 0 does not go on alone"
  FAULTS=""
  finish 0
  check_virtual
  check_cluster_ledger "$(count_images train)"
  find "$T/rt" -name '*.sock' -delete # of the nodes that were killed and did not come back
}

# continued_at: the batch from which the trainers of node 0 have continued last, with a snapshot of node 1.
continued_at() { sed -nE "s/.*continuing from another machine's snapshot.*next_batch=([0-9]+).*/\1/p" "$RUN/log.txt" | tail -n 1; }
has_continued() { [ "$(continued_at)" ]; }
waits_twice() { [ "$(grep -c "waiting for it for 300 s" "$T/out1")" = 2 ]; }
must_have_continued() {
  [ "$(continued_at)" ] || fail_nodes "node 0 has not continued from a snapshot of node 1"
  [ "$(continued_at)" -ge "$1" ] || fail_nodes "node 0 continued at batch $(continued_at), with snapshots of $1 or later"
}

# Node 0's machine is lost with all that is on it: another takes its place while node 1 waits, and continues
# from the snapshot in node 1's memory. Then it is lost again, and node 1 saves its snapshot when it is asked to stop.
case_lost_head() {
  two_undisturbed
  FAULTS=trainer:trainer.step.done=sleep:$((400 * SLOWNESS))@1/every
  launch_nodes --snapshot-steps 2
  wait_step 5
  kill_node "$WARDEN"
  remove_all "$RUN/checkpoints" "$RUN/nodes/identity.json" "$RUN/metrics.jsonl" "$RUN/summary.csv"
  until_true 60 member_says "waiting for it for 300 s" || fail_nodes "node 1 does not wait"
  launch "${ONE[@]}" --node 0 --snapshot-steps 2
  until_true 60 has_continued || fail_nodes "the new node 0 does not continue"
  must_have_continued 4
  wait_step 10
  kill_node "$WARDEN"
  until_true 60 waits_twice || fail_nodes "node 1 does not wait again"
  kill -TERM "$MEMBER"
  finish_nodes 137 75
  member_says "saved     node 1's snapshot" || fail_nodes "node 1 has not saved its snapshot"
  remove_all "$RUN/checkpoints" "$RUN/nodes/identity.json"
  FAULTS=""
  launch_nodes --snapshot-steps 2
  finish_nodes 0
  must_have_continued 8
  "$BIN/compare_states" "$T/two/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" ||
    fail_nodes "the weights are not those of the undisturbed run"
  # What is left of the run before is older than the checkpoint, and not used again.
  launch_nodes --snapshot-steps 2 --epochs 3
  finish_nodes 0
  [ "$(grep -c "continuing from another machine's snapshot" "$RUN/log.txt")" = 2 ] || fail_nodes "an old snapshot was used again"
  find "$T/rt" -name '*.sock' -delete
}

# The first trainer of either node is killed at each point of a snapshot, again and again.
case_snapshot_kills() {
  local point of=0
  two_undisturbed
  for point in snapshot.begun snapshot.piece snapshot.written snapshot.committed; do
    rm -rf "$T/w"
    FAULTS="" MEMBER_FAULTS=""
    if [ $of = 0 ]; then FAULTS=trainer:$point=kill@6; else MEMBER_FAULTS=trainer:$point=kill@6; fi
    launch_nodes --snapshot-steps 1
    finish_nodes 0
    check_two
    [ "$(cat "$RUN/events.jsonl" "$RUN/nodes/node1/events.jsonl" | grep -c '"process.died","role":"trainer"')" -ge 2 ] || fail "few trainers were killed at $point"
    of=$((1 - of))
  done
  unset MEMBER_FAULTS
}

# A machine that fails with an error is one that is lost: the others go on, and it is let in again.
case_failure() {
  local status=0
  two_undisturbed
  FAULTS=trainer:trainer.step.done=sleep:$((500 * SLOWNESS))@1/every
  launch "${ONE[@]}" --node 0 --snapshot-steps 1 --max-restarts 0
  MEMBER_FAULTS="trainer:trainer.step.done=exit:1@4" launch_member --snapshot-steps 1 --max-restarts 0
  until_true 60 member_is_over || fail_nodes "node 1 does not end"
  wait "$MEMBER" || status=$?
  [ "$status" = 1 ] || fail_nodes "node 1 has exit status $status, not 1"
  member_says "the others go on without it" || fail_nodes "node 1 does not say that the run goes on"
  until_true 60 share_work "1 of 2" || fail_nodes "node 0 does not go on alone"
  grep -q "node 1 (.*) has left with exit status 1: trainer#0" "$T/out" || fail_nodes "the error of node 1 is not named"
  has_event '"nodes.failed"' || fail_nodes "there is no event of it"
  wait_step 7
  launch_member --snapshot-steps 1 --max-restarts 0
  until_true 60 share_work "2 of 2" || fail_nodes "node 1 was not let in"
  finish_nodes 0
  check_two_shared
  # Where all fail, the run ends, saved.
  FAULTS=trainer:trainer.step.done=exit:1@4
  launch_nodes --snapshot-steps 1 --max-restarts 0 --epochs 3
  until_true "$LIMIT_SECONDS" member_is_over || fail_nodes "node 1 does not end"
  finish 75
  must_say "saved "
}

# Three machines, then two, then one: two do not divide the three batches of a step, and take turns.
case_three_two_one() {
  local three=(--ranks 3 --batch-size 4 --lr 0.001 --readers 1 --augmenters 1) second
  start 0 "${three[@]}"
  mv "$T/w" "$T/three"
  ONE=(--ranks 1 --batch-size 4 --lr 0.001 --nodes "$HEAD_AT,$HEAD_AT,$HEAD_AT" --readers 1 --augmenters 1
    --cluster-wait 1 --snapshot-steps 1)
  FAULTS=$PACE
  launch "${ONE[@]}" --node 0
  launch_member
  second=$MEMBER
  launch_member --node 2
  wait_step 3
  kill_node "$MEMBER"
  until_true 60 share_work "2 of 3" || fail_nodes "two nodes do not go on"
  must_say "2 trainers, before 3; the same 12 images a step in the same order, up to 2 batches a trainer"
  wait_step 12
  kill_node "$second"
  until_true 60 share_work "1 of 3" || fail_nodes "node 0 does not go on alone"
  must_say "1 trainer, before 2; the same 12 images a step in the same order, up to 3 batches a trainer"
  finish 0
  "$BIN/compare_states" --within=0.1 "$T/three/run/checkpoints/last.safetensors" "$RUN/checkpoints/last.safetensors" || fail "the weights differ"
  diff <(losses "$T/three/run/summary.csv" | cut -d ' ' -f 1,2) <(losses "$RUN/summary.csv" | cut -d ' ' -f 1,2) || fail "the training losses differ"
  check_cluster_ledger "$(count_images train)"
  find "$T/rt" -name '*.sock' -delete # of the nodes that were killed and did not come back
}

# Node 1 vanishes and returns, and so do supervisors of node 0: each image once in each pass, and, as two gradients have one sum in
# whichever order, the weights of the undisturbed run.
case_vanish() {
  local flags=(--epochs 6 --snapshot-steps 1 --cluster-wait 1) turn=0
  start 0 "${TWO[@]}" --readers 1 --augmenters 1 --epochs 6
  mv "$T/w" "$T/two"
  FAULTS=$PACE
  launch_nodes "${flags[@]}"
  wait_step 3
  until is_over; do
    turn=$((turn + 1))
    if [ "$MEMBER" != 0 ]; then
      kill_node "$MEMBER"
      MEMBER=0
    else
      launch_member "${flags[@]}"
    fi
    if [ $((turn % 5)) = 0 ]; then kill -KILL "$(of "$WARDEN" supervisor)" 2>/dev/null || true; fi
    poll $((2 + RANDOM % 16)) is_over || true
  done
  finish 0
  if [ "$MEMBER" != 0 ]; then until_true 60 member_is_over || fail_nodes "node 1 has not ended"; fi
  echo "$turn turns, $(count_events '"nodes.shared"') changes"
  [ "$(count_events '"nodes.shared"')" -ge 2 ] || fail_nodes "nothing was disturbed"
  same_parameters "$T/two/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors"
  diff <(losses "$T/two/run/summary.csv") <(losses "$RUN/summary.csv") || fail_nodes "the training losses differ"
  must_balance
  if grep -q 'the ledger does not balance' "$RUN/log.txt" "$T/w/run/nodes/node1/log.txt"; then fail_nodes "a sample was lost or came twice"; fi
  find "$T/rt" -name '*.sock' -delete
}

# ---- three machines, any of which can be node 0: at addresses of their own ----

declare -A MACHINE
place() { echo "127.$([ "$1" = 0 ] && echo $((1 + $$ / 65536 % 250)) || echo $((250 + $1))).$(($$ / 256 % 256)).$(($$ % 256))"; }
# start_machine K RULES FLAG...: its output is in $T/outK; all have the same folder, or, with OWN, each its own ($OWN and its number).
start_machine() {
  local k=$1 rules=$2
  shift 2
  set -m
  IMSUPER_FAULT=$rules "$BIN/imsuper" start "${TRAIN[@]}" --plain --workspace "${OWN:-$T/w}${OWN:+$k}" --run-name run --ranks 1 --batch-size 8 --readers 1 --augmenters 1 \
    --nodes "$(place 0),$(place 1),$(place 2)" --node "$k" --snapshot-interval 0 --snapshot-steps 2 "$@" >>"$T/out$k" 2>&1 </dev/null &
  MACHINE[$k]=$!
  set +m
}
fail_machines() {
  local k
  kill -KILL "${MACHINE[@]}" 2>/dev/null || true
  for k in 0 1 2; do echo "--- machine $k:" >&2 && tail -n 25 "$T/out$k" >&2; done
  fail "$@"
}
has_trained() { grep -qs '"step":3,' "${OWN:-$T/w}${OWN:+0}/run/metrics.jsonl"; } # under machine 0
# machine_says K TEXT: K may be a pattern.
# shellcheck disable=SC2086 # so that it is one
machine_says() { grep -qE -- "$2" "$T"/out$1 2>/dev/null; }
# machines_end STATUS of all
machines_end() {
  local k status
  for k in 0 1 2; do
    until_true "$LIMIT_SECONDS" is_gone "${MACHINE[$k]}" || fail_machines "machine $k has not ended within $LIMIT_SECONDS s"
    status=0
    wait "${MACHINE[$k]}" || status=$?
    [ "$status" = "$1" ] || fail_machines "machine $k has exit status $status, not $1"
  done
}
# a_process_stops WARDEN: one of its children is stopped.
a_process_stops() {
  local pid
  for pid in $(ours); do
    if [ "$(cut -d ' ' -f 3,4 "/proc/$pid/stat" 2>/dev/null)" = "T $1" ]; then return 0; fi
  done
  return 1
}
# Into $T/three.
three_undisturbed() {
  local k
  for k in 0 1 2; do start_machine $k ''; done
  machines_end 0
  mv "${OWN:-$T/w}${OWN:+0}" "$T/three"
  rm -rf "$T"/own* "$T"/out?
}
# head_dies_at RULE [lost|first]: node 0's machine dies where the rule stops one of its processes; another takes over; then the command of
# machine 0 is started again, while the others still wait for it. lost: machine 2 dies before. first: the others may not have met node 0
# yet, and wait for it then. The weights are those of three
# machines that nobody disturbs, and no more than a snapshot's interval and the step that was half done is done again.
head_dies_at() {
  local k batches began flags=(--cluster-wait 100)
  rm -rf "$T/w" "$T"/out?
  find "$T/rt" -name '*.sock' -delete
  for k in 1 2; do start_machine $k "$QUICK_PACE" "${flags[@]}"; done
  start_machine 0 "$1,$QUICK_PACE" --cluster-wait 1
  if [ "${2:-}" = lost ]; then
    until_true 60 has_trained || fail_machines "$1: nothing is trained"
    kill_node "${MACHINE[2]}"
  fi
  until_true 90 a_process_stops "${MACHINE[0]}" || fail_machines "$1: no process of node 0 is stopped there"
  kill_node "${MACHINE[0]}"
  began=$(now_ms)
  if [ "${2:-}" = lost ]; then start_machine 2 "$QUICK_PACE" "${flags[@]}"; fi
  if [ "${2:-}" != first ]; then until_true 60 machine_says 1 'is node 0, and takes over' || fail_machines "$1: nobody takes over"; fi
  began=$(($(now_ms) - began))
  start_machine 0 "$QUICK_PACE" "${flags[@]}"
  machines_end 0
  "$BIN/compare_states" "$T/three/run/checkpoints/last.state.safetensors" "$RUN/checkpoints/last.state.safetensors" ||
    fail_machines "$1: the weights are not those of the undisturbed run"
  batches=$(cat "$RUN/events.jsonl" "$T"/w/run/nodes/node*/events.jsonl | grep -oE '"repeated_batches":[0-9]+' | cut -d : -f 2 | sort -n | tail -n 1) || true
  case $1 in
    *process.enter* | *nodes.*) ;; # perhaps nothing was trained before
    *) [ "$batches" ] || fail_machines "$1: nobody says how many batches were done again" ;;
  esac
  [ "${batches:-0}" -le 3 ] || fail_machines "$1: $batches batches were done again, with snapshots each 2"
  if grep -q 'the ledger does not balance' "$RUN/log.txt" "$T"/w/run/nodes/node*/log.txt; then fail_machines "$1: a sample was lost or came twice"; fi
  echo "$1${2:+ ($2)}: another took over after $began ms; batches done again: ${batches:-none}"
}
now_ms() { echo $(($(date +%s%N) / 1000000)); }

# Node 0 dies at each point of a snapshot, of a step, of a checkpoint, and of the meeting of trainers.
case_head_points() {
  local point
  three_undisturbed
  for point in snapshot.begun@2 snapshot.piece@300 snapshot.written@2 snapshot.committed@2 trainer.gradients.before@7 trainer.gradients.after@7 \
    trainer.step.done@7 trainer.freeing@7 trainer.freed@7 trainer.save.before@1 process.enter.before process.enter.after; do
    head_dies_at "trainer:${point%@*}=stop${point#"${point%@*}"}"
  done
  for point in checkpoint.written checkpoint.rotated checkpoint.state checkpoint.models checkpoint.replace; do head_dies_at "$point=stop"; done
}
# And while the machines agree on a generation, the first and one after a death: nodes.share of a re-division.
case_head_agreement() {
  local point
  three_undisturbed
  for point in nodes.over nodes.ready; do head_dies_at "supervisor:$point=stop" first; done
  for point in nodes.begin.before nodes.begin.after; do head_dies_at "supervisor:$point=stop"; done
  for point in nodes.over@2 nodes.ready@2 nodes.begin.before@2 nodes.share.before nodes.share.after nodes.begin.after@2; do
    head_dies_at "supervisor:${point%@*}=stop${point#"${point%@*}"}" lost
  done
}

# The old node 0 is started again, with a folder of its own, before another has taken over, so that there are two heads: one gives way,
# and nothing is lost.
one_gives_way() { machine_says '[01]' 'is node 0 of this run; this machine saves'; }
case_head_late() {
  local k done=
  OWN=$T/own
  three_undisturbed
  for k in 0 1 2; do start_machine $k "$PACE" --cluster-wait 100; done
  until_true 60 has_trained || fail_machines "nothing is trained"
  kill_node "${MACHINE[0]}"
  start_machine 0 "nodes.looked=sleep:8000,$PACE" --cluster-wait 100
  until_true 60 machine_says 1 'is node 0, and takes over' || fail_machines "nobody takes over"
  until_true 60 one_gives_way || fail_machines "two heads stay"
  machines_end 0
  for k in 0 1; do if [ -e "$OWN$k/run/DONE" ]; then done=$k; fi; done
  "$BIN/compare_states" "$T/three/run/checkpoints/last.state.safetensors" "$OWN${done:?}/run/checkpoints/last.state.safetensors" ||
    fail_machines "the weights are not those of the undisturbed run"
}

# The process of `imsuper start` dies of a machine, and no other with it: for the others the machine is lost, and none of its processes stays.
machine_is_empty() { [ -z "$(of "${MACHINE[$1]}" trainer)$(of "${MACHINE[$1]}" supervisor)" ] && is_gone "${MACHINE[$1]}"; }
case_wardens() {
  local k flags=(--cluster-wait 1)
  OWN=$T/own
  TRAIN+=(--epochs 5 --virtual-ranks 3)
  three_undisturbed
  for k in 0 1 2; do start_machine $k "$PACE" "${flags[@]}"; done
  until_true 60 has_trained || fail_machines "nothing is trained"
  kill -KILL "${MACHINE[2]}"
  until_true 60 machine_says 0 '2 of 3 machines share the work' || fail_machines "the others do not go on"
  until_true 20 machine_is_empty 2 || fail_machines "processes of machine 2 stay"
  machine_says 2 'the other machines go on without this one' || fail_machines "machine 2 does not say why it ends"
  start_machine 2 "$PACE" --cluster-wait 100
  until_true 60 machine_says 0 '3 of 3 machines share the work' || fail_machines "machine 2 was not let in"
  kill -KILL "${MACHINE[0]}"
  until_true 60 machine_says 1 'is node 0, and takes over' || fail_machines "nobody takes over"
  start_machine 0 "" --cluster-wait 100
  machines_end 0
  "$BIN/compare_states" --tensors "$T/three/run/checkpoints/last.state.safetensors" "${OWN}1/run/checkpoints/last.state.safetensors" ||
    fail_machines "the weights are not those of the undisturbed run"
}

# The run's folder, which the machines have in common, is held by another process while node 0 begins.
case_head_locked() {
  local k held
  mkdir -p "$RUN"
  flock "$RUN/.lock" sleep 4 &
  held=$!
  for k in 0 1 2; do start_machine $k ''; done
  machines_end 0
  wait $held
  machine_says 0 'it may be that of a node 0 before: looking for another' || fail_machines "node 0 does not say that the folder is held"
}

# Node 0 alone of three does not go on; with one more it does.
case_head_alone() {
  local k
  for k in 0 1 2; do start_machine $k "$PACE" --cluster-wait 1; done
  until_true 60 has_trained || fail_machines "nothing is trained"
  kill_node "${MACHINE[1]}"
  kill_node "${MACHINE[2]}"
  until_true 60 machine_says 0 '1 of 3 machines are left' || fail_machines "node 0 does not say that it is alone"
  until_true 60 machine_says 0 'looking for node 0 since' || fail_machines "node 0 does not look for others"
  if machine_says 0 '1 of 3 machines share the work'; then fail_machines "node 0 went on alone"; fi
  start_machine 2 "$PACE" --cluster-wait 1
  until_true 60 machine_says 0 'is node 0, and takes over' || fail_machines "nobody takes over"
  until_true 60 machine_says 0 '2 of 3 machines share the work' || fail_machines "two of three do not go on"
  start_machine 1 "$PACE" --cluster-wait 1
  machines_end 0
  if grep -q 'the ledger does not balance' "$RUN/log.txt" "$T"/w/run/nodes/node*/log.txt; then fail_machines "a sample was lost or came twice"; fi
}

run_case

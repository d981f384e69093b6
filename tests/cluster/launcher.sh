#!/usr/bin/env bash
# The channel under real launchers: Slurm with two slurmd on this machine, MPICH's Hydra. Slurm needs root.
#
#   launcher.sh BUILD slurm|hydra|sbatch|slurm_takeover|hydra_takeover
#
# The last two: a run of three machines, whose node 0 is killed; another takes over, found by what PMI and node 0 have said.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
daemons=()
clean() {
  [ -z "${SLURM_CONF:-}" ] || scancel --state=RUNNING --signal=KILL --full -u root 2>/dev/null || true
  for d in "${daemons[@]}"; do kill "$d" 2>/dev/null || true; done
  wait
  rm -rf "$T"
}
trap clean EXIT

PATH=$(cd "$1" && pwd):$PATH
check() { # LOG NODES
  local text
  for text in "met: PMI" "exchanged: 1 of $2" "end: saved"; do
    has "$2" "$text" "$1" || fail "not all of $2 nodes say \"$text\""
  done
}

case_hydra() {
  command -v mpiexec.hydra >/dev/null || skip "mpiexec.hydra is not installed (mpich)"
  timeout 100 mpiexec.hydra -n 3 "$NODE" --ask-stop-at 10 >"$T/hydra.log" 2>&1 || true # 75
  check hydra 3
}

# start_slurm NODES. Its ports are likely free.
start_slurm() {
  local base=$((27100 + $$ % 300 * 4)) n nodes=${1:-2}
  [ "$(id -u)" = 0 ] || skip "slurmd needs root"
  command -v slurmctld slurmd srun >/dev/null || skip "Slurm is not installed (slurmctld, slurmd, slurm-client)"
  for ((n = 1; n <= nodes; n++)); do mkdir -p "$T/state" "$T/spool.n$n"; done
  export SLURM_CONF=$T/slurm.conf
  cat >"$SLURM_CONF" <<EOF
ClusterName=t
SlurmctldHost=$(hostname -s)(127.0.0.1)
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SlurmctldPort=$base
StateSaveLocation=$T/state
SlurmdSpoolDir=$T/spool.%n
SlurmdPidFile=$T/slurmd.%n.pid
SlurmctldPidFile=$T/ctld.pid
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
NodeName=n[1-$nodes] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[$((base + 1))-$((base + nodes))] CPUs=4
PartitionName=p Nodes=n[1-$nodes] Default=YES MaxTime=INFINITE State=UP
EOF
  slurmctld -D -f "$SLURM_CONF" >"$T/ctld.log" 2>&1 &
  daemons+=($!)
  for ((n = 1; n <= nodes; n++)); do
    slurmd -D -N "n$n" -f "$SLURM_CONF" -d "$(command -v slurmstepd || echo /usr/sbin/slurmstepd)" >"$T/n$n.log" 2>&1 &
    daemons+=($!)
  done
  for ((n = 0; n < 600; n++)); do
    [ "$(sinfo -h -t idle -o %D 2>/dev/null | head -n 1)" != "$nodes" ] || break
    sleep 0.1
  done
  [ "$(sinfo -h -t idle -o %D)" = "$nodes" ] || fail "Slurm's nodes do not come up"
}
case_slurm() {
  start_slurm
  timeout 100 srun -N 2 --ntasks-per-node=1 --no-kill --kill-on-bad-exit=0 --wait=0 --mpi=pmi2 "$NODE" \
    --ask-stop-at 10 >"$T/slurm.log" 2>&1 || true # 75
  check slurm 2
}
# processes_of PATTERN: those of imsuper with both variables.
processes_of() {
  local pid
  pgrep imsuper | while read -r pid; do
    if { tr '\0' '\n' <"/proc/$pid/environ"; } 2>/dev/null | grep -cxE "$1" | grep -qx 2; then echo "$pid"; fi
  done
}
# The job of examples/cluster/: a task is killed; srun does not start it again, so that the other waits for it for 20 s and goes on
# alone. At the end of the job's time it saves, and the job is queued again, whatever status srun has of the killed task.
case_sbatch() {
  local source job task n
  source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
  imsuper data synth --out "$T/data" --classes 4 --per-class 64 --val-per-class 4 --side-min 16 --side-max 24 >/dev/null
  start_slurm
  touch "$T/job.log"
  # Gloo's ranks and the supervisors meet at this machine's name.
  job=$(sbatch --parsable --nodes=2 --cpus-per-task=1 --gpus-per-node=0 --gres=none --chdir="$T" --output="$T/job.log" \
    --export="ALL,DATA=$T/data,NAME=r,RECIPE=quickstart,FLAGS=--model resnet20 --image-size 16 --batch-size 8 --epochs 1000 --gpus 0 --ranks 1 --trainer-threads 1 --status-interval 1" \
    "$source/examples/cluster/slurm.sbatch" 2>"$T/sbatch.log") || fail "sbatch refuses the file"
  await "step=[1-9]" job
  task=$(processes_of "SLURM_PROCID=1|DATA=$T/data")
  [ "$task" ] || fail "there is no task 1"
  # shellcheck disable=SC2086 # all of its processes
  kill -KILL $task || true
  await "srun does not start a killed task again" job
  await "1 of 2 machines share the work" job
  scancel --signal=USR1 "$job" # as Slurm does before the end of the job's time
  await "\(saved\|stopped\)  *runs/r" job #: its folder is that in which the job was sent
  for ((n = 0; n < 300; n++)); do # Slurm starts it after two minutes
    if scontrol show job "$job" | grep -q 'Restarts=1'; then break; fi
    sleep 0.1
  done
  scontrol show job "$job" >"$T/shown.log"
  has 1 Restarts=1 shown || fail "the job was not queued again"
  scancel "$job"
}
# take_over VARIABLE FLAG...: the launcher, its flags and the program; VARIABLE tells the processes of the first machine.
take_over() {
  local variable=$1 task began launcher
  shift
  imsuper data synth --out "$T/data" --classes 4 --per-class 60 --val-per-class 8 --side-min 16 --side-max 24 >/dev/null
  export IMSUPER_GPUS=0 TRIAL=$T IMSUPER_FAULT=trainer:trainer.step.done=sleep:150@1/every
  "$@" start --data-dir "$T/data" --model resnet20 --image-size 16 --batch-size 8 --trainer-threads 1 --ranks 1 --readers 1 \
    --augmenters 1 --seed 7 --plain --workspace "$T/w" --run-name run --epochs 8 --snapshot-steps 2 --cluster-wait 1 --status-interval 1 \
    >"$T/run.log" 2>&1 &
  launcher=$!
  await "3 machines with 1 trainer each; this is node 2; PMI" run
  COUNT=1 await "step=[1-9]" run
  task=$(processes_of "$variable|TRIAL=$T" | tr '\n' ' ')
  [ "$task" ] || fail "there is no process of the first machine"
  began=$(milliseconds)
  # shellcheck disable=SC2086 # all of its processes
  kill -KILL $task || true
  await "(machine 1) is node 0, and takes over" run
  await "2 of 3 machines share the work" run
  echo "the head lost, two of three go on: $(($(milliseconds) - began)) ms"
  wait "$launcher" || true # with the status of the killed task
  grep -q '"epochs": *8' "$T/w/run/DONE" || fail "the run is not done"
  nothing_was_lost "$T/w/run/log.txt" "$T"/w/run/nodes/node*/log.txt
}
case_slurm_takeover() {
  start_slurm 3
  take_over SLURM_PROCID=0 srun -N 3 --ntasks-per-node=1 --no-kill --kill-on-bad-exit=0 --wait=0 --mpi=pmi2 imsuper
}
case_hydra_takeover() {
  command -v mpiexec.hydra >/dev/null || skip "mpiexec.hydra is not installed (mpich)"
  take_over PMI_RANK=0 mpiexec.hydra -launcher fork -disable-auto-cleanup -hosts h1,h2,h3 -ppn 1 -n 3 imsuper
}
"case_$2"

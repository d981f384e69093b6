#!/usr/bin/env bash
# The channel under real launchers: Slurm with two slurmd on this machine, MPICH's Hydra. Slurm needs root.
#
#   launcher.sh BUILD slurm|hydra|sbatch
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
daemons=()
clean() {
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

# Three ports that are likely free.
start_slurm() {
  local base=$((27100 + $$ % 300 * 3)) n
  [ "$(id -u)" = 0 ] || skip "slurmd needs root"
  command -v slurmctld slurmd srun >/dev/null || skip "Slurm is not installed (slurmctld, slurmd, slurm-client)"
  mkdir -p "$T/state" "$T/spool.n1" "$T/spool.n2"
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
NodeName=n[1-2] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[$((base + 1))-$((base + 2))] CPUs=4
PartitionName=p Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
EOF
  slurmctld -D -f "$SLURM_CONF" >"$T/ctld.log" 2>&1 &
  daemons+=($!)
  for n in n1 n2; do
    slurmd -D -N $n -f "$SLURM_CONF" -d "$(command -v slurmstepd || echo /usr/sbin/slurmstepd)" >"$T/$n.log" 2>&1 &
    daemons+=($!)
  done
  for ((n = 0; n < 600; n++)); do
    [ "$(sinfo -h -t idle -o %D 2>/dev/null | head -n 1)" != 2 ] || break
    sleep 0.1
  done
  [ "$(sinfo -h -t idle -o %D)" = 2 ] || fail "Slurm's nodes do not come up"
}
case_slurm() {
  start_slurm
  timeout 100 srun -N 2 --ntasks-per-node=1 --no-kill --kill-on-bad-exit=0 --wait=0 --mpi=pmi2 "$NODE" \
    --ask-stop-at 10 >"$T/slurm.log" 2>&1 || true # 75
  check slurm 2
}
# The job of examples/cluster/: a task is killed; srun does not start it again, so that the others wait for it for 20 s, save, and
# the job is queued again.
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
  task=$(pgrep imsuper | while read -r pid; do
    if { tr '\0' '\n' <"/proc/$pid/environ"; } 2>/dev/null | grep -cxE "SLURM_PROCID=1|DATA=$T/data" | grep -qx 2; then echo "$pid"; fi
  done)
  [ "$task" ] || fail "there is no task 1"
  # shellcheck disable=SC2086 # all of its processes
  kill -KILL $task || true
  await "srun does not start a killed task again" job
  await "has not come back within 20 s" job
  await "stopped  *runs/r" job # saved: its folder is that in which the job was sent
  for ((n = 0; n < 300; n++)); do # Slurm starts it after two minutes
    if scontrol show job "$job" | grep -q 'Restarts=1'; then break; fi
    sleep 0.1
  done
  scontrol show job "$job" >"$T/shown.log"
  has 1 Restarts=1 shown || fail "the job was not queued again"
  scancel "$job"
}
"case_$2"

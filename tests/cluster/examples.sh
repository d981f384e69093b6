#!/usr/bin/env bash
# The files of examples/cluster/ say what imsuper reads: their commands, with what each launcher sets around them, as dry runs.
#
#   examples.sh BUILD SOURCE
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trap 'rm -rf "$T"' EXIT
PATH=$1:$PATH
EXAMPLES=$2/examples/cluster
export XDG_CACHE_HOME=$T/cache
imsuper data synth --out "$T/data" --classes 2 --per-class 600 --val-per-class 4 --side-min 16 --side-max 24 >"$T/synth.log" 2>&1 || fail "no images"
imsuper cluster key "$T/run.key" >/dev/null || fail "no key"

# says TEXT LOG
says() { grep -qF -- "$1" "$T/$2.log" || fail "no \"$1\" in $2.log"; }

case_jobset() {
  local file=$EXAMPLES/jobset.yaml name job nodes flag flags=()
  # value KEY: the first one.
  value() { sed -nE "s/^[- ]*$1: *\"?([^\"#]*[^\"# ])\"? *(#.*)?\$/\\1/p" "$file" | head -n 1; }
  # env NAME: the value of a variable of the container.
  env() { awk -v name="$1" '$1 == "-" && $2 == "name:" { on = $3 == name } on && $1 == "value:" { gsub(/"/, "", $2); print $2; exit }' "$file"; }
  name=$(value name) job=$(sed -nE 's/^    - name: (.*)/\1/p' "$file" | head -n 1) nodes=$(value completions)
  [ "$(value completionMode)" = Indexed ] || fail "pods without numbers"
  [ "$(value parallelism) $(env NNODES)" = "$nodes $nodes" ] || fail "not as many pods as NNODES"
  [ "$(env MASTER_ADDR)" = "$name-$job-0-0.$name" ] || fail "MASTER_ADDR is $(env MASTER_ADDR), not the first pod's name"
  grep -A 4 'name: NODE_RANK' "$file" | grep -q "batch.kubernetes.io/job-completion-index" || fail "NODE_RANK is not the pod's number"
  while read -r flag; do
    case $flag in
    --data-dir=*) flag=--data-dir=$T/data ;;
    --workspace=*) flag=--workspace=$T/jobset ;;
    --cluster-key=*) flag=--cluster-key=$T/run.key ;;
    esac
    flags+=("$flag")
  done < <(sed -nE 's/^ *- (--.*)/\1/p' "$file")
  [ ${#flags[@]} -ge 6 ] || fail "few flags: ${flags[*]}"
  command env NODE_RANK=$((nodes - 1)) NNODES="$(env NNODES)" MASTER_ADDR="$(env MASTER_ADDR)" MASTER_PORT="$(env MASTER_PORT)" \
    imsuper start "${flags[@]}" --dry-run >"$T/jobset.log" 2>&1 || fail "the command is refused"
  says "$nodes machines" jobset
  says "this is node $((nodes - 1))" jobset
}

case_torchrun() {
  mkdir "$T/bin"
  # As torchrun 2.9 starts the second process of the third machine of four; its own flags are checked by what they are for.
  cat >"$T/bin/torchrun" <<'STUB'
#!/bin/sh
nodes= processes= plain=
while [ $# -gt 0 ]; do
  case $1 in
  --nnodes) nodes=$2 && shift ;;
  --nproc-per-node) processes=$2 && shift ;;
  --rdzv-backend | --rdzv-endpoint | --rdzv-id | --max-restarts) shift ;;
  --no-python) plain=yes ;;
  -*) echo "torchrun: no such flag: $1" && exit 2 ;;
  *) break ;;
  esac
  shift
done
[ "$plain" ] || exit 3
RANK=$((2 * processes)) LOCAL_RANK=0 WORLD_SIZE=$((nodes * processes)) LOCAL_WORLD_SIZE=$processes GROUP_RANK=2 \
  GROUP_WORLD_SIZE=$nodes MASTER_ADDR=node1 MASTER_PORT=29400 TORCHELASTIC_RESTART_COUNT=0 exec "$@"
STUB
  chmod +x "$T/bin/torchrun"
  PATH=$T/bin:$PATH HEAD=node1:29400 NNODES=4 GPUS=2 DATA=$T/data NAME=t KEY=$T/run.key RECIPE=quickstart \
    sh "$EXAMPLES/torchrun.sh" --workspace "$T/w" --dry-run >"$T/torchrun.log" 2>&1 || fail "the command is refused"
  says "4 machines with 2 trainers each; this is node 2" torchrun
}

case_slurm() {
  local line
  bash -n "$EXAMPLES/slurm.sbatch" || fail "it is no script"
  for line in --ntasks-per-node=1 --requeue --signal=USR1@120 --open-mode=append; do
    grep -qx -- "#SBATCH $line" "$EXAMPLES/slurm.sbatch" || fail "no #SBATCH $line"
  done
  # What srun would start, with the variables of its second task; a job that ends with 75 is queued again, another is not.
  mkdir "$T/slurm"
  cat >"$T/slurm/srun" <<'STUB'
#!/bin/sh
for flag in --mpi=pmi2 --no-kill --kill-on-bad-exit=0 --wait=0; do
  case " $* " in *" $flag "*) ;; *) echo "srun: no $flag" && exit 9 ;; esac
done
while [ "$1" != imsuper ]; do shift; done
SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=1 SLURM_LOCALID=0 SLURM_STEP_TASKS_PER_NODE='1(x2)' SLURM_STEP_NUM_NODES=2 SLURM_NODEID=1 \
  SLURM_STEP_NODELIST='n[1-2]' "$@" --dry-run || exit
exit "$STUB_STATUS"
STUB
  printf '#!/bin/sh\necho "scontrol $*"\n' >"$T/slurm/scontrol"
  chmod +x "$T/slurm/srun" "$T/slurm/scontrol"
  local status=0
  for STUB_STATUS in 75 1; do
    status=0
    PATH=$T/slurm:$PATH STUB_STATUS=$STUB_STATUS SLURM_JOB_ID=7 DATA=$T/data NAME=s RECIPE=quickstart FLAGS="--workspace $T/w" \
      bash "$EXAMPLES/slurm.sbatch" >"$T/slurm$STUB_STATUS.log" 2>&1 || status=$?
    [ "$status" = "$STUB_STATUS" ] || fail "exit status $status, not $STUB_STATUS"
    says "2 machines with 1 trainer each; this is node 1" "slurm$STUB_STATUS"
  done
  says "scontrol requeue 7" slurm75
  if grep -q scontrol "$T/slurm1.log"; then fail "a job that failed was queued again"; fi
}

case_jobset
case_torchrun
case_slurm

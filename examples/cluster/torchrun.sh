#!/bin/sh
# Trains on several machines where jobs are started by torchrun, which must be installed there; imsuper itself needs no Python:
#
#   HEAD=node1:29400 NNODES=4 GPUS=8 DATA=/data/imagenet NAME=rn50 KEY=run.key sh examples/cluster/torchrun.sh      on each machine
#
#   --no-python            starts any program; without it torchrun would look for a script
#   --nproc-per-node       as many processes as the machine has GPUs: the first one starts as many trainers, the others say so and wait
#   --max-restarts=0       torchrun would start all machines again when one process ends; imsuper starts its own again
#   --cluster-key          of `imsuper cluster key run.key`, the same file on all machines: torchrun exchanges none
# Exit status 75 (saved) is a failure to torchrun, which then returns 1: the same command continues the run.
exec torchrun --nnodes "${NNODES:?number of machines}" --nproc-per-node "${GPUS:?number of GPUs of a machine}" \
  --rdzv-backend c10d --rdzv-endpoint "${HEAD:?HOST:PORT of the first machine}" --rdzv-id "${NAME:?name of the run}" \
  --max-restarts 0 --no-python \
  imsuper start --data-dir "${DATA:?folder of the images}" --run-name "$NAME" --cluster-key "${KEY:?file of the key}" \
  --recipe "${RECIPE:-resnet50-torchvision-v1}" --plain "$@"

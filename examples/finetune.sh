#!/bin/sh
# Fine-tunes torchvision's ResNet-50 on a folder of images, one folder a class:
#
#   examples/finetune.sh path/to/images
#
# A tenth of each class is kept for validation, unless there is a val/. The weights are fetched once.
set -eu
data=${1:?folder of the images}
weights=${WEIGHTS:-resnet50-11ad3fa6.pth}

[ -e "$weights" ] || curl -fLO "https://download.pytorch.org/models/$weights"

imsuper doctor --data-dir "$data"
imsuper data verify --data-dir "$data" -o verify.html || echo "some files cannot be used, see verify.html" >&2

split=0.1
if [ -d "$data/val" ]; then split=0; fi
imsuper start --data-dir "$data" --val-split $split --model resnet50 --finetune "$weights" --run-name finetune --epochs 20

imsuper eval finetune
imsuper export finetune --format onnx -o finetune.onnx

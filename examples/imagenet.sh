#!/bin/sh
# ImageNet, from the two archives to the exported network:
#
#   examples/imagenet.sh ILSVRC2012_img_train.tar ILSVRC2012_img_val.tar folder
#
# image-net.org gives the archives to those who register; nobody else may pass them on. The names of the validation images' classes are in
# ILSVRC2012_devkit_t12.tar.gz beside them. 300 GB of disk while it unpacks, 150 GB then. Interrupted, the same command goes on.
set -eu
train=$(realpath "${1:?ILSVRC2012_img_train.tar}") val=$(realpath "${2:?ILSVRC2012_img_val.tar}") folder=${3:?folder for the images}
devkit=$(dirname "$val")/ILSVRC2012_devkit_t12.tar.gz

# The training archive holds an archive for each class.
mkdir -p "$folder/train" "$folder/val"
if [ ! -e "$folder/.train-unpacked" ]; then
  tar -xf "$train" -C "$folder/train"
  for class in "$folder"/train/*.tar; do
    mkdir -p "${class%.tar}"
    tar -xf "$class" -C "${class%.tar}"
    rm "$class"
  done
  touch "$folder/.train-unpacked"
fi
if [ ! -e "$folder/.val-unpacked" ]; then
  tar -xf "$val" -C "$folder/val"
  tar -xzf "$devkit" -C "$folder"
  touch "$folder/.val-unpacked"
fi

imsuper data index --data-dir "$folder"
imsuper doctor --data-dir "$folder"

# Which stage limits, before hours are spent: readers, augmenters, or the GPUs.
imsuper bench data --data-dir "$folder"

# 76.1 % in torchvision's words; resnet50-ffcv-88 aims higher in fewer hours, resnet50-ffcv-16 is the fastest.
imsuper start --data-dir "$folder" --recipe resnet50-torchvision-v1 --run-name imagenet

imsuper eval imagenet --data-dir "$folder"
imsuper export imagenet --format onnx -o imagenet.onnx

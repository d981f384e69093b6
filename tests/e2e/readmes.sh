#!/usr/bin/env bash
# The commands of other trainers' front pages, pasted: only the folder of the images is another, and nothing is started (dry run).
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export IMSUPER_DRY_RUN=1 CUDA_VISIBLE_DEVICES=""
unset RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE
python() { "$BIN/imsuper" python "$@" >>"$T/out" 2>&1; }
torchrun() { "$BIN/imsuper" torchrun "$@" >>"$T/out" 2>&1; }
# Images for 8 trainers with batches of 256.
make_images() {
  mkdir -p "$T/Data" && cd "$T"
  "$BIN/imsuper" data synth --out "$T/Data/CLS-LOC" --classes 2 --per-class 1030 --val-per-class 2 --side-min 8 --side-max 8 --quiet
}
# paste STATUS: runs the command on stdin, which must end with that status.
paste() {
  local command status=0
  command=$(sed -e "s#/path/to/ILSVRC\|/data/ILSVRC#$T/Data/CLS-LOC#" -e "s#/mnt/imagenet/ILSVRC#$T#" -e "s#D:.imagenet#$T/Data/CLS-LOC#" \
    -e "s#<DATA_DIR>#$T/Data/CLS-LOC#" -e "s#<LR>#0.4#")
  : >"$T/out"
  eval "$command" || status=$?
  [ "$status" = "$1" ] || fail "exit status $status, not $1, of $command"
}
planned() { must_say "dry run: nothing was started" && must_say "$1"; }

case_first() {
  make_images
  paste 0 <<'END'
python train.py \
    --data-dir /path/to/ILSVRC \
    --epochs 90 \
    --batch-size 256 \
    --lr 3e-4 \
    --num-workers 8 \
    --save-dir ./checkpoints
END
  planned "90 epochs, batch 256" && must_say "sgd lr 0.0003 cosine" && must_say "model   resnet50, fp32"
  must_say "8 augmenters, 1 trainer"
  paste 0 <<'END'
python train.py \
    --data-dir /path/to/ILSVRC \
    --subset \
    --subset-size 1000 \
    --epochs 30 \
    --batch-size 256 \
    --lr 3e-4
END
  planned "1,000 train"
  paste 0 <<'END'
python train.py \
    --ddp \
    --world-size 4 \
    --data-dir /path/to/ILSVRC \
    --epochs 90 \
    --batch-size 256 \
    --lr 1.2e-3 \
    --num-workers 8 \
    --save-dir ./checkpoints \
    --drop-path-rate 0.2 \
    --use-blurpool
END
  planned "--ddp was ignored"
  must_say "4 trainers"
  paste 0 <<'END'
python train.py \
    --ddp \
    --world-size 4 \
    --data-dir /path/to/ILSVRC \
    --subset \
    --subset-size 1100 \
    --epochs 30 \
    --batch-size 256 \
    --lr 1.2e-3
END
  planned "1,100 train"
  must_say "4 trainers"
  paste 0 <<<'python train.py --ddp --world-size 4 --lr 1.2e-3 --data-dir /path/to/ILSVRC'
  planned "sgd lr 0.0012"
  paste 0 <<<'python train.py --ddp --world-size 4 --lr 2e-3 --data-dir /path/to/ILSVRC'
  planned "sgd lr 0.002"
  paste 0 <<<'python train.py --ddp --world-size 4 --lr 2e-3 --data-dir /path/to/ILSVRC --recipe resnet50-adamw-90'
  planned "adamw lr 0.002 onecycle"
  # Its two programs have more flags than its page.
  # No weights are read by a dry run, but the file must be there.
  cp "$REFERENCE/w/run/checkpoints/best.safetensors" "$T/weights.safetensors"
  paste 0 <<<'python train_additional.py --checkpoint weights.safetensors --data-dir /data/ILSVRC --epochs 5 --lr 1e-4 --max-lr 1e-3 --image-size 224 --no-blurpool --no-mixup'
  planned "lr 0.001 onecycle"
  must_say "--lr was ignored beside --max-lr"
  printf 'PK\003\004 and more of an archive' >best_resnet50_imagenet_1k.pt
  paste 2 <<<'python train.py --data-dir /data/ILSVRC --resume best_resnet50_imagenet_1k.pt'
  must_say "this is a checkpoint of PyTorch"
  must_say "--init-from best_resnet50_imagenet_1k.pt begins a run with its weights"
  paste 0 <<<'python train.py --data-dir /data/ILSVRC --plot --resume-drop-path-rate 0.1 --max-lr 5e-3 --lr 1e-3'
  planned "--plot was ignored: plots are always drawn; --resume-drop-path-rate was ignored"
  must_say "lr 0.005 onecycle"
}

case_second() {
  make_images
  paste 0 <<'END'
python lr_finder.py \
  --data_dir /mnt/imagenet/ILSVRC/Data/CLS-LOC/train \
  --batch_size 128 \
  --workers 2 \
  --start_lr 1e-6 \
  --end_lr 1 \
  --num_iter 500
END
  planned "500 steps of 128 images of 224 px, lr 1e-06 to 1"
  [ ! -e lr_finder_plots ] || fail "a dry run made lr_finder_plots"
  paste 0 <<<'python train_single_GPU.py --data-dir /mnt/imagenet/ILSVRC/Data/CLS-LOC --run-name resnet50_single'
  planned "run resnet50_single"
  # With the blank behind a backslash that stands on the page.
  sed 's/BLANK$/ /' >blank.sh <<'END'
python train_single_GPU.py \
  --data-dir /mnt/imagenet/ILSVRC/Data/CLS-LOC \
  --batch-size 128 \
  --workers 2 \
  --epochs 90 \
  --max-lr 0.097 \
  --pct-start 0.3 \
  --div-factor 25 \
  --final-div-factor 10000 \BLANK
END
  paste 2 <blank.sh
  must_say "a blank behind a \\ at the end of a line ends the command there"
  paste 0 <<'END'
python train_single_GPU.py --data-dir /mnt/imagenet/ILSVRC/Data/CLS-LOC --batch-size 128 --final-div-factor 10000 \  --label-smoothing 0.1 --run-name resnet50_single
END
  planned "an argument of blanks was ignored"
  must_say "smoothing 0.1"
  paste 0 <<'END'
CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7 \
torchrun --nproc_per_node 8 train_ddp.py \
  --data-dir /mnt/imagenet/ILSVRC/Data/CLS-LOC \
  --batch-size 256 \
  --workers 8 \
  --epochs 120 \
  --max-lr 0.4 \
  --pct-start 0.3 \
  --div-factor 25 \
  --final-div-factor 10000 \
  --label-smoothing 0.1 \
  --run-name resnet50_from_scratch
END
  planned "8 trainers"
  must_say "120 epochs, batch 256" && must_say "sgd lr 0.4 onecycle"
  paste 0 <<<'torchrun --nproc_per_node 8 train_ddp.py --data-dir D:\imagenet --batch-size 256 --workers 8 --epochs 120 --max-lr 0.4 --pct-start 0.3 --div-factor 25 --final-div-factor 10000 --label-smoothing 0.1 --run-name resnet50_from_scratch'
  planned "8 trainers"
  paste 2 <<<'torchrun --nproc_per_node 8 train_ddp.py --data-dir <DATA_DIR> --epochs 120 --max-lr <LR> --resume --run-name resnet50_from_scratch'
  must_say "no run in runs/resnet50_from_scratch"
  [ ! -e runs/resnet50_from_scratch ] || fail "a dry run left a run"
}

# torchrun starts the program once for each trainer: the first process runs them all.
case_torchrun() {
  cd "$T"
  export RANK=0 LOCAL_RANK=0 WORLD_SIZE=2 LOCAL_WORLD_SIZE=2
  : >out
  "$BIN/imsuper" start "${TRAIN[@]}" >out 2>&1 || fail "exit status $?"
  planned "torchrun runs 2 processes: 2 trainers"
  RANK=1 LOCAL_RANK=1 "$BIN/imsuper" start "${TRAIN[@]}" >out 2>&1 || fail "exit status $?"
  must_say "process 1 of torchrun has nothing to do"
  if says "dry run"; then fail "the second process did something"; fi
  if LOCAL_WORLD_SIZE=1 "$BIN/imsuper" start "${TRAIN[@]}" >out 2>&1; then fail "two machines are no run"; fi
  must_say "a run on several machines needs a name"
}

run_case

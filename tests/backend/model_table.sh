#!/bin/bash
# imsuper model: parameters and multiply-accumulates are those that torchvision publishes (weights' meta["num_params"] and
# meta["_ops"]), a size below the stride and a file of other weights are refused. Argument: the folder of the programs.
set -eu
program="$1/imsuper-trainer"

field() { sed -n "s/.*\"$1\":\([0-9]*\),.*/\1/p" <<<"$answer"; }

while read -r model params macs; do
  answer=$("$program" model --model "$model" --json | sed 's/"layers".*//')
  [ "$(field parameters)" = "$params" ] || { echo "$model: $(field parameters) parameters, not $params"; exit 1; }
  [ "$(($(field macs) / 1000000))" = "$macs" ] || { echo "$model: $(field macs) MACs, not $macs million"; exit 1; }
done <<'EOF'
resnet18 11689512 1814
resnet34 21797672 3663
resnet50 25557032 4089
resnet101 44549160 7801
resnet152 60192808 11513
EOF

# says STATUS WORDS... : the last command ended so and said all of these.
says() {
  [ "$status" = "$1" ] || { echo "exit status $status, not $1: $said"; exit 1; }
  shift
  for words in "$@"; do
    [[ $said == *"$words"* ]] || { echo "not said: $words; but: $said"; exit 1; }
  done
}

status=0
said=$("$program" model --model resnet18 --image-size 31 2>&1) || status=$?
says 2 "stride of resnet18, 32 pixels"

status=0
said=$("$program" model --model resnet20 --init-from "$2" 2>&1) || status=$?
says 65 "conv1.weight is missing" "fc.bias is [2], the model has [10]" "do not fit resnet20 with 10 classes"

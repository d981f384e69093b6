#!/usr/bin/env python3
"""Makes finetune.txt: rates by depth of timm, and steps of resnet20 of which parts are constants, by PyTorch in float64.

Weights, pixels and labels are not stored: both sides compute them from `draw`. Needs torch, timm (2.15.0 and 1.0.31 were used) and numpy:
    python3 make_finetune.py > finetune.txt
    python3 make_finetune.py --search NAME FIRST COUNT    # streams of pixels whose ReLUs are all clear of zero, best first
Lines: `rate MODEL PARAMETER SCALE` with --layer-decay 0.75; `run NAME`; `fp32 D`, the worst distance of PyTorch's own fp32 from the numbers
below; `step I LOSS NORM`; `plain|ema TENSOR NORM DOT`."""
import re
import sys

import timm
import timm.optim
import torch
import torch.nn.functional as F
from timm.optim import param_groups_layer_decay
from timm.utils import ModelEmaV3

import make_networks as golden
from draw import clearance, distance, images, labels, summary

N, SIZE, CLASSES, STEPS, EPOCH = 6, 8, 10, 21, 7
LABELS = 3000
PIXELS = {"adamw": 6400, "lamb": 4000, "sgd": 6300, "lars": 4000}  # streams where no ReLU of ours takes the other side in fp32
DECAY, EMA, LAYER_DECAY = 0.02, 0.9, 0.7
SHOWN = ["conv1.weight", "bn1.weight", "bn1.running_mean", "bn1.running_var", "layer1.0.conv2.weight", "layer1.2.bn2.bias",
         "layer1.2.bn2.running_var", "layer2.0.downsample.0.weight", "layer2.0.downsample.1.running_var", "layer2.1.bn1.running_mean",
         "layer2.2.conv1.weight", "layer3.1.bn2.weight", "layer3.2.conv2.weight", "layer3.2.bn2.running_var", "fc.weight", "fc.bias"]

# Of each epoch: modules that are constants, whose batch norms use their running statistics.
RUNS = {
    "adamw": [["conv1", "bn1", "layer1"], ["conv1", "bn1"], []],
    "lamb": [["conv1", "bn1", "layer1"]] * 3,  # timm counts the steps of a group, frozen or not: no comparison for what is trained later
    "sgd": [["layer2"], ["layer2"], ["layer2"]],
    "lars": [["bn"], ["bn"], ["bn"]],
}


def rates(model):
    net = timm.create_model(model)
    names = {id(p): n for n, p in net.named_parameters()}
    for group in param_groups_layer_decay(net, weight_decay=DECAY, layer_decay=0.75):
        for p in group["params"]:
            print("rate", model, names[id(p)], f"{group['lr_scale']:.17g}")


def is_frozen(name, frozen):
    norm = re.search(r"bn\d|downsample\.1", name)
    return any(name == f or name.startswith(f + ".") for f in frozen) or ("bn" in frozen and norm)


def freeze(net, frozen):
    """torch's way: no gradients, and the batch norms in evaluation mode. timm.utils.freeze computes the same."""
    net.train()
    for name, p in net.named_parameters():
        p.requires_grad = not is_frozen(name, frozen)
        if not p.requires_grad:
            p.grad = None
    for name, m in net.named_modules():
        if isinstance(m, torch.nn.BatchNorm2d) and is_frozen(name, frozen):
            m.eval()


def make_optimizer(name, groups):
    if name == "sgd":
        return torch.optim.SGD(groups, 0.05, momentum=0.9, nesterov=True)
    if name == "adamw":
        return torch.optim.AdamW(groups, 0.0003, betas=(0.9, 0.999), eps=1e-8)
    if name == "lars":
        return timm.optim.Lars(groups, lr=0.05, momentum=0.9, trust_coeff=0.2)
    return timm.optim.Lamb(groups, lr=0.01, betas=(0.9, 0.999), eps=1e-6)


def run(name, stream, dtype):
    """The numbers of a run, and all inputs of its ReLUs."""
    torch.set_default_dtype(dtype)
    relus = golden.collect_relus()
    net = golden.Net(golden.Basic, [3, 3, 3], 16, True, CLASSES).double()
    golden.fill(net)
    net = net.to(dtype)
    net.group_matcher = lambda coarse=False: timm.models.resnet.ResNet.group_matcher(net, coarse)
    groups = param_groups_layer_decay(net, weight_decay=DECAY, layer_decay=LAYER_DECAY)
    opt = make_optimizer(name, groups)
    for group in opt.param_groups:
        group["lr"] *= group["lr_scale"]
    ema = ModelEmaV3(net, decay=EMA)
    numbers = []
    for step in range(STEPS):
        freeze(net, RUNS[name][step // EPOCH])
        opt.zero_grad()
        x, y = images(stream + step, N, SIZE).to(dtype), labels(LABELS + step, N, CLASSES)
        loss = F.cross_entropy(net(x), y, label_smoothing=0.1)
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in net.parameters() if p.grad is not None])
        numbers.append((f"step {step}", [loss.item(), norm.item()]))
        opt.step()
        ema.update(net)
    for key in SHOWN:
        for kind, module in (("plain", net), ("ema", ema.module)):
            numbers.append((f"{kind} {key}", [float(w) for w in summary(module.state_dict()[key].double(), 17, 0).split()]))
    return numbers, relus


def search(name, first, count):
    found = []
    for stream in range(first, first + 100 * count, 100):
        exact, clean = run(name, stream, torch.float64)
        single, rounded = run(name, stream, torch.float32)
        found.append((clearance(rounded, clean), stream, distance(single, exact)))
    for c, stream, d in sorted(found, reverse=True)[:5]:
        print(f"{name} {stream}: clearance {c:.2f}, fp32 {d:.2g}", flush=True)


def main():
    torch.set_num_threads(1)
    if len(sys.argv) > 2:
        search(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        return
    for model in ("resnet18", "resnet50", "resnetv2_18"):
        rates(model)
    for name in RUNS:
        exact, clean = run(name, PIXELS[name], torch.float64)
        single, rounded = run(name, PIXELS[name], torch.float32)
        worst, clear = distance(single, exact), clearance(rounded, clean)
        print("run", name)
        print(f"fp32 {worst:.2g}")
        for what, values in exact:
            print(what, *[f"{v:.9g}" for v in values])
        print(f"{name}: fp32 {worst:.2g}, clearance {clear:.2f}", file=sys.stderr)


main()

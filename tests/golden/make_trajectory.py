#!/usr/bin/env python3
"""Makes trajectory.txt: twenty steps of resnet20 in float64 by PyTorch and timm, with everything that a step can have, for each optimiser,
for weights of the classes, and for binary cross-entropy.

Weights, pixels and labels are not stored: both sides compute them from `draw`. What our random numbers decide (mixes, dropped
branches) comes from our own program, and PyTorch does the same with it:
    backend_trajectory --draws > draws; python3 make_trajectory.py draws > trajectory.txt
    python3 make_trajectory.py draws --search NAME FIRST COUNT    # streams of pixels whose ReLUs are all clear of zero, best first
Needs torch, timm (2.15.0 and 1.0.31 were used) and numpy. Lines: `run NAME`; `fp32 D`, the worst distance of PyTorch's own fp32 from the
numbers below; `step I LOSS NORM`, the norm before clipping; `plain|ema TENSOR NORM DOT`."""
import sys

import numpy as np
import timm.optim
import torch
import torch.nn.functional as F
import torch.optim._muon
from timm.data.mixup import mixup_target
from timm.loss import BinaryCrossEntropy
from timm.utils import ModelEmaV3

import make_networks as golden
from draw import clearance, distance, draw, images, labels, summary

N, SIZE, CLASSES, WINDOW, STEPS = 6, 8, 10, 2, 20
LABELS, WEIGHTS = 3000, 3500
DROP, SMOOTHING, CLIP, DECAY, EMA = 0.3, 0.1, 1.5, 0.02, 0.9
# Optimiser, and the stream of pixels: one where no ReLU of ours takes the other side in fp32 (--search shows PyTorch's).
RUNS = {"sgd": ("sgd", 4400), "adamw": ("adamw", 6700), "lars": ("lars", 6100), "lamb": ("lamb", 6100), "weighted": ("sgd", 6100), "bce": ("adamw", 4900), "muon": ("muon", 4700)}
SHOWN = ["conv1.weight", "bn1.weight", "bn1.running_mean", "bn1.running_var", "layer1.0.conv2.weight", "layer1.2.bn2.bias",
         "layer2.0.downsample.0.weight", "layer2.0.downsample.1.running_var", "layer2.1.bn1.running_mean", "layer2.2.conv1.weight",
         "layer3.0.conv1.weight", "layer3.1.bn2.weight", "layer3.2.conv2.weight", "layer3.2.bn2.running_var", "fc.weight", "fc.bias"]


class Block(golden.Basic):
    """With stochastic depth on its branch (timm/layers/drop.py), by given numbers: below the rate a sample's is dropped."""

    units, rate = None, 0.0

    def forward(self, x):
        y = self.bn2(self.conv2(golden.relu(self.bn1(self.conv1(x)))))
        keep = torch.tensor(self.units >= self.rate).to(y.dtype).reshape(-1, 1, 1, 1)
        y = y * keep / (1 - self.rate)
        return golden.relu(y + (x if self.downsample is None else self.downsample(x)))


def read_draws(path):
    batches = []
    for line in open(path):
        words = line.split()
        if words[0] == "batch":
            batches.append({"kind": int(words[2]), "lam": float(words[3]), "box": [int(w) for w in words[4:]], "units": []})
        else:
            batches[-1]["units"].append([float(w) for w in words])
    return batches


def batch_of(g, draws, stream):
    """Mixed images, soft targets without smoothing and with it, and which samples count."""
    x, y = images(stream + g, N, SIZE), labels(LABELS + g, N, CLASSES)
    valid = torch.tensor([not (g % 3 == 0 and i == g % N) for i in range(N)])
    kind, lam, (y0, y1, x0, x1) = draws["kind"], draws["lam"], draws["box"]
    if kind == 1:
        x = x * lam + x.flip(0) * (1 - lam)
    elif kind == 2:
        x[:, :, y0:y1, x0:x1] = x.flip(0)[:, :, y0:y1, x0:x1].clone()
    if kind:
        valid = valid & valid.flip(0)
    return x, mixup_target(y, CLASSES, lam, 0.0), mixup_target(y, CLASSES, lam, SMOOTHING), valid


def make_optimizer(name, groups):
    """The optimiser and the highest learning rate."""
    if name == "sgd":
        return torch.optim.SGD(groups, 0.05, momentum=0.9, nesterov=True), 0.05
    if name == "adamw":
        return torch.optim.AdamW(groups, 0.002, betas=(0.9, 0.999), eps=1e-8), 0.002
    if name == "lars":
        return timm.optim.Lars(groups, lr=0.05, momentum=0.9, trust_coeff=0.2), 0.05
    return timm.optim.Lamb(groups, lr=0.01, betas=(0.9, 0.999), eps=1e-6, max_grad_norm=CLIP), 0.01


class Muon:
    """torch.optim.Muon (torch 2.15.0 was used), its iteration in float64, for the filters of all convolutions but the first,
    SGD for the rest; OneCycle cycles the momentum of SGD only."""

    def __init__(self, net, lr):
        filters = [p for p in net.parameters() if p.dim() == 4][1:]
        taken = {id(p) for p in filters}
        rest = [p for p in net.parameters() if id(p) not in taken]
        self.pairs = [(p, torch.nn.Parameter(p.detach().view(len(p), -1))) for p in filters]
        self.parts = [torch.optim.Muon([q for _, q in self.pairs], lr=lr, weight_decay=DECAY, momentum=0.95),
                      torch.optim.SGD([{"params": [p for p in rest if p.dim() > 1], "weight_decay": DECAY},
                                       {"params": [p for p in rest if p.dim() == 1], "weight_decay": 0.0}], lr, momentum=0.9, nesterov=True)]
        self.courses = [torch.optim.lr_scheduler.OneCycleLR(part, lr, total_steps=STEPS, cycle_momentum=i == 1)
                        for i, part in enumerate(self.parts)]

    def step(self):
        for p, q in self.pairs:
            q.grad = p.grad.view(q.shape)
        for part in self.parts:
            part.step()


def newton_schulz(x, coefficients, steps, eps):
    """torch.optim._muon._zeropower_via_newtonschulz without its bf16."""
    a, b, c = coefficients
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T if x.size(0) <= x.size(1) else x.T @ x
        poly = b * gram + c * gram @ gram
        x = a * x + (poly @ x if x.size(0) <= x.size(1) else x @ poly)
    return x


def sum_of_losses(name, out, hard, soft):
    """Of the samples given, and the weight of each."""
    if name == "bce":
        return BinaryCrossEntropy(smoothing=0.0)(out, soft) * len(out), torch.ones(len(out))
    if name == "weighted":
        weight = torch.from_numpy(draw(WEIGHTS, CLASSES) + 1.5).to(out.dtype)
        return F.cross_entropy(out, hard, weight, label_smoothing=SMOOTHING, reduction="sum"), hard @ weight
    return F.cross_entropy(out, soft, reduction="sum"), torch.ones(len(out))


def run(name, draws, stream, dtype=torch.float64):
    """The numbers of a run, and all inputs of its ReLUs."""
    torch.set_default_dtype(dtype)
    optimizer, relus = RUNS[name][0], golden.collect_relus()
    net = golden.Net(Block, [3, 3, 3], 16, True, CLASSES).double()
    golden.fill(net)
    net = net.to(dtype)
    blocks = [m for m in net.modules() if isinstance(m, Block)]
    for i, b in enumerate(blocks):
        b.rate = DROP * i / (len(blocks) - 1)
    decay = [p for p in net.parameters() if p.dim() > 1]
    rest = [p for p in net.parameters() if p.dim() == 1]
    if optimizer == "muon":
        opt = Muon(net, 0.02)
        courses = opt.courses
    else:
        opt, lr = make_optimizer(optimizer, [{"params": decay, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}])
        courses = [torch.optim.lr_scheduler.OneCycleLR(opt, lr, total_steps=STEPS)]
    ema = ModelEmaV3(net, decay=EMA, use_warmup=True)
    net.train()
    numbers = []
    for step in range(STEPS):
        net.zero_grad()
        total, weight = 0.0, 0.0
        for g in range(step * WINDOW, step * WINDOW + WINDOW):
            x, hard, soft, valid = batch_of(g, draws[g], stream)
            units = np.array(draws[g]["units"])
            for i, b in enumerate(blocks):
                b.units = units[:, i]
            out = net(x.to(dtype))[valid]
            loss, weights = sum_of_losses(name, out, hard[valid].to(dtype), soft[valid].to(dtype))
            loss.backward()
            total += loss.item()
            weight += weights.sum().item()
        for p in net.parameters():
            p.grad /= weight
        clip = CLIP if optimizer != "lamb" else float("inf")  # LAMB clips by itself
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
        numbers.append((f"step {step}", [total / weight, norm.item()]))
        opt.step()
        ema.update(net, step + 1)
        for course in courses:
            course.step()
    for key in SHOWN:
        for kind, module in (("plain", net), ("ema", ema.module)):
            numbers.append((f"{kind} {key}", [float(w) for w in summary(module.state_dict()[key].double(), 17, 0).split()]))
    return numbers, relus


def search(name, draws, first, count):
    found = []
    for stream in range(first, first + 100 * count, 100):
        if stream // 100 * 100 in (LABELS, WEIGHTS):
            continue
        exact, clean = run(name, draws, stream)
        single, rounded = run(name, draws, stream, torch.float32)
        found.append((clearance(rounded, clean), stream, distance(single, exact)))
    for c, stream, d in sorted(found, reverse=True)[:5]:
        print(f"{name} {stream}: clearance {c:.2f}, fp32 {d:.2g}", flush=True)


def main():
    draws = read_draws(sys.argv[1])
    torch.set_num_threads(1)
    torch.optim._muon._zeropower_via_newtonschulz = newton_schulz
    if len(sys.argv) > 2:
        search(sys.argv[3], draws, int(sys.argv[4]), int(sys.argv[5]))
        return
    for name, (_, stream) in RUNS.items():
        exact, clean = run(name, draws, stream)
        single, rounded = run(name, draws, stream, torch.float32)
        worst, clear = distance(single, exact), clearance(rounded, clean)
        print("run", name)
        print(f"fp32 {worst:.2g}")
        for what, values in exact:
            print(what, *[f"{v:.9g}" for v in values])
        print(f"{name}: fp32 {worst:.2g}, clearance {clear:.2f}", file=sys.stderr)


main()

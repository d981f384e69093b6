#!/usr/bin/env python3
"""recipes/cifar10-resnet20.yaml in PyTorch, on the same JPEG files: what accuracy is to be expected of it?

    train_cifar.py --data DIR [--model resnet20|resnet18] [--epochs 30] [--images N] [--seed 1] [--device cpu|cuda] [--flip-test]
    train_cifar.py --data DIR --opt muon --lr 0.05 ...

DIR holds train/CLASS/*.jpg and test/CLASS/*.jpg. --images takes the first N / classes files of each training class, as a
control that is quick on a CPU. One line an epoch: training loss and top-1, validation loss and top-1. --flip-test also
averages over each image and its mirror image. --opt muon: torch.optim.Muon for the filters of all convolutions but the first, AdamW at
0.001 for the rest, a linear rise and fall of the rate in place of OneCycle. resnet18 has the small stem (3x3, no pooling). Nothing of imsuper needs Python.
"""
import argparse
import os
import time

import numpy
import torch
from PIL import Image
from torchvision.models.resnet import BasicBlock, ResNet, conv1x1

nn, F = torch.nn, torch.nn.functional
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def resnet20():
    def stage(before, planes, stride):
        down = nn.Sequential(conv1x1(before, planes, stride), nn.BatchNorm2d(planes)) if stride != 1 else None
        return [BasicBlock(before, planes, stride, down), BasicBlock(planes, planes), BasicBlock(planes, planes)]

    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(True), *stage(16, 16, 1),
                        *stage(16, 32, 2), *stage(32, 64, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


def resnet18():
    net = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=10)
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    return net


def load(folder, each):
    images, labels = [], []
    for label, name in enumerate(sorted(os.listdir(folder))):
        for file in sorted(os.listdir(os.path.join(folder, name)))[:each]:
            images.append(numpy.asarray(Image.open(os.path.join(folder, name, file)).convert("RGB")))
            labels.append(label)
    return torch.from_numpy(numpy.stack(images)).permute(0, 3, 1, 2), torch.tensor(labels)


def crops(x, generator):
    """Zero-padded by 4 (before normalising), cropped and flipped at random, image by image."""
    n, _, h, w = x.shape
    padded = F.pad(x, (4, 4, 4, 4))
    dy, dx = (torch.randint(0, 9, (n, 1, 1), generator=generator).to(x.device) for _ in range(2))
    flip = torch.randint(0, 2, (n, 1, 1), generator=generator).to(x.device)
    rows = dy + torch.arange(h, device=x.device).view(1, h, 1)
    columns = torch.arange(w, device=x.device).view(1, 1, w)
    columns = dx + torch.where(flip == 1, w - 1 - columns, columns)
    return padded[torch.arange(n, device=x.device).view(n, 1, 1), :, rows, columns].permute(0, 3, 1, 2)


class Muon:
    """The filters as matrices of the same memory (channels last: another order of columns, which changes nothing)."""

    def __init__(self, net, args):
        filters = [p for p in net.parameters() if p.dim() == 4][1:]
        taken = {id(p) for p in filters}
        rest = [p for p in net.parameters() if id(p) not in taken]
        self.pairs = [(p, nn.Parameter(p.detach().permute(0, 2, 3, 1).view(len(p), -1))) for p in filters]
        self.parts = [
            torch.optim.Muon([q for _, q in self.pairs], lr=args.lr, weight_decay=args.weight_decay, momentum=0.95),
            torch.optim.AdamW([{"params": [p for p in rest if p.dim() > 1], "weight_decay": args.weight_decay},
                               {"params": [p for p in rest if p.dim() <= 1], "weight_decay": 0.0}], lr=0.001)]

    def step(self):
        for p, q in self.pairs:
            q.grad = p.grad.permute(0, 2, 3, 1).reshape(q.shape)
        for part in self.parts:
            part.step()


class Triangle:
    """Up from 0.2 of the rates to all in a quarter of the steps, and down to 0."""

    def __init__(self, optimiser, steps):
        self.parts = [torch.optim.lr_scheduler.LambdaLR(
            part, lambda t: 0.2 + 0.8 * t / (steps / 4) if t < steps / 4 else (steps - t) / (steps * 3 / 4)) for part in optimiser.parts]

    def step(self):
        for part in self.parts:
            part.step()


def muon(net, args, steps):
    optimiser = Muon(net, args)
    return optimiser, Triangle(optimiser, steps)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="resnet20", choices=["resnet20", "resnet18"])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--images", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.3)
    parser.add_argument("--opt", default="sgd", choices=["sgd", "muon"])
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--flip-test", action="store_true")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    draws = torch.Generator().manual_seed(args.seed)
    each = None if args.images is None else args.images // 10
    mean, std = (torch.tensor(v, device=args.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    (x, y), (tx, ty) = (tuple(t.to(args.device) for t in load(os.path.join(args.data, s), n)) for s, n in (("train", each), ("test", None)))
    net = {"resnet20": resnet20, "resnet18": resnet18}[args.model]().to(args.device, memory_format=torch.channels_last)
    decays = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() <= 1]
    steps = (len(x) + args.batch - 1) // args.batch
    if args.opt == "muon":
        optimiser, schedule = muon(net, args, steps * args.epochs)
    else:
        optimiser = torch.optim.SGD([{"params": decays, "weight_decay": args.weight_decay}, {"params": others, "weight_decay": 0.0}], lr=args.lr,
                                    momentum=0.9, nesterov=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.lr, total_steps=steps * args.epochs, pct_start=0.25)
    for epoch in range(args.epochs):
        began, loss_sum, right = time.perf_counter(), 0.0, 0
        net.train()
        for chosen in torch.randperm(len(x), generator=draws).split(args.batch):
            chosen = chosen.to(args.device)
            logits = net(((crops(x[chosen], draws).float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits, y[chosen])
            net.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            loss_sum += loss.item() * len(chosen)
            right += (logits.argmax(1) == y[chosen]).sum().item()
        net.eval()
        val_loss, val_right, flip_right = 0.0, 0, 0
        with torch.no_grad():
            for images, labels in zip(tx.split(500), ty.split(500)):
                images = (images.float() / 255 - mean) / std
                logits = net(images)
                val_loss += F.cross_entropy(logits, labels, reduction="sum").item()
                val_right += (logits.argmax(1) == labels).sum().item()
                if args.flip_test:
                    flip_right += ((logits.softmax(1) + net(images.flip(3)).softmax(1)).argmax(1) == labels).sum().item()
        flip = f"  flip-test {100 * flip_right / len(tx):.2f}%" if args.flip_test else ""
        print(f"{epoch + 1:3} train {loss_sum / len(x):.4f} {100 * right / len(x):.2f}%  val {val_loss / len(tx):.4f} "
              f"{100 * val_right / len(tx):.2f}%{flip}  {time.perf_counter() - began:.0f} s", flush=True)


main()

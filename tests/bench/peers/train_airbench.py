#!/usr/bin/env python3
"""A control for CIFAR-10 from JPEG files: the published airbench94 (Muon) recipe in PyTorch, fp32, on a CPU.

    train_airbench.py --data DIR [--epochs 8] [--batch 2000] [--images N] [--threads 1] [--seed 1]

DIR holds train/CLASS/*.jpg and test/CLASS/*.jpg. After K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (arXiv 2404.00498) and
the Muon variant of 2024-11: 94.0 % on the original pixels after 8 epochs. Written from the method: a frozen 2x2 whitening layer, three groups
of two 3x3 convolutions (64, 256, 256) that begin as the identity, batch norm without weights, GELU, label smoothing 0.2, translation by 2
pixels (reflected), each image mirrored every other epoch, rates that fall linearly to 0, and six views of each test image.
One line an epoch: training loss and top-1, top-1 of every fifth test image; the last epoch: of all test images plain, with mirror images, and
with the six views.
"""
import argparse
import os
import time

import numpy
import torch
from PIL import Image

nn, F = torch.nn, torch.nn.functional
MEAN, STD = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)))
SMOOTHING, BIAS_RATE, HEAD_RATE, FILTER_RATE, DECAY_PER_IMAGE, WHITEN_SHARE = 0.2, 0.053, 0.67, 0.24, 2e-6, 3 / 8
MACS = 118.0e6  # of one image's forward pass


def load(folder, each):
    images, labels = [], []
    for label, name in enumerate(sorted(os.listdir(folder))):
        for file in sorted(os.listdir(os.path.join(folder, name)))[:each]:
            images.append(numpy.asarray(Image.open(os.path.join(folder, name, file)).convert("RGB")))
            labels.append(label)
    pixels = torch.from_numpy(numpy.stack(images)).permute(0, 3, 1, 2).float() / 255
    return (pixels - MEAN) / STD, torch.tensor(labels)


def conv(inputs, outputs):
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight.data[:inputs])
    return layer


def norm(planes):
    layer = nn.BatchNorm2d(planes, eps=1e-12, momentum=0.4)
    layer.weight.requires_grad = False
    return layer


def group(inputs, outputs):
    return [conv(inputs, outputs), nn.MaxPool2d(2), norm(outputs), nn.GELU(), conv(outputs, outputs), norm(outputs), nn.GELU()]


class Net(nn.Module):
    def __init__(self, sample):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad = False
        self.body = nn.Sequential(nn.GELU(), *group(24, 64), *group(64, 256), *group(256, 256), nn.MaxPool2d(3), nn.Flatten())
        self.head = nn.Linear(256, 10, bias=False)
        self.head.weight.data /= self.head.weight.data.std()
        patches = F.unfold(sample, 2).transpose(1, 2).reshape(-1, 12)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors.T / (values.view(-1, 1) + 5e-4).sqrt()).view(12, 3, 2, 2)
        self.whiten.weight.data[:] = torch.cat((filters, -filters))

    def forward(self, x):
        return self.head(self.body(self.whiten(x))) / 256


def orthogonal(g):
    """Three quintic Newton-Schulz steps: singular values near 1."""
    tall = g.size(0) > g.size(1)
    x = (g.T if tall else g) / (g.norm() + 1e-7)
    for _ in range(3):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if tall else x


class Muon:
    def __init__(self, filters, momentum=0.6):
        self.filters, self.momentum, self.sums = filters, momentum, [torch.zeros_like(p) for p in filters]

    @torch.no_grad()
    def step(self, rate):
        for p, total in zip(self.filters, self.sums):
            total.mul_(self.momentum).add_(p.grad)
            p.mul_(len(p) ** 0.5 / p.norm())
            p.sub_(rate * orthogonal(p.grad.add(total, alpha=self.momentum).reshape(len(p), -1)).view(p.shape))


def translated(x, draws):
    n, _, h, w = x.shape
    padded = F.pad(x, (2, 2, 2, 2), "reflect")
    rows, columns = (torch.randint(0, 5, (n, 1), generator=draws) + torch.arange(h) for _ in range(2))
    return padded[torch.arange(n).view(n, 1, 1), :, rows.view(n, h, 1), columns.view(n, 1, w)].permute(0, 3, 1, 2)


def views(net, x):
    """Logits of the image, with its mirror image, and with both moved up-left and down-right by a pixel."""
    plain = net(x)
    mirrored = (plain + net(x.flip(3))) / 2
    padded = F.pad(x, (1, 1, 1, 1), "reflect")
    moved = [padded[:, :, :32, :32], padded[:, :, 2:, 2:]]
    return plain, mirrored, mirrored / 2 + sum(net(m) + net(m.flip(3)) for m in moved) / 8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=2000)
    parser.add_argument("--images", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    draws = torch.Generator().manual_seed(args.seed)
    x, y = load(os.path.join(args.data, "train"), None if args.images is None else args.images // 10)
    tx, ty = load(os.path.join(args.data, "test"), None)
    net = Net(x[torch.randperm(len(x), generator=draws)[:5000]]).to(memory_format=torch.channels_last)
    filters = [m.weight for m in net.body if isinstance(m, nn.Conv2d)]
    biases = [m.bias for m in net.body if isinstance(m, nn.BatchNorm2d)]
    decay = DECAY_PER_IMAGE * args.batch
    sgd = torch.optim.SGD([{"params": p, "lr": rate, "peak": rate, "weight_decay": decay / rate} for p, rate in
                           (([net.whiten.bias], BIAS_RATE), (biases, BIAS_RATE), ([net.head.weight], HEAD_RATE))], momentum=0.85, nesterov=True)
    muon = Muon(filters)
    first = torch.randint(0, 2, (len(x),), generator=draws).bool()
    steps, done = len(x) // args.batch * args.epochs, 0
    for epoch in range(args.epochs):
        began, loss_sum, right, seen = time.perf_counter(), 0.0, 0, 0
        net.train()
        for chosen in torch.randperm(len(x), generator=draws).split(args.batch):
            if len(chosen) < args.batch:
                break
            images = translated(x[chosen], draws)
            mirror = (first[chosen] ^ (epoch % 2 == 1)).view(-1, 1, 1, 1)
            images = torch.where(mirror, images.flip(3), images).contiguous(memory_format=torch.channels_last)
            for part in sgd.param_groups:
                part["lr"] = part["peak"] * (1 - done / steps)
            sgd.param_groups[0]["lr"] = BIAS_RATE * max(0.0, 1 - done / (steps * WHITEN_SHARE))
            net.whiten.bias.requires_grad = done < steps * WHITEN_SHARE
            logits = net(images)
            loss = F.cross_entropy(logits, y[chosen], label_smoothing=SMOOTHING, reduction="sum")
            net.zero_grad()
            loss.backward()
            sgd.step()
            muon.step(FILTER_RATE * (1 - done / steps))
            done += 1
            seen += len(chosen)
            loss_sum += loss.item()
            right += (logits.argmax(1) == y[chosen]).sum().item()
            if done == 2:
                print(f"{seen / (time.perf_counter() - began):.1f} images/s, "
                      f"{seen / (time.perf_counter() - began) * MACS * 6 / 1e9:.0f} GFLOP/s", flush=True)
        took = time.perf_counter() - began
        net.eval()
        last = epoch == args.epochs - 1
        hits = [0, 0, 0]
        every = 1 if last else 5
        with torch.no_grad():
            for images, labels in zip(tx[::every].split(500), ty[::every].split(500)):
                for i, logits in enumerate(views(net, images) if last else [net(images)]):
                    hits[i] += (logits.argmax(1) == labels).sum().item()
        tested = " ".join(f"{100 * h / len(tx[::every]):.2f}%" for h in hits[: 3 if last else 1])
        print(f"{epoch + 1:3} train {loss_sum / seen:.4f} {100 * right / seen:.2f}%  test {tested}  {took:.0f} s", flush=True)


main()

#!/usr/bin/env python3
"""Makes networks.txt: what PyTorch, in float64, computes for small batches of our networks.

Weights, pixels and labels are not stored: both sides compute them from `draw`. Needs torch and numpy:
    python3 make_networks.py > networks.txt
Lines: `net NAME CLASSES N SIZE PIXEL_STREAM`, then `fp32` with the distance of PyTorch's own fp32, `eval_logits`, `loss`, `last_loss` with values; `grad`, `stat`, `param` NAME NORM DOT V0 V1 V2 V3, where DOT is the
sum of the tensor times draw(DOT_STREAM, .) and V are its first values; param and stat are taken after STEPS steps."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from draw import LABELS, draw, images, labels, summary

PIXELS, STEPS = 1002, 2  # the first stream to try


margin = [np.inf]


def relu(x):
    """Notes how close to zero a value came: there fp32 may take the other side, and the gradients differ for no fault of anybody's."""
    margin[0] = min(margin[0], x.detach().abs().min().item())
    return F.relu(x)


def collect_relus():
    """From now on relu() collects its inputs in the list that this returns."""
    inputs = []

    def collecting(x):
        inputs.append(x.detach().double().numpy().ravel().copy())
        return F.relu(x)

    globals()["relu"] = collecting
    return inputs


def cbn(i, o, k, s):
    return nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o)


class Basic(nn.Module):
    expansion = 1

    def __init__(self, i, w, s):
        super().__init__()
        self.conv1, self.bn1 = cbn(i, w, 3, s)
        self.conv2, self.bn2 = cbn(w, w, 3, 1)
        self.downsample = nn.Sequential(*cbn(i, w, 1, s)) if s != 1 or i != w else None

    def forward(self, x):
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, i, w, s):
        super().__init__()
        self.conv1, self.bn1 = cbn(i, w, 1, 1)
        self.conv2, self.bn2 = cbn(w, w, 3, s)
        self.conv3, self.bn3 = cbn(w, 4 * w, 1, 1)
        self.downsample = nn.Sequential(*cbn(i, 4 * w, 1, s)) if s != 1 or i != 4 * w else None

    def forward(self, x):
        y = relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))))
        return relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class Net(nn.Module):
    """torchvision's ResNet with its names; the small stem has a 3x3 convolution and no pool."""

    def __init__(self, block, blocks, width, small, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False) if small else nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1, self.small, self.stages = nn.BatchNorm2d(width), small, len(blocks)
        channels = width
        for k, count in enumerate(blocks):
            stage = []
            for i in range(count):
                stage.append(block(channels, width << k, 2 if k and i == 0 else 1))
                channels = (width << k) * block.expansion
            setattr(self, f"layer{k + 1}", nn.Sequential(*stage))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = relu(self.bn1(self.conv1(x)))
        x = x if self.small else F.max_pool2d(x, 3, 2, 1)
        for k in range(self.stages):
            x = getattr(self, f"layer{k + 1}")(x)
        return self.fc(x.mean((2, 3)))


def fill(net):
    with torch.no_grad():
        for index, (name, t) in enumerate(net.state_dict().items()):
            if t.dim() == 0:
                continue
            v = draw(index, t.numel())
            if name.startswith(("fc.", "head.")):
                v = v * 0.05
            elif t.dim() == 4:
                v = v * np.sqrt(6.0 / (t.shape[0] * t.shape[2] * t.shape[3]))
            elif name.endswith(".bias") or name.endswith("running_mean"):
                v = v * 0.125
            else:
                v = (1 + v * 0.25) * (0.25 if "bn3.weight" in name else 1)
            t.copy_(torch.from_numpy(v.astype(np.float32).astype(np.float64)).reshape(t.shape))


def show(kind, name, t):
    print(kind, name, summary(t, 9))


def numbers(kind, t):
    print(kind, *[f"{x:.9g}" for x in t.detach().numpy().reshape(-1)])


def train(net, n, size, classes, stream, report, dtype=torch.float64):
    """STEPS steps; returns the smallest distance of a ReLU's input from zero, and the first gradients."""
    fill(net)
    net.to(dtype)
    x, y = images(stream, n, size).to(dtype), labels(LABELS, n, classes)
    valid = torch.arange(n) != n - 2  # the last but one sample is masked
    net.eval()
    if report:
        numbers("eval_logits", net(x))
    net.train()
    margin[0] = np.inf
    decay = [p for p in net.parameters() if p.dim() > 1]
    rest = [p for p in net.parameters() if p.dim() == 1]
    sgd = torch.optim.SGD([{"params": decay, "weight_decay": 0.01}, {"params": rest}], 0.01, momentum=0.9, nesterov=True)
    for step in range(STEPS):
        sgd.zero_grad()
        loss = F.cross_entropy(net(x)[valid], y[valid], label_smoothing=0.1)
        loss.backward()
        if report and step == 0:
            numbers("loss", loss)
            for key, p in net.named_parameters():
                show("grad", key, p.grad)
        first = {"grad " + key: p.grad.clone() for key, p in net.named_parameters()} if step == 0 else first
        sgd.step()
    if report:
        numbers("last_loss", loss)
        for key, t in net.state_dict().items():
            if t.dim() > 0:
                show("stat" if "running" in key else "param", key, t)
    return margin[0], {**first, **{key: t.clone() for key, t in net.state_dict().items() if t.dim() > 0}}


def distance(net, n, size, classes, stream):
    """The worst relative error of a tensor when PyTorch does the same in fp32, with one thread and with two."""
    exact = train(net, n, size, classes, stream, False)[1]
    worst = 0
    for threads in (1, 2):
        torch.set_num_threads(threads)
        single = train(net, n, size, classes, stream, False, torch.float32)[1]
        worst = max([worst] + [((single[k].double() - v).norm() / v.norm()).item() for k, v in exact.items()])
        net.double()
    return worst


def golden(name, block, blocks, width, small, classes, n, size, tries):
    net = Net(block, blocks, width, small, classes).double()
    stream = max(range(PIXELS, PIXELS + tries), key=lambda s: train(net, n, size, classes, s, False)[0])
    print("net", name, classes, n, size, stream)
    print(f"fp32 {distance(net, n, size, classes, stream):.2g}")
    train(net, n, size, classes, stream, True)


if __name__ == "__main__":
    golden("resnet20", Basic, [3, 3, 3], 16, True, 10, 4, 12, 40)
    golden("resnet18", Basic, [2, 2, 2, 2], 64, False, 10, 4, 40, 20)
    golden("resnet50", Bottleneck, [3, 4, 6, 3], 64, False, 12, 4, 64, 12)

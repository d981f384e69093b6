#!/usr/bin/env python3
"""Makes models.txt: what torchvision's and timm's own modules, in float64, compute for the networks and options that
make_networks.py does not have. Needs torch, torchvision, timm and numpy:
    python3 make_models.py > models.txt
The format and the numbers drawn are make_networks.py's; a `net` line has five words more: MODEL STEM HEAD BLURPOOL DROP_PATH_RATE. Of the
gradients every k-th tensor is there. Blur where a library does not have it is put in front of or behind the modules that
the sources name: ffcv-imagenet's BlurPoolConv2d, timm's BlurPool2d."""
import sys

import numpy as np
import timm
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from timm.layers import BlurPool2d, DropPath

from draw import LABELS, images, labels
from make_networks import fill, numbers, show

PIXELS = 1002  # the first stream to try
SEED, STEP, FIRST, APART, PURPOSE = 7, 3, 5, 2, 5  # whose stochastic depth is drawn


def philox(counter, key):
    """Philox4x32-10 (Salmon et al. 2011)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ k[0], q & 0xFFFFFFFF, (p >> 32) ^ c[3] ^ k[1], p & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def unit(place, block):
    """Draw number `block` of the stream of (SEED, stochastic depth, place, STEP): 53 bits in [0, 1)."""
    c = philox([block // 2, STEP, place, PURPOSE << 24], [SEED, 0])[block % 2 * 2:]
    return ((c[0] << 32 | c[1]) >> 11) * 2.0**-53


class FixedDropPath(nn.Module):
    """timm's DropPath with the mask that the network draws."""

    def __init__(self, block, rate):
        super().__init__()
        self.block, self.rate = block, rate

    def forward(self, x):
        if not self.training:
            return x
        keep = [unit(FIRST + n * APART, self.block) >= self.rate for n in range(x.shape[0])]
        return x * (torch.tensor(keep, dtype=x.dtype) / (1 - self.rate)).reshape(-1, 1, 1, 1)


margin = [np.inf]
plain_relu = F.relu


def relu(x, inplace=False):
    """Notes how close to zero a value came: there fp32 may take the other side, and the gradients differ for no fault of anybody's."""
    margin[0] = min(margin[0], x.detach().abs().min().item())
    return plain_relu(x)


F.relu = relu


def wrap(module, forward):
    module.forward = forward(module.forward)


def blur_zeros(x):
    k = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=x.dtype) / 16
    return F.conv2d(x, k.expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])


def ffcv(net):
    """apply_blurpool of ffcv-imagenet/train_imagenet.py, without its names."""
    for m in net.modules():
        if isinstance(m, nn.Conv2d) and max(m.stride) > 1 and m.in_channels >= 16:
            wrap(m, lambda f: lambda x: f(blur_zeros(x)))


def zhang_v2(net):
    """What timm's resnetblur50 has, for its pre-activation networks."""
    net.stem.pool.stride = 1
    wrap(net.stem.pool, lambda f: lambda x: BlurPool2d(x.shape[1]).double()(f(x)))
    for stage in net.stages[1:]:
        block = stage.blocks[0]
        conv, behind = (block.conv2, block.norm3) if hasattr(block, "conv3") else (block.conv1, block.norm2)
        conv.stride = (1, 1)
        wrap(behind, lambda f: lambda x: BlurPool2d(x.shape[1]).double()(f(x)))


def step(net, n, size, classes, stream, every):
    """One evaluation and one backward; prints when every > 0. The smallest distance of a ReLU's input from zero."""
    fill(net)
    x, y = images(stream, n, size), labels(LABELS, n, classes)
    valid = torch.arange(n) != n - 2  # the last but one sample is masked
    net.eval()
    if every:
        numbers("eval_logits", net(x))
    net.train()
    net.zero_grad()
    margin[0] = np.inf
    loss = F.cross_entropy(net(x)[valid], y[valid], label_smoothing=0.1)
    loss.backward()
    if every:
        numbers("loss", loss)
        for i, (key, p) in enumerate(net.named_parameters()):
            if p.grad is not None and (i % every == 0 or key.startswith(("fc.", "head."))):
                show("grad", key, p.grad)
        for i, (key, t) in enumerate((k, t) for k, t in net.state_dict().items() if "running" in k):
            if i % every == 0:
                show("stat", key, t)
    return margin[0]


def golden(label, net, model, options, classes, n, size, tries, every, rate=0):
    net = net.double()
    blocks = [m for m in net.modules() if m.__class__.__name__.lower() in ("basicblock", "preactbasic", "bottleneck", "preactbottleneck")]
    for i, block in enumerate(blocks):
        if isinstance(getattr(block, "drop_path", None), DropPath):
            assert abs(block.drop_path.drop_prob - rate * i / (len(blocks) - 1)) < 1e-7
            block.drop_path = FixedDropPath(i, rate * i / (len(blocks) - 1))
    stream = max(range(PIXELS, PIXELS + tries), key=lambda s: step(net, n, size, classes, s, 0))
    print("net", label, classes, n, size, stream, model, options, rate)
    step(net, n, size, classes, stream, every)
    print(f"{label}: margin {margin[0]:.3g}", file=sys.stderr)


net = timm.create_model("resnetv2_18", num_classes=10, drop_path_rate=0.5)
zhang_v2(net)
golden("preact18_zhang_drop", net, "resnetv2_18", "imagenet conv zhang", 10, 4, 32, 10, 1, 0.5)

net = timm.create_model("resnet18", num_classes=10, drop_path_rate=0.5)
ffcv(net)
golden("resnet18_ffcv_drop", net, "resnet18", "imagenet fc ffcv", 10, 4, 32, 10, 2, 0.5)

golden("resnetblur50", timm.create_model("resnetblur50", num_classes=12), "resnet50", "imagenet fc zhang", 12, 4, 64, 4, 8)
golden("preact50", timm.create_model("resnetv2_50", num_classes=12), "resnetv2_50", "imagenet conv none", 12, 4, 64, 4, 8)

net = timm.create_model("resnetv2_50", num_classes=12)
ffcv(net)
golden("preact50_ffcv", net, "resnetv2_50", "imagenet conv ffcv", 12, 4, 64, 4, 8)

golden("resnet101", torchvision.models.resnet101(num_classes=12), "resnet101", "imagenet fc none", 12, 4, 64, 2, 40)


class Group(nn.Module):
    """Of airbench94, Muon's variant (K. Jordan, github.com/KellerJordan/cifar10-airbench, MIT), written from its description."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        for norm in (self.norm1, self.norm2):
            norm.weight.requires_grad = False

    def forward(self, x):
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class Airbench(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad = False
        self.layers = nn.Sequential(nn.GELU(), Group(24, 64), Group(64, 256), Group(256, 256), nn.MaxPool2d(3))
        self.head = nn.Linear(256, classes)

    def forward(self, x):
        return self.head(self.layers(self.whiten(x)).flatten(2).mean(2))


golden("airbench94", Airbench(12), "airbench94", "small fc none", 12, 4, 32, 1, 1)
golden("airbench94_large", Airbench(12), "airbench94", "small fc none", 12, 2, 57, 1, 8)

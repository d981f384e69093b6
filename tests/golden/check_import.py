#!/usr/bin/env python3
"""Do torchvision's and timm's weights, saved as safetensors, load here, and do they give the same logits? Run by hand, with PyTorch,
torchvision, timm and safetensors:

    check_import.py PRINT_LOGITS [SIZE]

PRINT_LOGITS is the program built from tests/e2e/print_logits.c. Each library's own constructor draws the weights; the statistics of
batch norm are then taken from the images, so that no value runs away. Exit status 0 when every logit of every model agrees
within 5e-3 of the largest: along 152 layers of
untrained weights fp32 rounding alone grows to 1e-3, in resnet18 it is 5e-6.
"""
import subprocess
import sys
import tempfile

import timm
import torch
import torchvision
from safetensors.torch import save_file

CLASSES, COUNT = 1000, 2
TIMM = ["resnetv2_18", "resnetv2_34", "resnetv2_50", "resnetv2_101", "resnetv2_152"]
TORCHVISION = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


def images(count, size):
    """The fixed images of print_logits.c, normalised."""
    n = count * size * size * 3
    bytes_ = ((torch.arange(n, dtype=torch.int64) * 2654435761) % 2**32) // 2**24
    x = bytes_.reshape(count, size, size, 3).permute(0, 3, 1, 2).to(torch.float32) / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
    return (x - mean) / std


def check(program, name, net, model, blurpool, size):
    x = images(COUNT, size)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        net.train()(x)
        theirs = net.eval()(x)
        path = f"{folder}/weights.safetensors"
        save_file({k: v.contiguous() for k, v in net.state_dict().items()}, path)
        out = subprocess.run([program, path, model, "auto", str(CLASSES), str(size), str(COUNT), blurpool],
                             check=True, capture_output=True, text=True).stdout
    ours = torch.tensor([[float(v) for v in line.split()] for line in out.splitlines()])
    worst = (ours - theirs).abs().max().item() / theirs.abs().max().item()
    print(f"{name}: largest difference {worst:.2g} of the largest logit, {theirs.abs().max().item():.3g}", flush=True)
    return ours.shape == theirs.shape and worst <= 5e-3


def main():
    program, size = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 224
    torch.manual_seed(0)
    good = [check(program, m, getattr(torchvision.models, m)(num_classes=CLASSES), m, "none", size) for m in TORCHVISION]
    good += [check(program, m, timm.create_model(m, num_classes=CLASSES), m, "none", size) for m in TIMM]
    good.append(check(program, "resnetblur50", timm.create_model("resnetblur50", num_classes=CLASSES), "resnet50", "zhang", size))
    return 0 if all(good) else 1


sys.exit(main())

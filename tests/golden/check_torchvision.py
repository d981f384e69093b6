#!/usr/bin/env python3
"""Do weights saved here load in torchvision, and do they give the same logits there? Run by hand, with PyTorch and torchvision:

    check_torchvision.py PRINT_LOGITS RUN_DIR MODEL CLASSES SIZE [COUNT]

RUN_DIR is a run of `imsuper start --model MODEL` with checkpoints/last.safetensors and last.state.safetensors; PRINT_LOGITS is
the program built from tests/e2e/print_logits.c. resnet18, 34 and 50 are torchvision's own; resnet20 is not there, so it is put
together here from torchvision's BasicBlock (He et al. 2015, section 4.2, with projections in the shortcuts). Exit status 0 when
load_state_dict(strict=True) takes the file and every logit agrees within 1e-4.
"""
import subprocess
import sys

import torch
import torchvision
from safetensors.torch import load_file


def resnet20(classes):
    net = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [3, 3, 3, 0], num_classes=classes)
    net.inplanes = 16
    net.conv1 = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False)
    net.bn1 = torch.nn.BatchNorm2d(16)
    net.maxpool = torch.nn.Identity()
    block = torchvision.models.resnet.BasicBlock
    net.layer1 = net._make_layer(block, 16, 3)
    net.layer2 = net._make_layer(block, 32, 3, stride=2)
    net.layer3 = net._make_layer(block, 64, 3, stride=2)
    net.layer4 = torch.nn.Identity()
    net.fc = torch.nn.Linear(64, classes)
    return net


def images(count, size):
    """The fixed images of print_logits.c, normalised."""
    n = count * size * size * 3
    bytes_ = ((torch.arange(n, dtype=torch.int64) * 2654435761) % 2**32) // 2**24
    x = bytes_.reshape(count, size, size, 3).permute(0, 3, 1, 2).to(torch.float32) / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
    return (x - mean) / std


def main():
    program, run_dir, model, classes, size = sys.argv[1:6]
    count = sys.argv[6] if len(sys.argv) > 6 else "4"
    net = resnet20(int(classes)) if model == "resnet20" else getattr(torchvision.models, model)(num_classes=int(classes))
    print(net.load_state_dict(load_file(f"{run_dir}/checkpoints/last.safetensors"), strict=True))
    net.eval()
    with torch.no_grad():
        theirs = net(images(int(count), int(size)))
    out = subprocess.run([program, f"{run_dir}/checkpoints/last.state.safetensors", model, "auto", classes, size, count],
                         check=True, capture_output=True, text=True).stdout
    ours = torch.tensor([[float(v) for v in line.split()] for line in out.splitlines()])
    worst = (ours - theirs).abs().max().item()
    print(f"{model}: logits from {theirs.min().item():.4f} to {theirs.max().item():.4f}, largest difference {worst:.3g}; "
          f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    return 0 if ours.shape == theirs.shape and worst <= 1e-4 else 1


sys.exit(main())

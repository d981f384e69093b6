#!/usr/bin/env python3
"""Compares `imsuper export` with torchvision, timm and onnxruntime. Not part of any build; run by hand:

    check_export.py IMSUPER IMAGES [MODEL...]

IMSUPER is the program, IMAGES a folder of JPEG files in folders. For each network it draws weights (batch norm's statistics too), has
them exported in every format, and checks: onnx.checker accepts the files; torch.load(weights_only=True), also with mmap, and
load_state_dict(strict=True) take them; onnxruntime's logits are torch's within 1e-4 of the largest logit and the top-1 the same, folded
or not, over all images; the pixels that the graph with preprocessing makes are those of torchvision's transforms on Pillow images
within one unit in a share of places that it prints. Written for torch 2.15, torchvision 0.29, timm 1.0.31, onnx 1.23, onnxruntime 1.32,
Pillow 13."""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.transforms import v2  # noqa: F401 (fails early where torchvision is too old)
from torchvision import transforms as T

imsuper, images = sys.argv[1], sorted(pathlib.Path(sys.argv[2]).glob("**/*.*"))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
work = pathlib.Path(tempfile.mkdtemp())


class Small(ResNet):
    """resnet20 and its like: three stages of 16, 32, 64 channels, a 3x3 stem."""

    def __init__(self, blocks, classes):
        torch.nn.Module.__init__(self)
        self._norm_layer, self.inplanes, self.dilation, self.groups, self.base_width = torch.nn.BatchNorm2d, 16, 1, 1, 64
        self.conv1, self.bn1 = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(16)
        self.relu, self.maxpool = torch.nn.ReLU(inplace=True), torch.nn.Identity()
        self.layer1 = self._make_layer(BasicBlock, 16, blocks)
        self.layer2 = self._make_layer(BasicBlock, 32, blocks, stride=2)
        self.layer3 = self._make_layer(BasicBlock, 64, blocks, stride=2)
        self.layer4, self.avgpool = torch.nn.Identity(), torch.nn.AdaptiveAvgPool2d((1, 1))
        self.fc = torch.nn.Linear(64, classes)


def make(name, classes):
    if name.startswith("resnetblur") or name.startswith("resnetv2"):
        return timm.create_model(name, num_classes=classes)
    depth = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9}.get(name)
    return Small(depth, classes) if depth else getattr(torchvision.models, name)(num_classes=classes)


def draw(net):
    """Weights as drawn, statistics as after some training: measured on a random batch, then shaken."""
    torch.manual_seed(1)
    net.train()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.2, 0.2)
        net(torch.randn(8, 3, 96, 96))
    return net.eval()


def export(weights, out, *flags):
    subprocess.run([imsuper, "export", str(weights), "-o", str(out), *flags], check=True, stdout=subprocess.DEVNULL)
    return out


def load_images(size, resize):
    transform = T.Compose([T.Resize(resize), T.CenterCrop(size)])
    rgb = [Image.open(p).convert("RGB") for p in images]
    return [np.asarray(i) for i in rgb], np.stack([np.asarray(transform(i)) for i in rgb])


def compare(what, ours, theirs):
    worst, same = np.abs(ours - theirs).max(), (ours.argmax(1) == theirs.argmax(1)).sum()
    print(f"  {what}: largest difference {worst:.2e} (largest logit {np.abs(theirs).max():.2f}), same top-1 {same}/{len(ours)}", flush=True)
    assert worst <= 1e-4 * max(1, np.abs(theirs).max()) and same == len(ours), what


def check_files(name, weights, net, flags, wrapped):
    state = net.state_dict()
    for loaded in (torch.load(export(weights, work / "w.pt", "--format", "pt", *flags), weights_only=True),
                   torch.load(work / "w.pt", weights_only=True, mmap=True),
                   load_file(export(weights, work / "w2.safetensors", "--format", "safetensors", *flags))):
        net.load_state_dict(loaded, strict=True)
        assert all(torch.equal(loaded[k], state[k]) for k in state), name
    if hasattr(torchvision.models, name):
        loaded = torch.load(export(weights, work / "tv.pth", "--format", "torchvision", *flags), weights_only=True)
        getattr(torchvision.models, name)(num_classes=len(state["fc.bias"])).load_state_dict(loaded, strict=True)
    if wrapped:
        folder = export(weights, work / "timm", "--format", "timm", *flags)
        again = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        assert again.pretrained_cfg["architecture"] == name
        assert all(torch.equal(again.state_dict()[k], state[k]) for k in state), name
        data = timm.data.resolve_data_config(again.pretrained_cfg)
        config = json.loads((folder / "config.json").read_text())
        assert data["interpolation"] == "bilinear" and data["mean"] == MEAN, data
        made = timm.data.create_transform(**data)
        print("  timm:", config["architecture"], made.transforms[0].size, made.transforms[1].size)


def check_network(name, classes, size, resize, flags, wrapped):
    print(f"{name} {' '.join(flags)} {size} px", flush=True)
    net = draw(make(name, classes))
    weights = work / "w.safetensors"
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, weights)
    flags = [*flags, "--eval-image-size", str(size), "--eval-resize", str(resize)]
    check_files(name, weights, net, flags, wrapped)
    whole, cropped = load_images(size, resize)
    x = ((torch.from_numpy(cropped).permute(0, 3, 1, 2).float() / 255) - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    with torch.no_grad():
        logits = torch.cat([net(b) for b in x.split(20)]).numpy()
    for fold in ("--fold-bn", "--no-fold-bn"):
        file = export(weights, work / "f.onnx", "--input", "float", fold, *flags)
        onnx.checker.check_model(str(file), full_check=True)
        session = ort.InferenceSession(str(file))
        got = [session.run(["logits", "probabilities"], {"input": b.numpy()}) for b in x.split(20)]
        compare(fold, np.concatenate([g[0] for g in got]), logits)
        assert np.allclose(np.concatenate([g[1] for g in got]).sum(1), 1, atol=1e-5)
    file = export(weights, work / "u.onnx", *flags)
    onnx.checker.check_model(str(file), full_check=True)
    model = onnx.load(str(file))
    model.graph.output.append(onnx.helper.make_tensor_value_info("pre.cropped", onnx.TensorProto.UINT8, None))
    session = ort.InferenceSession(model.SerializeToString())
    pixels, ours = zip(*(session.run(["pre.cropped", "logits"], {"image": i[None]}) for i in whole))
    off = np.abs(np.concatenate(pixels).transpose(0, 2, 3, 1).astype(int) - cropped)
    ours = np.concatenate(ours)
    worst_image = (off > 0).mean((1, 2, 3)).max()
    print(f"  pixels: {(off > 0).mean():.2e} of the bytes differ, by {off.max()} at most (of one image: {worst_image:.2e}); logits by {np.abs(ours - logits).max():.2e}; "
          f"same top-1 {(ours.argmax(1) == logits.argmax(1)).sum()}/{len(ours)}", flush=True)
    assert off.max() <= 1


CASES = {
    "resnet20": (10, 32, 37, [], False),
    "resnet56": (10, 32, 36, [], False),
    "resnet18": (200, 96, 110, [], True),
    "resnet34": (200, 64, 64, [], True),
    "resnet50": (200, 128, 147, [], True),
    "resnet101": (200, 64, 73, [], True),
    "resnet152": (200, 64, 73, [], True),
    "resnetblur18": (200, 96, 110, ["--blurpool", "zhang"], True),
    "resnetblur50": (200, 96, 110, ["--blurpool", "zhang"], True),
    "resnetv2_18": (200, 96, 110, [], True),
    "resnetv2_34": (200, 64, 80, [], True),
    "resnetv2_50": (200, 96, 90, [], True),
    "resnetv2_101": (200, 64, 73, [], True),
    "resnetv2_152": (200, 64, 73, [], True),
}
for case in sys.argv[3:] or CASES:
    check_network(case, *CASES[case])
print("ok", len(images), "images")

#!/usr/bin/env python3
"""What fine-tuning is worth with few images a class: imsuper and PyTorch with timm's optimiser groups, from the same weights.

    finetune_few.py --imsuper PROGRAM --data DIR --work DIR [--images 10 25] [--seeds 5] [--epochs 100] [--source-epochs 6] [--peers]

DIR of --data holds train/CLASS/*.jpg and test/CLASS/*.jpg of CIFAR-10. A resnet20 learns six classes (unless WORK/runs/six is there);
then N images a class of the four others (automobile, dog, horse, truck) are learnt from scratch and from its weights, in the same steps
and with the same crops, and tested on all 4,000 test images of them. Which images: drawn by the seed. --peers does the same in PyTorch:
the same weights, torchvision's ResNet of that shape, SGD with timm.optim.param_groups_layer_decay. One line a run, then means and
standard deviations.
"""
import argparse
import json
import os
import random
import statistics
import subprocess

TARGETS = ("automobile", "dog", "horse", "truck")
COMMON = ["--model", "resnet20", "--image-size", "32", "--eval-resize", "32", "--augment", "light", "--mean", "0.4914,0.4822,0.4465", "--std",
          "0.2470,0.2435,0.2616", "--trainer-threads", "1", "--readers", "1", "--augmenters", "1", "--plain"]
SOURCE = ["--batch-size", "128", "--opt", "muon", "--lr", "0.05", "--muon-momentum", "0.9", "--muon-rest", "sgd",
          "--muon-rest-lr", "0.1", "--momentum", "0.9", "--weight-decay", "5e-4", "--label-smoothing", "0.1", "--schedule", "onecycle",
          "--anneal", "linear", "--pct-start", "0.2", "--div-factor", "5", "--no-cycle-momentum", "--train-crop", "pad:2", "--flip", "alternate"]
FEW = ["--batch-size", "20", "--train-crop", "pad:4", "--hflip", "0.5", "--nesterov", "--momentum", "0.9", "--weight-decay", "5e-4",
       "--label-smoothing", "0.1", "--schedule", "cosine"]
LR_SCRATCH, LR_FINE, LAYER_DECAY = "0.1", "0.02", "0.75"


def link(data, classes, to, each=None, seed=0):
    for split, of in (("train", "train"), ("val", "test")):
        for name in classes:
            files = sorted(os.listdir(os.path.join(data, of, name)))
            if split == "train" and each:
                files = random.Random(f"{seed} {name}").sample(files, each)
            os.makedirs(os.path.join(to, split, name), exist_ok=True)
            for file in files:
                path = os.path.join(to, split, name, file)
                if not os.path.exists(path):
                    os.symlink(os.path.abspath(os.path.join(data, of, name, file)), path)


def run(args, name, data, flags):
    runs = os.path.join(args.work, "runs")
    if not os.path.exists(os.path.join(runs, name, "DONE")):
        subprocess.run([args.imsuper, "start", "--data-dir", data, "--workspace", runs, "--run-name", name, *COMMON, *flags],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    epochs = [json.loads(line) for line in open(os.path.join(runs, name, "metrics.jsonl")) if '"event":"epoch"' in line]
    return 100 * epochs[-1]["val_top1"]


def peer(args, data, weights, seed):
    """The same in PyTorch; weights None: from scratch."""
    import numpy
    import torch
    from PIL import Image
    from safetensors.torch import load_file
    from timm.optim import param_groups_layer_decay
    from torchvision.models.resnet import BasicBlock, ResNet

    class Small(ResNet):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self._norm_layer, self.inplanes, self.dilation, self.groups, self.base_width = torch.nn.BatchNorm2d, 16, 1, 1, 64
            self.conv1, self.bn1 = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(16)
            self.relu, self.maxpool = torch.nn.ReLU(inplace=True), torch.nn.Identity()
            self.layer1 = self._make_layer(BasicBlock, 16, 3)
            self.layer2 = self._make_layer(BasicBlock, 32, 3, stride=2)
            self.layer3 = self._make_layer(BasicBlock, 64, 3, stride=2)
            self.layer4, self.avgpool = torch.nn.Identity(), torch.nn.AdaptiveAvgPool2d((1, 1))
            self.fc = torch.nn.Linear(64, len(TARGETS))
            for m in self.modules():
                if isinstance(m, torch.nn.Conv2d):
                    torch.nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

        def group_matcher(self, coarse=False):
            return {"stem": r"^conv1|bn1", "blocks": r"^layer(\d+)\.(\d+)"}

        def no_weight_decay(self):
            return set()

    def load(split):
        pixels, labels = [], []
        for label, name in enumerate(TARGETS):
            folder = os.path.join(data, split, name)
            for file in sorted(os.listdir(folder)):
                pixels.append(numpy.asarray(Image.open(os.path.join(folder, file)).convert("RGB")))
                labels.append(label)
        return torch.from_numpy(numpy.stack(pixels)).permute(0, 3, 1, 2).float() / 255, torch.tensor(labels)

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    mean, std = (torch.tensor([float(v) for v in COMMON[COMMON.index(k) + 1].split(",")]).view(1, 3, 1, 1) for k in ("--mean", "--std"))
    net = Small()
    if weights:
        state = load_file(weights)
        net.load_state_dict({k: v for k, v in state.items() if not k.startswith("fc.")}, strict=False)
    groups = param_groups_layer_decay(net, weight_decay=5e-4, layer_decay=float(LAYER_DECAY) if weights else 1.0)
    for group in groups:
        group["lr"] = float(LR_FINE if weights else LR_SCRATCH) * group.get("lr_scale", 1.0)
    sgd = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    x, y = load("train")
    steps = args.epochs * (len(x) // 20)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, steps)
    net.train()
    for _ in range(args.epochs):
        for chosen in torch.randperm(len(x)).split(20):
            if len(chosen) < 20:
                break
            padded = torch.nn.functional.pad(x[chosen], (4, 4, 4, 4))
            images = torch.stack([p[:, dy:dy + 32, dx:dx + 32].flip(2) if flip else p[:, dy:dy + 32, dx:dx + 32] for p, dy, dx, flip in
                                  zip(padded, *(torch.randint(0, n, (20,)).tolist() for n in (9, 9, 2)))])
            loss = torch.nn.functional.cross_entropy(net((images - mean) / std), y[chosen], label_smoothing=0.1)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            cosine.step()
    net.eval()
    vx, vy = load("val")
    with torch.no_grad():
        right = sum((net((a - mean) / std).argmax(1) == b).sum().item() for a, b in zip(vx.split(500), vy.split(500)))
    return 100 * right / len(vx)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imsuper", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--images", type=int, nargs="+", default=[10, 25])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--source-epochs", type=int, default=6)
    parser.add_argument("--peers", action="store_true")
    args = parser.parse_args()

    six = os.path.join(args.work, "six")
    link(args.data, [c for c in sorted(os.listdir(os.path.join(args.data, "train"))) if c not in TARGETS], six)
    print(f"six classes: {run(args, 'six', six, [*SOURCE, '--epochs', str(args.source_epochs), '--validate-every', str(args.source_epochs), '--seed', '1']):.2f}%", flush=True)
    weights = os.path.join(args.work, "runs", "six", "checkpoints", "last.safetensors")
    for each in args.images:
        found = {}
        for seed in range(1, args.seeds + 1):
            data = os.path.join(args.work, f"four_{each}_{seed}")
            link(args.data, TARGETS, data, each, seed)
            flags = [*FEW, "--epochs", str(args.epochs), "--validate-every", str(args.epochs), "--seed", str(seed)]
            found.setdefault("imsuper from scratch", []).append(run(args, f"scratch_{each}_{seed}", data, [*flags, "--lr", LR_SCRATCH]))
            fine = ["--init-from", weights, "--finetune", "--lr", LR_FINE, "--layer-decay", LAYER_DECAY, "--warmup-epochs", "0"]
            found.setdefault("imsuper --finetune", []).append(run(args, f"fine_{each}_{seed}", data, [*flags, *fine]))
            if args.peers:
                found.setdefault("PyTorch from scratch", []).append(peer(args, data, None, seed))
                found.setdefault("PyTorch and timm, from the weights", []).append(peer(args, data, weights, seed))
            print(each, seed, *(f"{k}: {v[-1]:.2f}%" for k, v in found.items()), sep="  ", flush=True)
        for name, tops in found.items():
            print(f"{each} a class  {name:36} {statistics.mean(tops):.2f} +- {statistics.stdev(tops) if len(tops) > 1 else 0:.2f}", flush=True)


main()

#!/usr/bin/env python3
"""The training step on a GPU beside PyTorch's, and both fed from the same JPEG files; alternating in one run.

    bench_gpu.py --imsuper BIN/imsuper [--data DIR] [--model resnet50] [--batch 256] [--size 224] [--amp bf16]
                 [--rounds 5] [--without NAME ...] [--workers N] [--out FILE.json]

Synthetic batches: `imsuper bench trainer` (each step copies a fresh uint8 batch to the GPU, normalises, trains, updates) against
torchvision's network, channels_last, autocast, cudnn.benchmark and fused SGD, eager and compiled by torch.compile
(mode max-autotune), whose batch lies on the GPU as float before the clock starts: what it would cost to bring it there is left out in PyTorch's favour.
A round is a few seconds of each contender in turn; shown are the median, the extremes and the median of the rounds' ratios.

Data-fed, with --data (class folders of JPEG files, train/ and val/): `imsuper start` with RandomResizedCrop and flips, the rate of its
epochs after the first; PyTorch with ImageFolder, the same crops and a DataLoader of --workers processes (default: all cores), the compiled network.

Needs PyTorch and torchvision; nothing of imsuper does.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SECONDS = 4  # of a round, of each contender


class Torch:
    """A training step of torchvision's network on the GPU."""

    def __init__(self, args, compiled):
        import torch
        import torchvision

        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        self.torch, self.args = torch, args
        self.dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "none": None}[args.amp]
        net = getattr(torchvision.models, args.model)().cuda().to(memory_format=torch.channels_last).train()
        self.optimiser = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4, fused=True)
        self.scaler = torch.amp.GradScaler("cuda", enabled=args.amp == "fp16")
        self.loss = torch.nn.CrossEntropyLoss()
        self.net = torch.compile(net, mode="max-autotune") if compiled else net
        self.x = torch.randn(args.batch, 3, args.size, args.size, device="cuda").to(memory_format=torch.channels_last)
        self.y = torch.randint(0, 1000, (args.batch,), device="cuda")

    def step(self, x, y):
        torch = self.torch
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cuda", self.dtype, enabled=self.dtype is not None):
            loss = self.loss(self.net(x), y)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def measure(self):
        for _ in range(5):
            self.step(self.x, self.y)
        self.torch.cuda.synchronize()
        began, steps = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS:
            for _ in range(10):
                self.step(self.x, self.y)
            self.torch.cuda.synchronize()
            steps += 10
        return steps * self.args.batch / (time.perf_counter() - began)

    def fed(self):
        """Images/s from JPEG files, over about 20 s after a warm-up of 20 batches."""
        import torchvision.transforms as T
        from torchvision.datasets import ImageFolder

        torch, args = self.torch, self.args
        crops = T.Compose([T.RandomResizedCrop(args.size), T.RandomHorizontalFlip(), T.PILToTensor()])
        loader = torch.utils.data.DataLoader(ImageFolder(os.path.join(args.data, "train"), crops), batch_size=args.batch, shuffle=True,
                                             num_workers=args.workers, pin_memory=True, drop_last=True, persistent_workers=True, prefetch_factor=4)
        mean = torch.tensor([123.675, 116.28, 103.53], device="cuda").view(1, 3, 1, 1)
        std = torch.tensor([58.395, 57.12, 57.375], device="cuda").view(1, 3, 1, 1)
        seen, began = 0, None
        while True:
            for x, y in loader:
                x = x.cuda(non_blocking=True).to(memory_format=torch.channels_last)
                self.step((x.float() - mean) / std, y.cuda(non_blocking=True))
                seen += 1
                if seen == 20:
                    torch.cuda.synchronize()
                    began = time.perf_counter()
                if began and time.perf_counter() - began > 20:
                    torch.cuda.synchronize()
                    return (seen - 20) * args.batch / (time.perf_counter() - began)


def run_json(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}{done.stdout}")
    return json.loads(done.stdout)


class Imsuper:
    def __init__(self, args):
        self.args, self.answer = args, None

    def measure(self):
        a = self.args
        self.answer = run_json([a.imsuper, "bench", "trainer", "--json", "--backend", "cuda", "--model", a.model, "--classes", "1000", "--batch-size",
                                str(a.batch), "--image-size", str(a.size), "--amp", a.amp, "--passes", str(SECONDS)])
        return self.answer["images_per_second"]

    def fed(self):
        a = self.args
        folder = tempfile.mkdtemp()
        try:
            command = [a.imsuper, "start", "--data-dir", a.data, "--model", a.model, "--gpus", "1", "--amp", a.amp, "--batch-size", str(a.batch), "--image-size",
                       str(a.size), "--epochs", "4", "--validate-every", "100", "--workspace", folder, "--run-name", "fed", "--quiet"]
            if a.augmenters:
                command += ["--augmenters", str(a.augmenters)]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}")
            with open(os.path.join(folder, "fed", "summary.csv")) as file:
                lines = [line.rstrip("\n").split(",") for line in file]
            at = lines[0].index("images_per_second")
            return statistics.median(float(line[at]) for line in lines[2:])  # the first epoch plans and warms up
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imsuper", required=True)
    parser.add_argument("--data")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--amp", default="bf16", choices=["bf16", "fp16", "none"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without", action="append", default=[], choices=["eager", "compiled", "imsuper"])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--augmenters", type=int, default=0)
    parser.add_argument("--out")
    args = parser.parse_args()

    makers = {"imsuper": lambda: Imsuper(args), "eager": lambda: Torch(args, False), "compiled": lambda: Torch(args, True)}
    contenders = {name: make() for name, make in makers.items() if name not in args.without}
    rates = {name: [] for name in contenders}
    for i in range(args.rounds):
        for name in contenders if i % 2 == 0 else reversed(contenders):
            rates[name].append(contenders[name].measure())
    result = {"model": args.model, "batch": args.batch, "size": args.size, "amp": args.amp, "synthetic": rates}
    print(f"{args.model}, batch {args.batch}, {args.size} px, {args.amp}, {args.rounds} rounds of {SECONDS} s")
    for name, values in rates.items():
        ratio = ""
        if name != "imsuper" and "imsuper" in rates:
            ratio = f"   imsuper is {statistics.median(a / b for a, b in zip(rates['imsuper'], values)):.2f}x"
        print(f"  {name:<10} {statistics.median(values):9.1f} images/s  ({min(values):.1f} to {max(values):.1f}){ratio}")
    if "imsuper" in contenders:
        result["imsuper"] = contenders["imsuper"].answer
    if args.data:
        result["fed"] = {name: contenders[name].fed() for name in ("imsuper", "compiled") if name in contenders}
        for name, rate in result["fed"].items():
            print(f"  {name:<10} {rate:9.1f} images/s from JPEG files, {100 * rate / statistics.median(rates[name]):.1f} % of synthetic")
    if args.out:
        with open(args.out, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")


main()

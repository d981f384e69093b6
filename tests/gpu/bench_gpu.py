#!/usr/bin/env python3
"""The training step on a GPU beside PyTorch's, and both fed from the same JPEG files; alternating in one run.

    bench_gpu.py --imsuper BIN/imsuper [--data DIR] [--model resnet50] [--batch 256] [--size 224] [--amp bf16]
                 [--rounds 5] [--compile MODE] [--without NAME ...] [--workers N] [--out FILE.json]

Synthetic batches: `imsuper bench trainer` (each step copies a fresh uint8 batch to the GPU, normalises, trains, updates) against
torchvision's network, channels_last, autocast, cudnn.benchmark and fused SGD, whose batch lies on the GPU as float before the clock
starts: what it would cost to bring it there is left out in PyTorch's favour. First against eager mode, then, since compiling takes
minutes, against torch.compile (--compile: its mode; max-autotune takes longest). A round is a few seconds of each of the two in turn; shown
are the median, the extremes and the median of the rounds' ratios. FILE.json has what is known so far after every round, so that
nothing is lost when time runs out; a contender that fails is named there, and the others go on.

Data-fed, with --data (class folders of JPEG files, train/ and val/): `imsuper start` with RandomResizedCrop and flips, the rate of its
epochs after the first, its share of that on synthetic batches, and the stage that limits; PyTorch with ImageFolder, the same crops and a DataLoader of --workers processes (default: all cores), the compiled network.

Needs PyTorch and torchvision; nothing of imsuper does.
"""
import argparse
import collections
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
        self.net = torch.compile(net, mode=args.compile) if compiled else net
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


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}{done.stdout}")
    return done.stdout


class Imsuper:
    def __init__(self, args):
        self.args, self.answer, self.limits = args, None, {}

    def measure(self):
        a = self.args
        self.answer = json.loads(run([a.imsuper, "bench", "trainer", "--json", "--backend", "cuda", "--model", a.model, "--classes", "1000", "--batch-size",
                                      str(a.batch), "--image-size", str(a.size), "--amp", a.amp, "--passes", str(SECONDS)]))
        return self.answer["images_per_second"]

    def fed(self):
        a = self.args
        folder = tempfile.mkdtemp()
        try:
            command = [a.imsuper, "start", "--data-dir", a.data, "--model", a.model, "--gpus", "1", "--amp", a.amp, "--batch-size", str(a.batch), "--image-size",
                       str(a.size), "--epochs", "3", "--validate-every", "100", "--workspace", folder, "--run-name", "fed", "--quiet"]
            if a.augmenters:
                command += ["--augmenters", str(a.augmenters)]
            run(command)
            with open(os.path.join(folder, "fed", "stages.jsonl")) as file:
                self.limits = collections.Counter(json.loads(line)["limit"] or "unknown" for line in file)
            with open(os.path.join(folder, "fed", "summary.csv")) as file:
                lines = [line.rstrip("\n").split(",") for line in file]
            at = lines[0].index("images_per_second")
            return statistics.median(float(line[at]) for line in lines[2:])  # the first epoch plans and warms up
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class Results:
    """What is known so far: printed as it comes, and in a file."""

    def __init__(self, args):
        self.args = args
        self.all = {"model": args.model, "batch": args.batch, "size": args.size, "amp": args.amp, "compile": args.compile, "pairs": {}, "fed": {}, "failed": {}}

    def save(self):
        if self.args.out:
            with open(self.args.out + ".new", "w") as file:
                json.dump(self.all, file, indent=1)
                file.write("\n")
            os.replace(self.args.out + ".new", self.args.out)

    def failed(self, name, error):
        self.all["failed"][name] = str(error)
        self.save()
        print(f"  {name} failed: {error}", flush=True)

    def pair(self, name, rates):
        self.all["pairs"][name] = rates
        self.save()

    def show(self, name, rates):
        for contender, values in rates.items():
            print(f"  {contender:<10} {statistics.median(values):9.1f} images/s  ({min(values):.1f} to {max(values):.1f})")
        if len(rates) == 2:
            ratio = statistics.median(a / b for a, b in zip(rates["imsuper"], rates[name]))
            print(f"  imsuper is {ratio:.2f} x {name}, median of {len(rates[name])} rounds", flush=True)


def compete(args, results, imsuper, name, make):
    """Rounds of imsuper and one other in turn."""
    rates = {"imsuper": [], name: []} if imsuper else {name: []}
    began = time.perf_counter()
    try:
        contenders = {"imsuper": imsuper, name: make()} if imsuper else {name: make()}
        for contender in reversed(contenders.values()):
            contender.measure()  # compiles, plans, warms up
        print(f"{name}: ready after {time.perf_counter() - began:.0f} s", flush=True)
        for i in range(args.rounds):
            for each in contenders if i % 2 == 0 else reversed(contenders):
                rates[each].append(contenders[each].measure())
            results.pair(name, rates)
    except Exception as error:  # whatever it is, the next one has its turn
        results.failed(name, error)
    if all(rates.values()):
        rounds = min(len(values) for values in rates.values())
        results.show(name, {each: values[:rounds] for each, values in rates.items()})


def feed(args, results, name, make):
    try:
        rate = make().fed()
    except Exception as error:
        results.failed(f"{name}, fed", error)
        return None
    results.all["fed"][name] = rate
    results.save()
    print(f"  {name:<10} {rate:9.1f} images/s from JPEG files", flush=True)
    return rate


def feed_imsuper(args, results, imsuper):
    """Its share of the rate on synthetic batches, and which stage limits it."""
    rate = feed(args, results, "imsuper", lambda: imsuper)
    if rate is None:
        return
    stage, times = collections.Counter(imsuper.limits).most_common(1)[0] if imsuper.limits else ("unknown", 0)
    results.all["fed"]["limited_by"] = dict(imsuper.limits)
    try:
        synthetic = imsuper.measure()
    except Exception as error:
        results.failed("imsuper, synthetic", error)
        return
    results.all["fed"]["synthetic"] = synthetic
    results.save()
    print(f"  of {synthetic:.1f} on synthetic batches that is {rate / synthetic:.2f}; limited by {stage}, {times} of "
          f"{sum(imsuper.limits.values())} times", flush=True)


def free():
    import gc

    import torch

    gc.collect()
    torch.cuda.empty_cache()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imsuper", required=True)
    parser.add_argument("--data")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--amp", default="bf16", choices=["bf16", "fp16", "none"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", default="reduce-overhead", choices=["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"])
    parser.add_argument("--without", action="append", default=[], choices=["eager", "compiled", "imsuper"])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--augmenters", type=int, default=0)
    parser.add_argument("--out")
    args = parser.parse_args()
    results = Results(args)
    imsuper = None if "imsuper" in args.without else Imsuper(args)
    others = {"eager": lambda: Torch(args, False), "compiled": lambda: Torch(args, True)}

    print(f"{args.model}, batch {args.batch}, {args.size} px, {args.amp}, rounds of {SECONDS} s", flush=True)
    for name, make in others.items():
        if args.rounds and name not in args.without:
            compete(args, results, imsuper, name, make)
            free()
    if imsuper and imsuper.answer:
        results.all["imsuper"] = imsuper.answer
        results.save()
    if args.data:
        if imsuper:
            feed_imsuper(args, results, imsuper)
        for name, make in others.items():
            if name not in args.without:
                feed(args, results, name, make)
                free()
    if results.all["failed"]:
        sys.exit(1)


main()

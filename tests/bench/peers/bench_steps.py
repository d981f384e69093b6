#!/usr/bin/env python3
"""The training step beside PyTorch on the CPU: same network, size, batch, precision and threads, alternating in one run.

    bench_steps.py --imsuper build/release/imsuper [--rounds 5] [--threads 2] [--case resnet20,128,32,none ...] [--json]

A case is MODEL,BATCH,SIZE,AMP. PyTorch runs channels_last, SGD with momentum and weight decay, bf16 by torch.autocast; its
resnet20 is He et al.'s with projections, as ours. A round is two seconds of each. Shown are medians of the rounds, and of
the rounds' ratios; then the processor time of an image, which is what counts where the machine has other work.
Not installed with imsuper, and nothing of imsuper needs Python.
"""
import argparse
import json
import os
import statistics
import subprocess
import time

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # for both
CASES = ["resnet20,128,32,none", "resnet18,32,64,none", "resnet50,8,224,none", "resnet20,128,32,bf16", "resnet18,32,64,bf16"]


def resnet20(torch):
    from torchvision.models.resnet import BasicBlock, conv1x1
    nn = torch.nn

    def stage(before, planes, stride):
        down = nn.Sequential(conv1x1(before, planes, stride), nn.BatchNorm2d(planes)) if stride != 1 else None
        return [BasicBlock(before, planes, stride, down), BasicBlock(planes, planes), BasicBlock(planes, planes)]

    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(True), *stage(16, 16, 1),
                         *stage(16, 32, 2), *stage(32, 64, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def torch_step(case, threads):
    import torch
    import torchvision

    model, batch, size, amp = case
    torch.set_num_threads(threads)
    net = resnet20(torch) if model == "resnet20" else getattr(torchvision.models, model)(num_classes=10)
    net = net.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    x = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (batch,))

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=amp == "bf16"):
            loss = torch.nn.functional.cross_entropy(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def measure():
        step()
        began, cpu, steps = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - began < 2:
            step()
            steps += 1
        images = steps * batch
        return images / (time.perf_counter() - began), (time.process_time() - cpu) * 1e3 / images

    return measure


def our_step(case, args):
    model, batch, size, amp = case

    def measure():
        out = subprocess.run([args.imsuper, "bench", "trainer", "--json", "--model", model, "--batch-size", str(batch),
                              "--image-size", str(size), "--amp", amp, "--trainer-threads", str(args.threads),
                              "--passes", "2"], check=True, stdout=subprocess.PIPE).stdout
        answer = json.loads(out)
        return answer["images_per_second"], answer["cpu_ms_per_image"]

    return measure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imsuper", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--case", action="append")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    print(f"{args.rounds} rounds, {args.threads} threads, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    print(f"{'case':<24} {'imsuper':>9} {'PyTorch':>9} {'ratio':>7}   {'CPU ms':>8} {'PyTorch':>9} {'ratio':>7}")
    for text in args.case or CASES:
        model, batch, size, amp = text.split(",")
        case = (model, int(batch), int(size), amp)
        ours, theirs = our_step(case, args), torch_step(case, args.threads)
        rounds = [(ours(), theirs()) if i % 2 == 0 else (theirs(), ours())[::-1] for i in range(args.rounds)]
        if args.json:
            print(json.dumps({"case": text, "rounds": rounds}))
            continue
        columns = [[a[k] for a, _ in rounds] for k in (0, 1)] + [[b[k] for _, b in rounds] for k in (0, 1)]
        rate, cpu, torch_rate, torch_cpu = (statistics.median(c) for c in columns)
        speed = statistics.median(a[0] / b[0] for a, b in rounds)
        work = statistics.median(b[1] / a[1] for a, b in rounds)
        print(f"{text:<24} {rate:>9.1f} {torch_rate:>9.1f} {speed:>6.2f}x   {cpu:>8.2f} {torch_cpu:>9.2f} {work:>6.2f}x")


main()

#!/usr/bin/env python3
"""How far the gradients of a whole network are from float64's, beside PyTorch's fp32 on the same numbers.

    gradient_errors.py --run-network build/release/run_network [--backend onednn ref] [--threads 2] [--seeds 3] [--model resnet20]

Of each tensor |ours - exact| / |exact| (2-norms); shown are median and largest over the convolutions' weights, and the same over all
tensors. Weights are PyTorch's initial ones, pixels are random. A ReLU whose input is nearer to zero than the errors of fp32 takes
either side, for a whole value of the gradient: that, and not the sums of a single op, is most of the distance, of PyTorch too. So the
number of seeds counts, and `flips` shows for PyTorch how many of the network's ReLUs took the other side.
Exit status 1: over the seeds, the median of a backend is more than --limit (3) times PyTorch's.
"""
import argparse
import os
import statistics
import subprocess
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "golden"))
import make_networks as golden  # noqa: E402
from draw import MEAN, STD  # noqa: E402

NETS = {"resnet20": (golden.Basic, [3, 3, 3], 16, True), "resnet18": (golden.Basic, [2, 2, 2, 2], 64, False),
        "resnet50": (golden.Bottleneck, [3, 4, 6, 3], 64, False)}
signs = []


def relu(x):
    signs.append(x.detach() > 0)
    return F.relu(x)


golden.relu = relu


def by_torch(net, pixels, labels, dtype):
    """Loss, gradients by name, and the side of each ReLU."""
    signs.clear()
    net = net.to(dtype)
    net.zero_grad()
    mean, std = np.float32(MEAN).astype("f8"), np.float32(STD).astype("f8")
    x = torch.from_numpy(((pixels / 255 - mean) / std).transpose(0, 3, 1, 2).copy()).to(dtype)
    loss = F.cross_entropy(net(x), torch.from_numpy(labels).long())
    loss.backward()
    return loss.item(), {k: p.grad.double().numpy().copy() for k, p in net.named_parameters()}, torch.cat([s.flatten() for s in signs])


def by_imsuper(args, backend, net, pixels, labels):
    line = f"{args.model} {args.classes} {len(labels)} {args.size} 0\n".encode()
    tensors = [t.float().numpy().tobytes() for t in net.state_dict().values() if t.dim() > 0]
    data = line + b"".join(tensors) + pixels.tobytes() + labels.tobytes()
    out = subprocess.run([args.run_network, backend, str(args.threads)], input=data, stdout=subprocess.PIPE, check=True).stdout
    flat, at, grads = np.frombuffer(out, "f4").astype("f8"), 1, {}
    for k, p in net.named_parameters():
        grads[k] = flat[at:at + p.numel()].reshape(p.shape)
        at += p.numel()
    assert at == len(flat)
    return flat[0], grads


def errors(got, exact):
    each = {k: float(np.linalg.norm(got[k] - exact[k]) / np.linalg.norm(exact[k])) for k in exact}
    convs = [v for k, v in each.items() if exact[k].ndim == 4]
    return statistics.median(convs), max(convs), statistics.median(each.values()), max(each.values())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--run-network", required=True)
    p.add_argument("--backend", nargs="+", default=["onednn", "ref"])
    p.add_argument("--model", choices=NETS, default="resnet20")
    p.add_argument("--size", type=int, default=32)
    p.add_argument("--batch", type=int, default=80)
    p.add_argument("--classes", type=int, default=10)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--limit", type=float, default=3)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{args.model}, {args.size} px, batch {args.batch}, {args.threads} threads; PyTorch {torch.__version__}\n")
    print("| seed | by | loss | convolutions: median | largest | all tensors: median | largest | flips |\n|---|---|---|---|---|---|---|---|")
    medians = {}
    for seed in range(args.seeds):
        torch.manual_seed(seed)
        r = np.random.default_rng(seed)
        pixels = r.integers(0, 256, (args.batch, args.size, args.size, 3), dtype=np.uint8)
        labels = r.integers(0, args.classes, args.batch, dtype=np.int32)
        net = golden.Net(*NETS[args.model], args.classes)
        torch_init = {k: v.clone() for k, v in net.state_dict().items()}
        exact_loss, exact, sides = by_torch(net, pixels, labels, torch.float64)

        def again():
            net.float().load_state_dict(torch_init)
            return net

        def show(name, loss, grads, flips):
            e = errors(grads, exact)
            medians.setdefault(name, []).append(e[0])
            print(f"| {seed} | {name} | {abs(loss - exact_loss) / exact_loss:.1e} | " + " | ".join(f"{v:.1e}" for v in e) + f" | {flips} |", flush=True)

        loss, grads, other = by_torch(again(), pixels, labels, torch.float32)
        show("PyTorch", loss, grads, int((other != sides).sum()))
        for backend in args.backend:
            show(backend, *by_imsuper(args, backend, again(), pixels, labels), "")
    print()
    bad = 0
    for name, m in medians.items():
        quotient = statistics.median(m) / statistics.median(medians["PyTorch"])
        bad += quotient > args.limit
        print(f"{name}: median {statistics.median(m):.1e} of {len(m)} seeds, {quotient:.2f} times PyTorch's")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

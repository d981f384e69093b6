#!/usr/bin/env python3
"""Rounding errors of the trainer's ops, beside PyTorch's fp32 on the same numbers, both against float64.

    op_errors.py --run-op build/release/run_op [--backend onednn] [--threads 2] [--seeds 3] [--only TEXT] [--amp none|bf16]

For each op and shape, and each of y, dx, dw ...: the relative error |ours - exact| / |exact| (2-norms), PyTorch's, and the
quotient of the two; of several seeds the worst quotient's. Shapes are those of resnet20 at 32 px with 80 images and of resnet50
at 224 px with 8. Inputs are like those of a network: behind a ReLU where a convolution, a pool or the classifier reads them, with
means of up to two deviations where batch norm does. In bf16 PyTorch runs the op with torch.autocast's types: values and weights
in bf16, batch norm's numbers in fp32; float64 takes the rounded inputs, so that only the op's own errors count.
Exit status 1: a quotient is above --limit (3) where the error is above 1e-7 (for bf16: 1e-3).
"""
import argparse
import os
import subprocess
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

EPS, MOMENTUM = 1e-5, 0.1


def conv(name, n, c, size, k, kernel, stride):
    pad = kernel // 2
    out = (size + 2 * pad - kernel) // stride + 1
    return dict(name=f"conv {kernel}x{kernel}" + (f" s{stride}" if stride > 1 else ""), net=name, kind="conv", x=(n, c, size, size),
                y=(n, k, out, out), kernel=kernel, stride=stride, pad=pad)


def plain(name, title, kind, n, c, size, k=None, out=None, **more):
    k, out = k or c, out or size
    return dict(name=title, net=name, kind=kind, x=(n, c, size, size), y=(n, k, out, out), **more)


def shapes():
    a, b = "resnet20 32 px x 80", "resnet50 224 px x 8"
    n = 80
    yield conv(a, n, 3, 32, 16, 3, 1)
    yield conv(a, n, 16, 32, 16, 3, 1)
    yield conv(a, n, 16, 32, 32, 3, 2)
    yield conv(a, n, 32, 16, 32, 3, 1)
    yield conv(a, n, 64, 8, 64, 3, 1)
    for c, size in ((16, 32), (32, 16), (64, 8)):
        yield plain(a, "batch norm", "bn", n, c, size)
        yield plain(a, "batch norm, ReLU", "bn", n, c, size, relu=1)
        yield plain(a, "batch norm, add, ReLU", "bn", n, c, size, relu=1, adds=1)
    yield plain(a, "batch norm, evaluation", "bn", n, 16, 32, relu=1, training=0)
    yield plain(a, "add, ReLU", "add", n, 16, 32, relu=1)
    yield plain(a, "average pool", "gap", n, 64, 8, out=1)
    yield plain(a, "linear", "fc", n, 64, 1, k=10)
    yield plain(a, "softmax, loss", "loss", n, 10, 1)
    n = 8
    yield conv(b, n, 3, 224, 64, 7, 2)
    yield conv(b, n, 64, 56, 64, 1, 1)
    yield conv(b, n, 64, 56, 64, 3, 1)
    yield conv(b, n, 64, 56, 256, 1, 1)
    yield conv(b, n, 128, 56, 128, 3, 2)
    yield conv(b, n, 256, 14, 256, 3, 1)
    yield conv(b, n, 512, 7, 512, 3, 1)
    yield conv(b, n, 2048, 7, 512, 1, 1)
    for c, size in ((64, 112), (256, 56), (1024, 14), (2048, 7)):
        yield plain(b, "batch norm, ReLU", "bn", n, c, size, relu=1)
    yield plain(b, "batch norm, add, ReLU", "bn", n, 256, 56, relu=1, adds=1)
    yield plain(b, "max pool", "maxpool", n, 64, 112, out=56, kernel=3, stride=2, pad=1)
    yield plain(b, "blur", "blur", n, 64, 112, out=56, kernel=3, stride=2, pad=1)
    yield plain(b, "average pool", "gap", n, 2048, 7, out=1)
    yield plain(b, "linear", "fc", n, 2048, 1, k=1000)
    yield plain(b, "softmax, loss", "loss", n, 1000, 1)


def inputs(op, seed):
    """Numbers in fp32: x, x2, dy, w, b, mean, var."""
    r = np.random.default_rng([seed, *op["x"], *op["y"]])
    n, c, h, w = op["x"]
    kind, k = op["kind"], op["y"][1]
    f = lambda *s: r.standard_normal(s).astype("f4")  # noqa: E731
    x = f(*op["x"])
    if kind == "bn":
        x = x * r.uniform(0.3, 2, (1, c, 1, 1)).astype("f4") + r.uniform(-2, 2, (1, c, 1, 1)).astype("f4")
    elif kind in ("conv", "gap", "fc", "maxpool", "blur") and c != 3:
        x = np.maximum(x, 0)
    elif kind == "loss":
        x = x * 2
    v = dict(x=x, dy=f(*op["y"]) * np.float32(1e-3))
    v["x2"] = f(*op["x"])
    if kind == "conv":
        v["w"] = f(k, c, op["kernel"], op["kernel"]) * np.float32((2 / (c * op["kernel"] ** 2)) ** 0.5)
    elif kind == "fc":
        v["w"] = f(k, c) * np.float32(c ** -0.5)
    elif kind == "bn":
        v["w"] = r.uniform(0.5, 1.5, c).astype("f4")
    elif kind == "loss":
        v["w"] = r.integers(0, c, n).astype("f4")
    v["b"] = f(k) * np.float32(0.1)
    v["mean"], v["var"] = f(c), r.uniform(0.5, 2, c).astype("f4")
    return v


def narrowed(op, v, amp):
    """The values as the ops before would have stored them."""
    if amp != "bf16":
        return v
    names = ["x", "x2", "dy"] if op["kind"] not in ("fc", "loss") else ["x"] if op["kind"] == "fc" else []
    return {k: torch.from_numpy(a).bfloat16().float().numpy() if k in names else a for k, a in v.items()}


def by_torch(op, v, dtype, amp):
    """y, dx, dx2, dw, db, running mean, running variance by PyTorch in that type."""
    kind, training = op["kind"], op.get("training", 1)
    low = torch.bfloat16 if amp == "bf16" and dtype == torch.float32 else dtype
    t = {k: torch.from_numpy(np.array(a)).to(dtype) for k, a in v.items()}
    x, x2 = t["x"].to(low).requires_grad_(), t["x2"].to(low).requires_grad_()
    w = b = None
    if kind in ("conv", "fc", "bn"):
        w = t["w"]
        if amp == "bf16" and kind != "bn":
            w = w.float().bfloat16().to(dtype)  # the op's input is the rounded weight
        w = (w.to(low) if kind != "bn" else w).detach().requires_grad_()
    if kind in ("fc", "bn"):
        b = t["b"].detach().requires_grad_()
    if kind == "conv":
        y = F.conv2d(x, w, None, op["stride"], op["pad"])
    elif kind == "bn":
        y = F.batch_norm(x, t["mean"], t["var"], w, b, bool(training), MOMENTUM, EPS)
        y = y + x2 if op.get("adds") else y
        y = F.relu(y) if op.get("relu") else y
    elif kind == "add":
        y = F.relu(x + x2)
    elif kind == "maxpool":
        y = F.max_pool2d(x, op["kernel"], op["stride"], op["pad"])
    elif kind == "blur":
        k = torch.tensor([1.0, 2, 1], dtype=low)
        k = (k[:, None] * k[None] / 16).expand(op["x"][1], 1, 3, 3)
        y = F.conv2d(x, k, None, op["stride"], 1, groups=op["x"][1])
    elif kind == "gap":
        y = F.adaptive_avg_pool2d(x, 1)
    elif kind == "fc":
        y = F.linear(x.flatten(1), w, b.to(low))
    else:
        y = F.cross_entropy(x.flatten(1), t["w"].long(), reduction="sum")
    if kind == "loss":
        (y / op["x"][0]).backward()
    elif training:
        y.backward(t["dy"].reshape(y.shape).to(y.dtype))
    out = dict(y=y, dx=x.grad, dx2=x2.grad if op.get("adds") else None, dw=w.grad if w is not None else None,
               db=b.grad if b is not None else None)
    if kind == "bn" and training:
        out["mean"], out["var"] = t["mean"], t["var"]
    if op["x"][1] == 3 and kind == "conv":
        out["dx"] = None
    return {k: a.detach().double().numpy() for k, a in out.items() if a is not None}


def by_imsuper(op, v, args):
    kind, adds, training = op["kind"], op.get("adds", 0), op.get("training", 1)
    numbers = [*op["x"], *op["y"][1:], op.get("kernel", 0), op.get("stride", 0), op.get("pad", 0), op.get("relu", 0), adds, training,
               int(args.amp == "bf16")]
    line = f"{kind} " + " ".join(map(str, numbers)) + "\n"
    parts = [v["x"]] + ([v["x2"]] if adds or kind == "add" else []) + ([] if kind == "loss" else [v["dy"]])
    parts += [v["w"]] if "w" in v else []
    parts += [v["b"]] if kind in ("bn", "fc") else []
    parts += [v["mean"], v["var"]] if kind == "bn" else []
    data = line.encode() + b"".join(np.ascontiguousarray(p, "f4").tobytes() for p in parts)
    out = subprocess.run([args.run_op, args.backend, str(args.threads)], input=data, stdout=subprocess.PIPE, check=True).stdout
    flat, at, got = np.frombuffer(out, "f4").astype("f8"), 0, {}
    sizes = [("y", () if kind == "loss" else op["y"]), ("dx", op["x"])] + ([("dx2", op["x"])] if adds else [])
    sizes += [("dw", v["w"].shape)] if "w" in v and kind != "loss" else []
    sizes += [("db", v["b"].shape)] if kind in ("bn", "fc") else []
    sizes += [("mean", v["mean"].shape), ("var", v["var"].shape)] if kind == "bn" else []
    for name, shape in sizes:
        count = int(np.prod(shape, dtype=int))
        got[name] = flat[at:at + count].reshape(shape)
        at += count
    assert at == len(flat), (kind, at, len(flat))
    return got


def error(got, exact):
    exact = exact.reshape(got.shape)
    return float(np.linalg.norm((got - exact).ravel()) / (np.linalg.norm(exact.ravel()) or 1))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--run-op", required=True)
    p.add_argument("--backend", default="onednn")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--only", default="")
    p.add_argument("--limit", type=float, default=3)
    p.add_argument("--amp", choices=["none", "bf16"], default="none")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    print(f"backend {args.backend}, {args.threads} threads, {args.amp}; PyTorch {torch.__version__}; {args.seeds} seeds\n")
    print("| network | op | x -> y | of | ours | PyTorch | quotient |\n|---|---|---|---|---|---|---|")
    noise, high = (1e-7, 0) if args.amp == "none" else (1e-3, 0)
    for op in shapes():
        if args.only not in op["name"]:
            continue
        worst = {}
        for seed in range(args.seeds):
            v = narrowed(op, inputs(op, seed), args.amp)
            exact, theirs, ours = by_torch(op, v, torch.float64, args.amp), by_torch(op, v, torch.float32, args.amp), by_imsuper(op, v, args)
            for key in exact:
                mine, its = error(ours[key], exact[key]), error(theirs[key], exact[key])
                ratio = mine / its if its > 0 else 1.0 if mine == 0 else float("inf")
                if key not in worst or ratio > worst[key][2]:
                    worst[key] = (mine, its, ratio)
        shape = f"{op['x'][1]}x{op['x'][2]}x{op['x'][3]} -> {op['y'][1]}x{op['y'][2]}x{op['y'][3]}"
        for key, (mine, its, ratio) in worst.items():
            bad = ratio > args.limit and mine > noise
            high += bad
            print(f"| {op['net']} | {op['name']} | {shape} | {key} | {mine:.1e} | {its:.1e} | {ratio:.2f}{' **' if bad else ''} |", flush=True)
    return 1 if high else 0


if __name__ == "__main__":
    sys.exit(main())

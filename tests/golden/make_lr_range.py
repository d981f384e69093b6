#!/usr/bin/env python3
"""Makes lr_range.txt: learning-rate range tests by the definitions of torch-lr-finder and fastai, where both agree with what
imsuper suggests: the loss falls before it rises. Needs numpy (2.4.6):
    python3 make_lr_range.py > lr_range.txt
A case is three lines: `case STEPS TAKEN STEEPEST VALLEY MINIMUM LR_FIRST LR_LAST` (indices; the rates 1e-7 .. 10 of the first and
the last step taken), `loss` with the raw losses up to the end, `smooth` with both last smoothed losses. Losses are multiples of 2^-20."""
import numpy as np


def finder(losses):
    """torch_lr_finder.LRFinder.range_test: smooth_f 0.05, diverge_th 5."""
    out, best = [], None
    for i, loss in enumerate(losses):
        if i == 0:
            best = loss
        else:
            loss = 0.05 * loss + 0.95 * out[-1]
            best = min(best, loss)
        out.append(loss)
        if loss > 5 * best:
            break
    return out


def fastai(losses):
    """fastai.learner.AvgSmoothLoss(beta=0.98) and LRFinder.after_batch."""
    out, val, best = [], 0.0, float("inf")
    for i, loss in enumerate(losses):
        val = loss + 0.98 * (val - loss)
        smooth = val / (1 - 0.98 ** (i + 1))
        out.append(smooth)
        best = min(best, smooth)
        if smooth > 4 * best:
            break
    return out


def steepest(losses):
    return 10 + int(np.gradient(np.array(losses[10:-5])).argmin())


def valley(losses):
    n = len(losses)
    max_start, max_end = 0, 0
    lds = [1] * n
    for i in range(1, n):
        for j in range(0, i):
            if losses[i] < losses[j] and lds[i] < lds[j] + 1:
                lds[i] = lds[j] + 1
            if lds[max_end] < lds[i]:
                max_end = i
                max_start = max_end - lds[max_end]
    sections = (max_end - max_start) / 3
    return max_start + int(sections) + int(sections / 2)


def case(steps, losses):
    losses = [round(float(x) * 2**20) / 2**20 for x in losses]
    bad = next((i for i, x in enumerate(losses) if not np.isfinite(x)), len(losses))
    a, b = finder(losses[:bad]), fastai(losses[:bad])
    taken = min(len(a), len(b))
    a, b = a[:taken], b[:taken]
    first = steps // 10
    kept = b[first:-5]
    lr = lambda i: 1e-7 * (10 / 1e-7) ** (i / (steps - 1))
    print("case", steps, taken, steepest(a), first + valley(kept), first + int(np.argmin(kept)), f"{lr(0):.17g} {lr(taken - 1):.17g}")
    print("loss", *[f"{x:.17g}" for x in losses[: max(taken, 1)]])
    print("smooth", f"{a[-1]:.17g} {b[-1]:.17g}")


rng = np.random.default_rng(5)
for steps, level, depth, edge in ((100, 2.3, 1.2, 0.75), (100, 6.9, 1.0, 0.6), (200, 2.3, 1.9, 0.8), (50, 4.6, 2.0, 0.7), (500, 6.9, 3.0, 0.9)):
    x = np.arange(steps) / (steps - 1)
    y = level - depth / (1 + np.exp(-25 * (x - edge + 0.25))) + np.exp(np.minimum(60 * (x - edge), 8))
    case(steps, y + 0.05 * level * rng.standard_normal(steps) * 0.3)
case(100, 2.3 - 0.01 * np.arange(100))  # falls to its end: the whole is a valley

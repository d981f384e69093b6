"""What the scripts of golden numbers have in common: draw.h in Python, and how a tensor is summed up in a line."""
import numpy as np
import torch

DOT_STREAM = 1001  # the stream that stored dot products are taken with
LABELS = 1000
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def bits(stream, count):
    """32 bits per index: Chris Wellons' lowbias32 over stream * 0x9e3779b9 + index."""
    x = (np.arange(count, dtype=np.uint64) + stream * 0x9E3779B9) & 0xFFFFFFFF
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
    return x ^ (x >> 16)


def draw(stream, count):
    """Multiples of 2^-23 in [-1, 1)."""
    return (bits(stream, count) >> 8).astype(np.float64) * 2.0**-23 - 1


def images(stream, n, size):
    """Random pixels as a network gets them."""
    pixels = (bits(stream, n * size * size * 3) >> 24).astype(np.float64).reshape(n, size, size, 3)
    mean, std = np.float32(MEAN).astype(np.float64), np.float32(STD).astype(np.float64)
    return torch.from_numpy(((pixels / 255 - mean) / std).transpose(0, 3, 1, 2).copy())


def labels(stream, n, classes):
    return torch.from_numpy((bits(stream, n) % classes).astype(np.int64))


def summary(t, digits, values=4):
    """`NORM DOT V0 V1 V2 V3`: DOT is the sum of the tensor times draw(DOT_STREAM, .), V are its first values."""
    v = t.detach().numpy().reshape(-1)
    first = list(v[:values]) + [0] * (values - min(values, v.size))
    return " ".join(f"{x:.{digits}g}" for x in [np.linalg.norm(v), np.dot(v, draw(DOT_STREAM, v.size)), *first])


def distance(got, exact):
    """The worst of a run's numbers, (WHAT, [A, B]) in a list: relative, of `step` to the value, of tensors to the norm, A."""
    worst = 0.0
    for (what, a), (_, b) in zip(got, exact):
        scales = b if what.startswith("step") else [b[0]] * 2
        worst = max([worst] + [abs(x - y) / s for x, y, s in zip(a, b, scales)])
    return worst


def clearance(got, exact):
    """Of the inputs of ReLUs in fp32 and in float64: the smallest value over the largest error in the same tensor. A dropped branch behind
    a ReLU is 0 on both sides."""
    return min(np.abs(b[b != 0]).min() / max(np.abs(a - b).max(), 1e-12) for a, b in zip(got, exact))

#!/usr/bin/env python3
"""Makes recipe.txt: what timm 1.0.31 and PyTorch 2.15 compute for mixing, the averages' decay and the loss's scale.

Inputs are not stored: both sides compute them from `draw`. Needs torch, timm, numpy:
    python3 make_recipe.py > recipe.txt
Lines:
    box SIZE LAMBDA CY CX Y0 Y1 X0 X1 LAMBDA     timm.data.mixup.cutmix_bbox_and_lam with the centre given
    mix CUT LAMBDA CY CX, then x, dlogits NORM DOT V0 V1 V2 V3 and loss L: a batch of 6 through timm's Mixup
    bce THRESHOLD SUM, then loss and dlogits: the same targets through timm's BinaryCrossEntropy
    ema DECAY T VALUE                            timm's ModelEmaV3.get_decay with use_warmup
    scaler STEP SCALE TRACKER                    torch.amp.GradScaler after so many steps"""
import numpy as np
import torch
from timm.data import mixup
from timm.loss import BinaryCrossEntropy, SoftTargetCrossEntropy
from timm.utils import ModelEmaV3

from draw import LABELS, draw, images, labels, summary

PIXELS, LOGITS = 1002, 1003
N, SIZE, CLASSES, SMOOTHING = 6, 9, 7, 0.1


def show(kind, t):
    print(kind, summary(t, 12))


class Centre:
    """Gives timm these instead of random integers."""

    def __init__(self, *values):
        self.values, self.randint = list(values), np.random.randint

    def __enter__(self):
        np.random.randint = lambda *a, **k: self.values.pop(0)

    def __exit__(self, *a):
        np.random.randint = self.randint


for size in (9, 32, 224):
    for lam in (0.01, 0.3, 0.5, 0.77, 0.999):
        for cy, cx in ((0, size - 1), (size // 2, size // 3), (size - 1, size - 1)):
            with Centre(cy, cx):
                box, corrected = mixup.cutmix_bbox_and_lam((N, 3, size, size), lam)
            print("box", size, lam, cy, cx, *[int(b) for b in box], f"{corrected:.12g}")

for cut, lam, cy, cx in ((0, 0.7, 0, 0), (0, 0.2, 0, 0), (1, 0.6, 4, 2), (1, 0.3, 8, 0)):
    x, y = images(PIXELS, N, SIZE), labels(LABELS, N, CLASSES)
    m = mixup.Mixup(mixup_alpha=1, cutmix_alpha=1, label_smoothing=SMOOTHING, num_classes=CLASSES)
    m._params_per_batch = lambda: (lam, bool(cut))
    torch.set_default_dtype(torch.float64)
    with Centre(cy, cx):
        x, target = m(x, y)
    logits = torch.from_numpy(3 * draw(LOGITS, N * CLASSES).reshape(N, CLASSES)).requires_grad_()
    loss = SoftTargetCrossEntropy()(logits, target)
    loss.backward()
    print("mix", cut, lam, cy, cx)
    show("x", x)
    print("loss", f"{loss.item():.12g}")
    show("dlogits", logits.grad)
    for threshold, sums in ((0, False), (0.2, False), (0.2, True), (0, True)):
        logits.grad = None
        loss = BinaryCrossEntropy(smoothing=0, target_threshold=threshold or None, sum_classes=sums)(logits, target)
        loss.backward()
        print("bce", threshold, int(sums))
        print("loss", f"{loss.item():.12g}")
        show("dlogits", logits.grad)

for decay in (0.9, 0.9999):
    ema = ModelEmaV3(torch.nn.Linear(1, 1), decay=decay, use_warmup=True)
    for t in (1, 2, 3, 10, 40, 1000, 1000000):
        print("ema", decay, t, f"{ema.get_decay(t):.12g}")

# GradScaler drives this function; found_inf at these steps.
scale, tracker = torch.tensor(65536.0, dtype=torch.float32), torch.tensor(0, dtype=torch.int32)
for step in range(1, 300001):
    found = torch.tensor(float(step in (3, 2500, 2501, 2502, 9000, 9999)), dtype=torch.float32)
    torch._amp_update_scale_(scale, tracker, found, 2.0, 0.5, 2000)
    if step in (1, 2, 3, 4, 2002, 2003, 2500, 2502, 2503, 4502, 4503, 9000, 10000, 12000, 100000, 299999, 300000):
        print("scaler", step, f"{scale.item():.17g}", tracker.item())

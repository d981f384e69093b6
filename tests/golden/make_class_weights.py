#!/usr/bin/env python3
"""Makes class_weights.txt: torch.nn.CrossEntropyLoss(weight=..., label_smoothing=...) in float64, for backend_class_weights.

Logits, labels and weights are not stored: both sides compute them from `draw`.
    python3 make_class_weights.py > class_weights.txt
Needs torch (2.15.0 was used) and numpy. Lines: `smoothing S`, then `loss L`, the mean, and `dlogits` with its gradient."""
import torch

from draw import draw, labels

N, CLASSES, LABELS, LOGITS, WEIGHTS = 6, 7, 1000, 1003, 1004

weight = torch.from_numpy(draw(WEIGHTS, CLASSES) + 1.5)
for smoothing in (0.0, 0.1):
    logits = torch.from_numpy(3 * draw(LOGITS, N * CLASSES).reshape(N, CLASSES)).requires_grad_()
    loss = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=smoothing)(logits, labels(LABELS, N, CLASSES))
    loss.backward()
    print(f"smoothing {smoothing}")
    print(f"loss {loss.item():.9g}")
    print("dlogits", " ".join(f"{v:.9g}" for v in logits.grad.reshape(-1).tolist()))

#!/usr/bin/env python3
"""Makes multi_label.txt: torch.nn.BCEWithLogitsLoss in float64, and average_precision_score and f1_score of scikit-learn, for
backend_multi_label and unit_trainer_average_precision.

Logits and labels are not stored: both sides compute them from `draw`. Sample n has label set n % SETS, set s has class k where bit k
of draw's number s is 1; the last set is empty.
    python3 make_multi_label.py > multi_label.txt
Needs torch (2.15.0 was used), scikit-learn (1.9.1) and numpy. Lines: `loss NAME L`, then `dlogits` with its gradient, for the plain loss,
with pos_weight, and of samples mixed with those in reverse order (lambda 0.7); then of the scores `ap`, each class's, `map`, `f1`,
`f1_macro`; `ties` is the first class's with scores rounded to halves."""
import numpy as np
import torch
from sklearn.metrics import average_precision_score, f1_score

from draw import bits, draw

N, CLASSES, SETS, LABELS, LOGITS, WEIGHTS = 12, 37, 5, 1000, 1003, 1004

held = np.array([[0 if s == SETS - 1 else int(bits(LABELS, SETS * CLASSES)[s * CLASSES + k]) & 1 for k in range(CLASSES)]
                 for s in range(SETS)], np.float64)
y = torch.from_numpy(held[np.arange(N) % SETS])
weight = torch.from_numpy(draw(WEIGHTS, CLASSES) + 1.5)
for name, target, pos_weight in (("plain", y, None), ("weighted", y, weight), ("mixed", 0.7 * y + 0.3 * y.flip(0), None)):
    logits = torch.from_numpy(3 * draw(LOGITS, N * CLASSES).reshape(N, CLASSES)).requires_grad_()
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=pos_weight)(logits, target)
    loss.backward()
    print(f"loss {name} {loss.item():.9g}")
    print("dlogits", " ".join(f"{v:.9g}" for v in logits.grad.reshape(-1).tolist()))
x, t = (3 * draw(LOGITS, N * CLASSES).reshape(N, CLASSES)).astype(np.float32), held[np.arange(N) % SETS].astype(int)
some = t.sum(0) > 0
ap = [average_precision_score(t[:, k], x[:, k]) if some[k] else -1 for k in range(CLASSES)]
print("ap", " ".join(f"{v:.9g}" for v in ap))
print(f"map {average_precision_score(t[:, some], x[:, some], average='macro'):.9g}")
print(f"f1 {f1_score(t, x > 0, average='micro', zero_division=0):.9g}")
print(f"f1_macro {f1_score(t[:, some], x[:, some] > 0, average='macro', zero_division=0):.9g}")
first = int(np.argmax(some))
print(f"ties {average_precision_score(t[:, first], np.round(2 * x[:, first]) / 2):.9g}")

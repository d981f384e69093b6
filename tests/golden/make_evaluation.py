#!/usr/bin/env python3
"""Writes evaluation.txt: precision, recall, F1, confusion matrix and averages of scikit-learn, calibration error of
torchmetrics (15 bins, l1), for labels and predictions drawn here. One class has no prediction, one is never right."""
import sys

import numpy as np
import sklearn
import torch
import torchmetrics
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torchmetrics.functional.classification import binary_calibration_error

CLASSES, IMAGES = 6, 120
rng = np.random.default_rng(5)
labels = np.concatenate([np.arange(CLASSES), rng.integers(0, CLASSES, IMAGES - CLASSES)])
predicted = np.where(rng.random(IMAGES) < 0.6, labels, rng.integers(0, CLASSES - 1, IMAGES))
predicted[predicted == CLASSES - 1] = 0  # nothing is taken for the last class
predicted[(labels == 2) & (predicted == 2)] = 1  # and the third is never right
confidence = np.float32(rng.uniform(0.18, 0.999, IMAGES))
right = torch.tensor(predicted == labels)

# multiclass_calibration_error() takes whole rows of probabilities; what it reduces them to is this call.
ece = float(binary_calibration_error(torch.tensor(confidence), right.int(), n_bins=15, norm="l1"))
edges = torch.linspace(0, 1, 16)[1:-1]
assert float((torch.tensor(confidence)[:, None] - edges).abs().min()) > 1e-5, "a confidence on the border of two bins"


def averages(kind):
    return precision_recall_fscore_support(labels, predicted, average=kind, zero_division=0)[:3]


per_class = precision_recall_fscore_support(labels, predicted, zero_division=0)
confusion = confusion_matrix(labels, predicted)
with open(sys.argv[1] if len(sys.argv) > 1 else "evaluation.txt", "w") as out:
    print(f"# make_evaluation.py, scikit-learn {sklearn.__version__}, torchmetrics {torchmetrics.__version__}", file=out)
    print("# classes images; label, predicted, confidence of each image; of each class precision recall f1 support and its", file=out)
    print("# row of the confusion matrix; macro and weighted precision recall f1; calibration error; accuracy", file=out)
    print(CLASSES, IMAGES, file=out)
    for row in zip(labels, predicted, confidence):
        print(row[0], row[1], f"{row[2]:.9g}", file=out)
    for k in range(CLASSES):
        print(*(f"{per_class[i][k]:.12g}" for i in range(3)), per_class[3][k], *confusion[k], file=out)
    print(*(f"{v:.12g}" for v in (*averages("macro"), *averages("weighted"), ece, float(right.float().mean()))), file=out)

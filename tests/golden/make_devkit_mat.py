#!/usr/bin/env python3
"""Makes devkit_meta.mat and the seeds of tests/fuzz/corpus/mat: arrays like the "synsets" of ILSVRC2012's devkit, which may not be
given away: 1000 classes and 40 groups of them in an order of its own. Prints line N: number, name, as
scipy.io.loadmat reads them. Needs scipy (1.17.1 made the files that are here):
    python3 make_devkit_mat.py devkit_meta.mat ../fuzz/corpus/mat > devkit_meta.txt"""
import random
import sys

import numpy as np
import scipy.io

FIELDS = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height", "num_train_images"]


def synsets(classes, groups, seed):
    random.seed(seed)
    ids = random.sample(range(1440764, 15075141), classes + groups)
    array = np.zeros((classes + groups, 1), dtype=[(name, object) for name in FIELDS])
    for i, wnid in enumerate(ids):
        is_group = i >= classes
        children = np.array([random.sample(range(1, classes + 1), 2)] if is_group else [[]], dtype=np.uint16)
        array[i, 0] = (np.array([[i + 1]], dtype=np.uint16 if seed % 2 else np.float64), "n%08d" % wnid, "word %d, it's" % i, "über ß" if i % 7 == 0 else "a gloss",
                       np.array([[2 if is_group else 0]], dtype=np.uint8), children, np.array([[i % 5]], dtype=np.uint8),
                       np.array([[1300]], dtype=np.uint16))
    return array


def main(path, corpus):
    scipy.io.savemat(path, {"other": np.arange(12.0).reshape(3, 4), "synsets": synsets(1000, 40, 1)}, do_compression=True)
    scipy.io.savemat(corpus + "/packed", {"synsets": synsets(3, 1, 1)}, do_compression=True)
    scipy.io.savemat(corpus + "/plain", {"before": "text", "synsets": synsets(2, 1, 2)}, do_compression=False)
    scipy.io.savemat(corpus + "/others", {"x": np.eye(3), "synsets": [1, 2]}, do_compression=True)
    for row in scipy.io.loadmat(path, squeeze_me=True)["synsets"]:
        print(row["ILSVRC2012_ID"], row["WNID"])


main(*sys.argv[1:])

#!/usr/bin/env python3
"""Runs an ONNX file of `imsuper export` with onnxruntime on images that imsuper sends, and compares the answers with imsuper's own.

    prove_onnx.py --check
    prove_onnx.py FILE uint8|float CLASSES MEAN STD <images

For each image stdin has two 32-bit numbers (width, height), width * height RGB pixels and CLASSES logits (32-bit floats). For `float`
the pixels are those of the crop, and are normalised here. Prints one JSON object; imsuper writes it into FILE.proof.json. Needs numpy
and onnxruntime; imsuper itself needs no Python.
"""
import json
import struct
import sys


def softmax(x):
    e = np.exp(x.astype(np.float64) - x.max())
    return e / e.sum()


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def images(stream, classes):
    while head := stream.read(8):
        width, height = struct.unpack("=II", head)
        pixels = np.frombuffer(stream.read(width * height * 3), np.uint8).reshape(height, width, 3)
        yield pixels, np.frombuffer(stream.read(4 * classes), np.float32)


def compare(path, kind, classes, mean, std):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    several = session.get_modelmeta().custom_metadata_map.get("multi-label") == "true"
    probabilities = sigmoid if several else softmax
    mean, std = (np.array([float(v) for v in t.split(",")]) for t in (mean, std))
    found = {"images": 0, "same_top1": 0, "max_logit_difference": 0.0, "max_probability_difference": 0.0, "largest_logit": 0.0}
    for pixels, ours in images(sys.stdin.buffer, int(classes)):
        if kind == "float":
            x = ((pixels / 255 - mean) / std).astype(np.float32).transpose(2, 0, 1)
        else:
            x = pixels
        theirs, p = (y[0] for y in session.run(["logits", "probabilities"], {session.get_inputs()[0].name: x[None]}))
        found["images"] += 1
        found["same_top1"] += int(theirs.argmax() == ours.argmax())
        for key, value in (("max_logit_difference", np.abs(theirs - ours).max()), ("largest_logit", np.abs(ours).max()),
                           ("max_probability_difference", np.abs(p - probabilities(ours)).max())):
            found[key] = max(found[key], float(value))
    return found


try:
    import numpy as np
    import onnxruntime as ort

    runtime = {"runtime": "onnxruntime " + ort.__version__}
    print(json.dumps(runtime if sys.argv[1:] == ["--check"] else {**runtime, **compare(*sys.argv[1:])}))
except ImportError as error:
    print(json.dumps({"why": f"python3 has no module {error.name}"}))
except Exception as error:  # what onnxruntime raises has no common base
    print(json.dumps({"why": f"onnxruntime: {error}"[:800]}))

#!/usr/bin/env python3
"""Makes tests/golden/onnx/: small ONNX files as PyTorch's exporters and others write them, and beside each the weights that
imsuper has to find in it, as safetensors.

    make_onnx.py FOLDER

Made with torch 2.15.0, onnx 1.23.2, onnxscript 0.7.2, safetensors 0.8 (the numbers are onnx's own reading of the files)."""
import os
import sys
import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

warnings.filterwarnings("ignore")
EPS = np.float32(1) - np.float32(1e-5)


class Block(torch.nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.conv1, self.bn1 = torch.nn.Conv2d(a, b, 3, padding=1, bias=False), torch.nn.BatchNorm2d(b)
        self.conv2, self.bn2 = torch.nn.Conv2d(b, b, 3, padding=1, bias=False), torch.nn.BatchNorm2d(b)
        self.downsample = torch.nn.Sequential(torch.nn.Conv2d(a, b, 1, bias=False), torch.nn.BatchNorm2d(b))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.downsample(x))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = torch.nn.Conv2d(3, 2, 3, bias=False), torch.nn.BatchNorm2d(2)
        self.layer1 = torch.nn.Sequential(Block(2, 3))
        self.fc = torch.nn.Linear(3, 4)

    def forward(self, x):
        x = self.layer1(torch.relu(self.bn1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))


def norm_of(layer):
    head, dot, word = layer.rpartition(".")
    if word.startswith("conv"):
        return head + dot + "bn" + word[4:]
    return head + dot + str(int(word) + 1)


def folded(tensors):
    """layer -> (weight, bias) of convolutions, as the network with batch norms that do no more than add the bias."""
    out = {}
    for layer, (weight, bias) in tensors.items():
        out[layer + ".weight"] = weight
        if layer == "fc":
            out["fc.bias"] = bias
            continue
        n = norm_of(layer)
        ones = np.ones_like(bias)
        out |= {n + ".weight": ones, n + ".bias": bias, n + ".running_mean": 0 * ones, n + ".running_var": EPS * ones}
    return out


LAYERS = ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.0.downsample.0", "fc"]


def read_folded(path):
    """The convolutions in the order of the nodes, which is that of LAYERS."""
    model = onnx.load(path)
    value = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm")]
    assert len(nodes) == len(LAYERS), [n.op_type for n in nodes]
    return folded({layer: (value[n.input[1]], value[n.input[2]]) for layer, n in zip(LAYERS, nodes)})


def write(folder, name, weights):
    save_file({k: np.ascontiguousarray(v, np.float32) for k, v in weights.items()}, f"{folder}/{name}.safetensors")


def by_hand(folder):
    """What other exporters do: halves and doubles in typed lists, matrices that are not transposed, constants as nodes,
    another epsilon, an alias."""
    rng = np.random.default_rng(5)
    conv, gamma = rng.normal(size=(2, 3, 1, 1)).astype(np.float16), rng.normal(size=2)
    matrix, bias = rng.normal(size=(2, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    mean, var = np.zeros(2, np.float32), np.ones(2, np.float32)
    half = helper.make_tensor("conv1.weight", TensorProto.FLOAT16, conv.shape, conv.flatten().tolist())
    double = helper.make_tensor("bn1.weight", TensorProto.DOUBLE, [2], gamma.tolist())
    node = helper.make_node
    nodes = [
        node("Constant", [], ["bn1.running_var"], value=numpy_helper.from_array(var, "value")),
        node("Identity", ["bn1.running_mean"], ["bn1.bias"]),
        node("Conv", ["x", "conv1.weight"], ["c"]),
        node("BatchNormalization", ["c", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"], ["n"], epsilon=1e-3),
        node("MatMul", ["n", "fc_matrix"], ["f"], name="/fc/MatMul"),
        node("Add", ["fc_bias", "f"], ["y"], name="/fc/Add"),
    ]
    tensors = [half, double, numpy_helper.from_array(mean, "bn1.running_mean"),
               numpy_helper.from_array(matrix, "fc_matrix"), numpy_helper.from_array(bias, "fc_bias")]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 1, 1])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])], tensors)
    onnx.save(helper.make_model(graph, ir_version=8), f"{folder}/by-hand.onnx")
    write(folder, "by-hand", {
        "conv1.weight": conv, "bn1.weight": gamma, "bn1.bias": mean, "bn1.running_mean": mean,
        "bn1.running_var": np.float32(var + (np.float64(np.float32(1e-3)) - np.float64(np.float32(1e-5)))),
        "fc.weight": matrix.T, "fc.bias": bias})


def main():
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(3)
    net = Net()
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.2), m.running_var.uniform_(0.5, 1.5)
            m.weight.data.uniform_(0.5, 1.5), m.bias.data.normal_(0, 0.2)
    net.eval()
    x = (torch.zeros(1, 3, 6, 6),)
    keep = dict(training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
    torch.onnx.export(net, x, f"{folder}/kept.onnx", dynamo=False, **keep)
    write(folder, "kept", {k: v.numpy() for k, v in net.state_dict().items() if not k.endswith("tracked")})
    torch.onnx.export(net, x, f"{folder}/folded.onnx", dynamo=False)
    write(folder, "folded", read_folded(f"{folder}/folded.onnx"))
    torch.onnx.export(net, x, f"{folder}/data.onnx", dynamo=True, external_data=True, verbose=False)
    model = onnx.load(f"{folder}/data.onnx")  # the stack traces of its metadata name this machine's files
    for thing in [model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output]:
        del thing.metadata_props[:]
    del model.functions[:]
    os.remove(f"{folder}/data.onnx.data") if os.path.exists(f"{folder}/data.onnx.data") else None
    onnx.save(model, f"{folder}/data.onnx", save_as_external_data=True, location="data.onnx.data", size_threshold=0)
    write(folder, "data", read_folded(f"{folder}/data.onnx"))
    by_hand(folder)


main()

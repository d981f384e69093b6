#!/usr/bin/env python3
"""Makes tests/golden/torch/: small files of torch.save() and what is in them. Needs PyTorch; made with 2.15.0.

Every file that loads holds the tensors of content() below, as tensors.safetensors (its own writer, no library) has them."""
import argparse
import collections
import io
import json
import os
import pathlib
import pickle
import struct
import sys
import zipfile

import torch

out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "torch")
out.mkdir(exist_ok=True)


def content():
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8
    shared = torch.arange(10, dtype=torch.float64)
    state = collections.OrderedDict()
    state["conv1.weight"] = base[1:, 2:5]  # offset, and rows with gaps
    state["bn1.weight"] = base.t()  # strides the other way round
    state["bn1.bias"] = shared[2:7]
    state["bn1.running_mean"] = shared[5:]  # the same storage
    state["bn1.num_batches_tracked"] = torch.tensor(7)
    state["fp16"] = torch.tensor([1.5, -2.0, 65504.0], dtype=torch.float16)
    state["bf16"] = torch.tensor([1.5, -3e38], dtype=torch.bfloat16)
    state["expanded"] = torch.tensor([[2.0]]).expand(3, 2)  # strides of 0
    state["empty"] = torch.zeros(0, 3)
    return state


def nested(state):  # layer1.0.weight as dictionaries in dictionaries
    tree = {}
    for name, tensor in state.items():
        *way, last = name.split(".")
        at = tree
        for word in way:
            at = at.setdefault(word, {})
        at[last] = tensor
    return tree


class Config:  # a class of __main__: opaque
    def __init__(self):
        self.lr = 0.1
        self.names = ["a"]


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/imsuper-evil",)


class Getattr:
    def __reduce__(self):
        return getattr, ("x", "upper")


def module(state):
    def make(tree):
        m = torch.nn.Module()
        for key, value in tree.items():
            if isinstance(value, dict):
                m.add_module(key, make(value))
            elif value.is_floating_point():
                m.register_parameter(key, torch.nn.Parameter(value))
            else:
                m.register_buffer(key, value)
        return m

    return make(nested(state))


def write_safetensors(path, tensors):
    order = {torch.float16: 2, torch.bfloat16: 3, torch.float32: 5, torch.float64: 6, torch.int64: 7}
    names = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}
    header, data = {}, b""
    for name, t in sorted(tensors.items(), key=lambda item: (-order[item[1].dtype], item[0])):
        raw = t.contiguous().view(torch.uint8).numpy().tobytes() if t.dim() else t.reshape(1).view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": names[t.dtype], "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def save(name, value, **options):
    torch.save(value, out / name, **options)


state = content()
write_safetensors(out / "tensors.safetensors", state)
save("plain.pt", state)
save("legacy.pt", state, _use_new_zipfile_serialization=False)
save("protocol4.pt", state, pickle_protocol=4)
save("legacy_protocol4.pt", state, pickle_protocol=4, _use_new_zipfile_serialization=False)
save("module.pt", module(state))
save("nested.pt", {"model": nested(state), "epoch": 3})
weight = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.AdamW([weight], lr=0.1)
weight.sum().backward()
optimizer.step()
save("checkpoint.pt", {"epoch": 90, "model_state_dict": state, "optimizer_state_dict": optimizer.state_dict(),
                       "accuracy": 71.5, "args": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("/x")), "config": Config(),
                       "names": {"a", "b"}, "big": 1 << 80, "upper": Getattr()})
save("averages.pt", {"model_ema": state, "model": {"conv1.weight": torch.zeros(3, 3)}, "scaler": {"scale": torch.ones(1)}})

numbers = torch.arange(200, dtype=torch.float32)
save("many.pt", {f"layer{i}.bias": numbers[i:i + 1] for i in range(200)})

# What must be refused, or found to hold nothing.
save("evil.pt", {"model": state, "run": Evil()})
save("nothing.pt", {"epoch": 3, "loss": [1.0, 2.0]})
save("int8.pt", {"a": torch.ones(3, dtype=torch.int8)})


def rewrite(name, change):  # plain.pt with other entries
    with zipfile.ZipFile(out / "plain.pt") as old, zipfile.ZipFile(out / name, "w") as new:
        for entry in old.namelist():
            data = change(entry, old.read(entry))
            if data is not None:
                new.writestr(zipfile.ZipInfo(entry, (1980, 1, 1, 0, 0, 0)), data)


rewrite("no_storage.pt", lambda name, data: None if name.endswith("/data/0") else data)
rewrite("short_storage.pt", lambda name, data: data[:-4] if name.endswith("/data/0") else data)
rewrite("big_endian.pt", lambda name, data: b"big" if name.endswith("/byteorder") else data)
rewrite("no_pickle.pt", lambda name, data: None if name.endswith("data.pkl") else data)
rewrite("cut_pickle.pt", lambda name, data: data[:-40] if name.endswith("data.pkl") else data)
whole = (out / "plain.pt").read_bytes()
(out / "cut.pt").write_bytes(whole[: len(whole) // 2])
(out / "pickle.pt").write_bytes(pickle.dumps({"a": 1}, 4))


def tensor_pickle(count, offset, shape, stride):  # written by hand: what torch.save() never writes
    def number(n):
        return b"\x8a\x08" + struct.pack("<q", n)

    def numbers(list_):
        return b"(" + b"".join(number(n) for n in list_) + b"t"

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0" + b"0" + b"X\x03\0\0\0cpu" + number(count) + b"tQ"
    return (b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + numbers(shape) +
            numbers(stride) + b"\x89NtRs.")


for name, shape, stride, offset in [("beyond.pt", [3], [1], 1), ("stride.pt", [2], [1 << 62], 0), ("offset.pt", [1], [1], 1 << 62),
                                    ("negative.pt", [-1], [1], 0), ("bomb.pt", [1 << 20, 1 << 20], [0, 0], 0),
                                    ("overflow.pt", [1 << 32, 1 << 32], [0, 0], 0)]:
    with zipfile.ZipFile(out / name, "w") as z:
        z.writestr(zipfile.ZipInfo("x/data.pkl", (1980, 1, 1, 0, 0, 0)), tensor_pickle(3, offset, shape, stride))
        z.writestr(zipfile.ZipInfo("x/data/0", (1980, 1, 1, 0, 0, 0)), b"\0" * 12)

#!/usr/bin/env python3
"""Writes policies.bin: torchvision's AutoAugment, RandAugment and TrivialAugmentWide with chosen parameters.

Needs torchvision and Pillow (made with torchvision 0.29.2 and Pillow 13.0.0). Everything goes through torchvision's own
tables and its _apply_op; what is left to the reader is to compare.

Little-endian: u16 size, the image (size * size * 3 bytes); u16 pairs tables, each 25 pairs of two entries (u8 op,
f64 probability, u8 magnitude), ImageNet first; u32 cases, each: u8 policy (1 ImageNet, 2 CIFAR-10, 3 rand, 4 trivial),
u8 ops, for each op u8 op, u16 bins, u16 bin, u8 negative; then the u64 FNV-1a hash of the result's bytes.
"""
import struct
import sys

import torch
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import autoaugment as aa
from torchvision.transforms.functional import InterpolationMode

OPS = ["Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
       "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize", "Invert"]
SIZE = 64


def picture():
    """Gradients, hard edges, noise and a flat part; no channel uses the whole range of values."""
    state, pixels = 12345, bytearray()
    for y in range(SIZE):
        for x in range(SIZE):
            state = (state * 1103515245 + 12345) % 2**31
            noise = state >> 16 & 31
            red = 20 + 3 * x if y < 32 else 200 - 2 * y
            green = 40 + 2 * y + noise
            blue = 60 + noise if (x // 8 + y // 8) % 2 else 180
            if 40 <= x < 56 and 40 <= y < 56:
                red, green, blue = 90, 90, 30
            pixels += bytes((red, min(green, 250), blue))
    return Image.frombytes("RGB", (SIZE, SIZE), bytes(pixels))


def fnv(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h


def run(image, space, ops):
    for op, k, negative in ops:
        magnitudes, signed = space[op]
        magnitude = float(magnitudes[k].item()) if magnitudes.ndim > 0 else 0.0
        if signed and negative:
            magnitude *= -1.0
        image = aa._apply_op(image, op, magnitude, interpolation=InterpolationMode.NEAREST, fill=None)
    return image.tobytes()


def main():
    torch.manual_seed(0)
    image, cases = picture(), []
    auto = {1: T.AutoAugment(T.AutoAugmentPolicy.IMAGENET), 2: T.AutoAugment(T.AutoAugmentPolicy.CIFAR10)}
    out = struct.pack("<H", SIZE) + image.tobytes() + struct.pack("<H", len(auto))
    for policy, transform in auto.items():
        space = transform._augmentation_space(10, (SIZE, SIZE))
        for pair in transform.policies:
            for op, p, k in pair:
                out += struct.pack("<BdB", OPS.index(op), p, k or 0)
            for signs in range(4):
                ops = [(op, k or 0, bool(signs >> i & 1)) for i, (op, _, k) in enumerate(pair)]
                cases.append((policy, 10, ops, run(image, space, ops)))
    rand = T.RandAugment()._augmentation_space(31, (SIZE, SIZE))
    wide = T.TrivialAugmentWide()._augmentation_space(31)
    for negative in (False, True):
        for op in OPS[:14]:
            for k in (0, 1, 8, 9, 15, 20, 29, 30):
                cases.append((4, 31, [(op, k, negative)], run(image, wide, [(op, k, negative)])))
            for second in OPS[:14]:
                ops = [(op, 9, negative), (second, 9, not negative)]
                cases.append((3, 31, ops, run(image, rand, ops)))
    out += struct.pack("<I", len(cases))
    for policy, bins, ops, result in cases:
        out += struct.pack("<BB", policy, len(ops))
        for op, k, negative in ops:
            out += struct.pack("<BHHB", OPS.index(op), bins, k, negative)
        out += struct.pack("<Q", fnv(result))
    with open(sys.argv[1] if len(sys.argv) > 1 else "policies.bin", "wb") as f:
        f.write(out)
    print(len(cases), "cases,", len(out), "bytes")


main()

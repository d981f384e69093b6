#!/usr/bin/env python3
"""Makes ops.bin: what Pillow, torchvision and albumentations make of images that the test can compute itself.

    python3 make_ops.py ops.bin

Needs Pillow 10.4.0, torchvision (any release with its PIL back end; only that is used), albumentations 1.3.1 and
opencv-python-headless 4.10.

Records, little-endian: u16 operation, pattern, width, height; six f64 parameters; u32 bytes that follow: either
width * height RGB pixels or, where that would be large, 4 bytes of CRC-32 of them."""
import math
import struct
import sys
import zlib

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from albumentations.augmentations.geometric.functional import shift_scale_rotate
from torchvision.transforms import functional as F
from torchvision.transforms import InterpolationMode

FILL = (10, 200, 90)
FILTERS = [InterpolationMode.NEAREST, InterpolationMode.BILINEAR]
PIL_FILTERS = [Image.Resampling.NEAREST, Image.Resampling.BILINEAR]
BORDERS = [0, 4, 1]  # cv2.BORDER_CONSTANT, REFLECT_101, REPLICATE


def pattern(which, w, h):
    y, x, c = np.meshgrid(np.arange(h), np.arange(w), np.arange(3), indexing="ij")
    if which == 0:  # noise
        v = x * x * 3 + y * y * 5 + x * y * 7 + c * 85 + ((x * 37 ^ y * 91 ^ c * 13) & 63)
    elif which == 1:  # smooth, of low contrast
        v = 40 + x * 2 + y + c * 17
    elif which == 2:  # one colour
        v = 37 + c * 80
    elif which == 3:
        v = 0 * x
    elif which == 4:
        v = 0 * x + 255
    elif which == 5:  # greys
        v = x * 7 + y * 3
    elif which == 6:  # few values
        v = ((x * 5 + y * 3 + c) & 1) * 200 + 20
    else:  # every colour once, for 4096 * 4096
        v = (y * 4096 + x) >> (16 - 8 * c)
    return Image.fromarray((v & 255).astype(np.uint8))


def jitter(image, p):
    order, factors = int(p[0]), p[1:5]
    ops = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
    while order:
        which = order % 10 - 1
        image = ops[which](image, factors[which])
        order //= 10
    return image


def shear(image, p):
    degrees = [math.degrees(math.atan(p[0])), math.degrees(math.atan(p[1]))]
    return F.affine(image, angle=0.0, translate=[0, 0], scale=1.0, shear=degrees, interpolation=FILTERS[int(p[2])],
                    fill=FILL, center=[0, 0])


def translate(image, p):
    return F.affine(image, angle=0.0, translate=[int(p[0]), int(p[1])], scale=1.0, shear=[0.0, 0.0],
                    interpolation=FILTERS[int(p[2])], fill=FILL)


def ssr(image, p):
    filters = [0, 1]  # cv2.INTER_NEAREST, INTER_LINEAR
    kind = int(p[4])
    out = shift_scale_rotate(np.array(image), p[0], p[1], p[2], p[3], filters[kind % 2], BORDERS[kind // 2], FILL)
    return Image.fromarray(out)


OPS = {
    0: lambda i, p: F.posterize(i, int(p[0])),
    1: lambda i, p: F.solarize(i, p[0]),
    2: lambda i, p: F.invert(i),
    3: lambda i, p: F.adjust_brightness(i, p[0]),
    4: lambda i, p: F.adjust_contrast(i, p[0]),
    5: lambda i, p: F.autocontrast(i),
    6: lambda i, p: F.equalize(i),
    7: lambda i, p: F.adjust_saturation(i, p[0]),
    8: lambda i, p: F.adjust_hue(i, p[0]),
    9: lambda i, p: F.adjust_sharpness(i, p[0]),
    10: jitter,
    11: lambda i, p: F.rotate(i, p[0], FILTERS[int(p[1])], fill=FILL),
    12: shear,
    13: translate,
    14: lambda i, p: i.transform(i.size, Image.Transform.AFFINE, p, Image.Resampling.NEAREST, fillcolor=FILL),
    15: lambda i, p: i.transform(i.size, Image.Transform.AFFINE, p, Image.Resampling.BILINEAR, fillcolor=FILL),
    16: ssr,
}


def cases():
    small, large = (21, 14), (224, 224)
    for bits in range(1, 9):
        yield 0, 0, small, [bits]
    for threshold in (0, 28.3, 128, 141.7, 255, 256):
        yield 1, 0, small, [threshold]
    yield 2, 0, small, []
    for factor in (0, 0.1, 0.3, 0.91, 1, 1.37, 1.9, 7.5):
        for op in (3, 4, 7, 9):
            yield op, 0, small, [factor]
        for which in (0, 1, 5):
            for op in (3, 4, 7, 9):
                yield op, which, large, [factor]
    for op in (5, 6):
        for which in range(7):
            yield op, which, small, []
            yield op, which, large, []
            yield op, which, (301, 187), []
    for factor in (-0.5, -0.31, -0.1, 0, 0.004, 0.07, 0.25, 0.5):
        for which in (0, 1, 5):
            yield 8, which, large, [factor]
    for op, factor in ((7, 1.6), (8, -0.1), (8, 0.25)):
        yield op, 7, (4096, 4096), [factor]
    for order in (1234, 4321, 2413, 3142, 1342, 4123, 24, 2, 31, 43):
        yield 10, 0, small, [order, 0.8, 1.3, 0.6, 0.13]
        yield 10, 1, large, [order, 1.4, 0.55, 1.8, -0.07]
        yield 10, 0, (131, 77), [order, 0.61, 1.7, 0.2, 0.44]
    for size in (small, large, (97, 180)):
        for kind in (0, 1):
            for degrees in (0, 0.7, 12.5, -30, 26.7, 45, 90, 135, 180, -90, 270):
                yield 11, 0, size, [degrees, kind]
            for m in (0.1, -0.3, 1 / 6, 0.99):
                yield 12, 0, size, [m, 0, kind]
                yield 12, 0, size, [0, m, kind]
            for right, down in ((0, 0), (5, 0), (-9.7, 0), (0, 13), (0, -100), (4000, 0)):
                yield 13, 0, size, [right, down, kind]
        for op in (14, 15):
            yield op, 0, size, [0.5, 0.25, 3.3, -0.3, 1.7, 2.2]
            yield op, 0, size, [1.3, 0, -7.7, 0, 0.4, 5.1]
            yield op, 0, size, [-1, 0, 20.25, 0, -1, 13.75]
            yield op, 0, size, [300.5, 10, -9000, 11, 190.25, -2000]
    for size in (small, (33, 47), large):
        for border in (0, 1, 2):
            for kind in (0, 1):
                for p in ((0, 1, 0, 0), (45, 1.1, 0.0625, -0.0625), (-33.3, 0.9, -0.03, 0.05), (7.5, 1.02, 0.01, 0.0),
                          (170, 0.2, 0.3, 0.4), (90, 1, 0, 0), (13, 4.5, -0.6, 0.1)):
                    yield 16, 0, size, [*p, border * 2 + kind]
    for which in (1, 3, 4):
        yield 16, which, small, [20, 0.5, 0.1, 0.2, 3]


def main():
    out = bytearray()
    images = {}
    for op, which, (w, h), parameters in cases():
        if (which, w, h) not in images:
            images[which, w, h] = pattern(which, w, h)
        p = [float(v) for v in parameters] + [0.0] * (6 - len(parameters))
        pixels = OPS[op](images[which, w, h], p).tobytes()
        if len(pixels) > 1000:
            pixels = struct.pack("<I", zlib.crc32(pixels))
        out += struct.pack("<4H6dI", op, which, w, h, *p, len(pixels)) + pixels
    with open(sys.argv[1], "wb") as f:
        f.write(out)


main()

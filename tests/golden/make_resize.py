#!/usr/bin/env python3
"""Makes resize.bin: what Pillow's bilinear resize gives for sources that the test can compute itself.

    python3 make_resize.py resize.bin     (needs Pillow 10.4.0)

Pillow 13 does the vertical pass first for some shapes, which changes some values by one; all releases before it, and all
published results, have the horizontal pass first.

Records, little-endian: u16 pattern, source width, source height, width, height; then width * height RGB pixels."""
import struct
import sys

from PIL import Image

CASES = [
    (0, 40, 30, 24, 24), (0, 17, 23, 32, 32), (0, 33, 33, 33, 33), (0, 33, 40, 33, 20), (0, 1, 1, 5, 5),
    (0, 1, 50, 7, 7), (0, 300, 200, 16, 16), (0, 31, 500, 20, 9), (0, 37, 53, 36, 54), (0, 500, 3, 11, 13),
    (0, 97, 89, 48, 47), (0, 1000, 40, 33, 10), (0, 7, 5, 1, 1), (0, 3000, 2, 3, 2), (0, 274, 274, 40, 64),
    (1, 64, 48, 21, 17), (1, 9, 9, 30, 31), (1, 200, 150, 32, 24), (2, 50, 50, 19, 77), (2, 640, 480, 28, 28),
]


def value(pattern, x, y, c):
    if pattern == 0:
        return (x * x * 3 + y * y * 5 + x * y * 7 + c * 85 + ((x * 37 ^ y * 91 ^ c * 13) & 63)) & 255
    if pattern == 1:
        return 255 * ((x + y + c) & 1)
    return 255


def main():
    out = bytearray()
    for pattern, in_w, in_h, w, h in CASES:
        source = bytes(value(pattern, x, y, c) for y in range(in_h) for x in range(in_w) for c in range(3))
        image = Image.frombytes("RGB", (in_w, in_h), source).resize((w, h), Image.Resampling.BILINEAR)
        out += struct.pack("<5H", pattern, in_w, in_h, w, h) + image.tobytes()
    with open(sys.argv[1], "wb") as f:
        f.write(out)


main()

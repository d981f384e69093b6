#!/usr/bin/env python3
"""Makes sample.bin: what Pillow makes of real images, crop boxes and flips as augment_golden draws them.

    augment_golden --plans | python3 make_sample.py imagenet-sample-200.tar sample.bin     (needs Pillow 10.4.0)

Reads lines "member split x y w h flip". train: crop the box, resize to 224 x 224, mirror if flip. eval: torchvision's
Resize(256) and CenterCrop(224). Records, little-endian: u32 x, y, w, h, flip; u64 FNV-1a of the 224 x 224 RGB pixels;
the 36 x 36 of them from (90, 90)."""
import io
import struct
import sys
import tarfile

from PIL import Image

SIZE, WINDOW, AT = 224, 36, 90


def fnv1a(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001b3) & 0xffffffffffffffff
    return value


def train(image, box, flip):
    x, y, w, h = box
    image = image.crop((x, y, x + w, y + h)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image


def evaluate(image):
    w, h = image.size
    short, long = (w, h) if w <= h else (h, w)
    new_long = int(256 * long / short)
    image = image.resize((256, new_long) if w <= h else (new_long, 256), Image.Resampling.BILINEAR)
    top, left = int(round((image.size[1] - SIZE) / 2.0)), int(round((image.size[0] - SIZE) / 2.0))
    return image.crop((left, top, left + SIZE, top + SIZE))


def main():
    out = bytearray()
    with tarfile.open(sys.argv[1]) as tar:
        for line in sys.stdin:
            member, split, *numbers = line.split()
            x, y, w, h, flip = map(int, numbers)
            image = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")
            result = train(image, (x, y, w, h), flip) if split == "train" else evaluate(image)
            window = result.crop((AT, AT, AT + WINDOW, AT + WINDOW))
            out += struct.pack("<5IQ", x, y, w, h, flip, fnv1a(result.tobytes())) + window.tobytes()
    with open(sys.argv[2], "wb") as f:
        f.write(out)


main()

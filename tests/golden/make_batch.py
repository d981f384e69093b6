#!/usr/bin/env python3
"""Makes batch.bin: what the pipeline must deliver for the real sample, by Pillow and by formulas written here a second time.

    python3 make_batch.py imagenet-sample-200.tar batch.bin      (needs Pillow 10.4.0)

Nothing of imsuper is run or read. Philox4x32-10 is that of Salmon et al. (SC'11, its known-answer test is checked below);
order is the Feistel network that ipc/shuffle.h documents; the crop is torchvision's RandomResizedCrop.get_params, drawn in
the order flip, then per attempt area, log ratio, y, x; the resize is Pillow's.

File, little-endian: u32 samples, batch size, image side, batch; then per epoch (2) and position: u32 sample id, u32 label;
then the pixels of that batch, uint8 RGB, image after image."""
import io
import math
import struct
import sys
import tarfile

from PIL import Image

SEED, EPOCHS, BATCH_SIZE, SIDE, BATCH = 20240229, 2, 16, 64, 3
ORDER, AUGMENT = 1, 2  # purposes of random streams
M64 = (1 << 64) - 1


def philox4x32_10(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


# Random123's kat_vectors: philox4x32 10
assert philox4x32_10((0, 0, 0, 0), (0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
assert philox4x32_10([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


class Stream:
    """The numbers of (seed, purpose, epoch, item)."""

    def __init__(self, purpose, epoch, item):
        self.key = (SEED & 0xFFFFFFFF, SEED >> 32)
        self.counter = [0, item & 0xFFFFFFFF, epoch, purpose << 24 | item >> 32]
        self.left = []

    def u32(self):
        if not self.left:
            self.left = philox4x32_10(self.counter, self.key)
            self.counter[0] += 1
        return self.left.pop(0)

    def u64(self):
        high = self.u32()
        return high << 32 | self.u32()

    def unit(self):
        return (self.u64() >> 11) * 2.0 ** -53

    def uniform(self, low, high):
        return low + (high - low) * self.unit()

    def below(self, n):  # Lemire 2019
        threshold = ((1 << 64) - n) % n
        while True:
            product = self.u64() * n
            if product & M64 >= threshold:
                return product >> 64


def permutation(epoch, n):
    """position -> item: cycle-walking over a balanced Feistel network of ten rounds."""
    half = 4
    while 1 << 2 * half < n:
        half += 1
    stream = Stream(ORDER, epoch, 0)
    keys = [stream.u64() for _ in range(10)]

    def mix(x, key):
        x = (x + key) & M64
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & M64
        x = (x ^ x >> 27) * 0x94D049BB133111EB & M64
        return (x ^ x >> 31) >> (64 - half)

    def walk(value):
        while True:
            left, right = value >> half, value & (1 << half) - 1
            for key in keys:
                left, right = right, left ^ mix(right, key)
            value = left << half | right
            if value < n:
                return value

    items = [walk(i) for i in range(n)]
    assert sorted(items) == list(range(n))
    return items


def crop_box(stream, width, height):
    """RandomResizedCrop(scale=(0.08, 1), ratio=(3/4, 4/3)): x, y, w, h."""
    low, high = math.log(3 / 4), math.log(4 / 3)
    for _ in range(10):
        area = width * height * stream.uniform(0.08, 1.0)
        ratio = math.exp(stream.uniform(low, high))
        w, h = int(round(math.sqrt(area * ratio))), int(round(math.sqrt(area / ratio)))
        if 0 < w <= width and 0 < h <= height:
            y = stream.below(height - h + 1)
            return stream.below(width - w + 1), y, w, h
    ratio = width / height
    w, h = width, height
    if ratio < 3 / 4:
        h = int(round(w / (3 / 4)))
    elif ratio > 4 / 3:
        w = int(round(h * (4 / 3)))
    return (width - w) // 2, (height - h) // 2, w, h


def render(image, epoch, sample):
    stream = Stream(AUGMENT, epoch, sample)
    flip = stream.unit() < 0.5
    x, y, w, h = crop_box(stream, *image.size)
    image = image.crop((x, y, x + w, y + h)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image


def main():
    with tarfile.open(sys.argv[1]) as tar:
        names = sorted(m.name for m in tar.getmembers() if m.isfile() and m.name.startswith("train/"))
        classes = sorted({name.split("/")[1] for name in names})
        n = len(names)
        order = [permutation(epoch, n) for epoch in range(EPOCHS)]
        out = bytearray(struct.pack("<4I", n, BATCH_SIZE, SIDE, BATCH))
        for epoch in range(EPOCHS):
            for sample in order[epoch]:
                out += struct.pack("<2I", sample, classes.index(names[sample].split("/")[1]))
        for sample in order[0][BATCH * BATCH_SIZE:(BATCH + 1) * BATCH_SIZE]:
            image = Image.open(io.BytesIO(tar.extractfile(names[sample]).read())).convert("RGB")
            out += render(image, 0, sample).tobytes()
    with open(sys.argv[2], "wb") as f:
        f.write(out)


main()

#!/usr/bin/env python3
"""Makes formats.bin: small files of every kind that people name .JPEG, with what Pillow's convert("RGB") makes of them.

    python3 make_formats.py formats.bin     (needs Pillow 10.4.0 and numpy)

Records, little-endian: u16 length of the name, name, u32 length of the file, file, u16 width, u16 height, RGB pixels."""
import io
import struct
import sys
import zlib

import numpy
from PIL import Image

W, H = 21, 13
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def pack_rows(samples, depth):
    """samples: rows x values. PNG's rows, each with filter byte 0."""
    rows = b""
    for row in samples:
        if depth == 16:
            data = row.astype(">u2").tobytes()
        elif depth == 8:
            data = row.astype("u1").tobytes()
        else:
            bits = "".join(format(int(v), f"0{depth}b") for v in row)
            bits += "0" * (-len(bits) % 8)
            data = bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
        rows += b"\0" + data
    return rows


def png(depth, colour, extra=b"", interlaced=False):
    random = numpy.random.default_rng(depth * 10 + colour)
    top = 11 if colour == 3 and depth > 3 else 2 ** depth
    samples = random.integers(0, top, (H, W, CHANNELS[colour]), dtype=numpy.uint32)
    if colour == 0 and depth == 16:
        samples[:, ::2] //= 512  # some that fit into eight bits
    if interlaced:
        raw = b""
        for x, y, dx, dy in ADAM7:
            part = samples[y::dy, x::dx]
            if part.size:
                raw += pack_rows(part.reshape(part.shape[0], -1), depth)
    else:
        raw = pack_rows(samples.reshape(H, -1), depth)
    header = struct.pack(">2I5B", W, H, depth, colour, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw, 9)) +
            chunk(b"IEND", b""))


def palette(n, transparent=b""):
    random = numpy.random.default_rng(n)
    out = chunk(b"PLTE", random.integers(0, 256, 3 * n, dtype=numpy.uint8).tobytes())
    return out + (chunk(b"tRNS", transparent) if transparent else b"")


def saved(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def files():
    y, x = numpy.mgrid[0:H, 0:W]
    rgba = numpy.stack([x * 12, y * 19, (x * y * 3) % 256, (x * 9 + y * 5) % 256], 2).astype(numpy.uint8)
    rgb, alpha = Image.fromarray(rgba[:, :, :3]), Image.fromarray(rgba)
    for depth in (1, 2, 4, 8, 16):
        yield f"png-grey-{depth}", png(depth, 0)
    for depth in (1, 2, 4, 8):
        n = min(2 ** depth, 11)
        yield f"png-palette-{depth}", png(depth, 3, palette(n))
        yield f"png-palette-{depth}-transparent", png(depth, 3, palette(n, b"\0\x80"))
    for depth in (8, 16):
        yield f"png-rgb-{depth}", png(depth, 2)
        yield f"png-grey-alpha-{depth}", png(depth, 4)
        yield f"png-rgba-{depth}", png(depth, 6)
    yield "png-grey-8-transparent", png(8, 0, chunk(b"tRNS", b"\0\x05"))
    yield "png-rgb-8-transparent", png(8, 2, chunk(b"tRNS", b"\0\1\0\2\0\3"))
    yield "png-rgb-8-gamma", png(8, 2, chunk(b"gAMA", struct.pack(">I", 22222)) + chunk(b"tEXt", b"Comment\0hello"))
    yield "png-interlaced-rgb-8", png(8, 2, interlaced=True)
    yield "png-interlaced-rgba-16", png(16, 6, interlaced=True)
    yield "png-interlaced-grey-16", png(16, 0, interlaced=True)
    yield "png-interlaced-palette-4", png(4, 3, palette(11), interlaced=True)
    yield "webp-lossy", saved(rgb, "WEBP", quality=70)
    yield "webp-lossless", saved(rgb, "WEBP", lossless=True)
    yield "webp-lossy-alpha", saved(alpha, "WEBP", quality=70)
    yield "webp-lossless-alpha", saved(alpha, "WEBP", lossless=True, exact=True)
    yield "jpeg-grey", saved(rgb.convert("L"), "JPEG")
    yield "jpeg-cmyk", saved(rgb.convert("CMYK"), "JPEG", quality=90)
    yield "jpeg-420", saved(rgb, "JPEG", quality=80, subsampling=2)
    yield "jpeg-444-progressive", saved(rgb, "JPEG", quality=95, subsampling=0, progressive=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "jpeg-exif-rotated", saved(rgb, "JPEG", exif=exif)


def main():
    out = bytearray()
    for name, data in files():
        image = Image.open(io.BytesIO(data)).convert("RGB")
        out += struct.pack("<H", len(name)) + name.encode() + struct.pack("<I", len(data)) + data
        out += struct.pack("<2H", *image.size) + image.tobytes()
    with open(sys.argv[1], "wb") as f:
        f.write(out)


main()

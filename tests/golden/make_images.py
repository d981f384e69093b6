#!/usr/bin/env python3
"""Makes images.bin: odd files of every type that people have in class folders, with what Pillow's convert("RGB") makes of them;
and damaged.bin: files that are cut or damaged, with what Pillow makes of those.

    python3 make_images.py images.bin damaged.bin

Made with Pillow 13.0.0 (libjpeg-turbo 3.2.0, libwebp 1.6.0, libtiff 4.7.2, OpenJPEG 2.5.4, libavif 1.4.2), tifffile 2026.3.3,
imagecodecs 2026.3.6, numpy 2.4.6, and cjpeg of libjpeg-turbo 2.1.5 (on the PATH); OpenCV takes no part. What Pillow cannot write
is written here, byte by byte.

Left out, because Pillow 13 is wrong there: a GIF frame whose own palette is plain grey beside a global one of colours (gets the
colours), compressed real numbers in big-endian TIFF (bytes swapped), 16-bit samples of JPEG 2000 that round up to 256 (become 0).

Records of both, little-endian: u16 length of the name, name, u32 length of the file, file, u16 width, u16 height, RGB pixels. In
damaged.bin width and height are 0 where Pillow refuses the file."""
import io
import struct
import subprocess
import sys
import warnings
import zlib

import imagecodecs
import numpy
import tifffile
from PIL import Image

W, H = 23, 14
Y, X = numpy.mgrid[0:H, 0:W]
RGBA = numpy.stack([X * 11, Y * 18, (X * Y * 3) % 256, (X * 9 + Y * 5) % 256], 2).astype(numpy.uint8)
RGB = numpy.ascontiguousarray(RGBA[:, :, :3])
GREY = ((X * 7 + Y * 11) % 256).astype(numpy.uint8)
GREY16 = (GREY.astype(numpy.uint16) * 3).astype(numpy.uint16)
INDEX = ((X + 3 * Y) % 13).astype(numpy.uint8)
PALETTE = bytes((i * 37 + c * 91) % 256 for i in range(16) for c in range(3))
WIDE = [(i * 37 + c * 91) % 256 * 257 for c in range(3) for i in range(256)]


def saved(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


# ---- GIF ----

def lzw(indices, bits):
    """Codes of one width: a clear code before each index. Small, but every decoder reads it."""
    clear, value, n, out = 1 << bits, 0, 0, bytearray()
    codes = [code for index in indices for code in (clear, int(index))] + [clear + 1]
    for code in codes:
        value |= code << n
        n += bits + 1
        while n >= 8:
            out.append(value & 255)
            value >>= 8
            n -= 8
    if n:
        out.append(value & 255)
    blocks = b"".join(bytes([len(out[i:i + 255])]) + bytes(out[i:i + 255]) for i in range(0, len(out), 255))
    return bytes([bits]) + blocks + b"\0"


def gif(frames, screen=(W, H), palette=PALETTE, background=0, control=b"", interlaced=False):
    """frames: (x, y, indices, local palette or None)"""
    def size_bits(p):
        return max(len(p) // 3 - 1, 1).bit_length() - 1
    out = b"GIF89a" + struct.pack("<2H", *screen)
    out += bytes([0x80 | size_bits(palette) if palette else 0, background, 0]) + (palette or b"")
    for x, y, indices, local in frames:
        h, w = indices.shape
        rows = indices
        if interlaced:
            rows = indices[[r for first, step in ((0, 8), (4, 8), (2, 4), (1, 2)) for r in range(first, h, step)]]
        out += control
        out += b"," + struct.pack("<4H", x, y, w, h)
        out += bytes([(0x80 | size_bits(local) if local else 0) | (0x40 if interlaced else 0)]) + (local or b"")
        out += lzw(rows.reshape(-1), 8 if indices.max() > 15 else 4)
    return out + b";"


def control(transparent=None, disposal=0):
    return b"!\xf9\x04" + bytes([disposal << 2 | (transparent is not None), 5, 0, transparent or 0]) + b"\0"


def gifs():
    part = INDEX[3:10, 4:15]
    image = Image.fromarray(RGB)
    yield "gif-palette", saved(image.quantize(32), "GIF")
    yield "gif-two-colours", saved(image.convert("1"), "GIF")
    yield "gif-grey", saved(Image.fromarray(GREY), "GIF")
    yield "gif-87a", b"GIF87a" + gif([(0, 0, INDEX, None)])[6:]
    yield "gif-interlaced", gif([(0, 0, INDEX, None)], interlaced=True)
    yield "gif-local-palette", gif([(0, 0, INDEX, bytes(reversed(PALETTE)))])
    yield "gif-no-palette", gif([(0, 0, INDEX, None)], palette=b"")
    yield "gif-grey-palette", gif([(0, 0, INDEX, None)], palette=bytes(i for i in range(16) for _ in range(3)))
    yield "gif-transparent", gif([(0, 0, INDEX, None)], control=control(5))
    yield "gif-part-of-screen", gif([(4, 3, part, None)], background=7)
    yield "gif-part-of-screen-transparent", gif([(4, 3, part, None)], background=7, control=control(5))
    yield "gif-beyond-screen", gif([(4, 3, INDEX, None)])
    yield "gif-short-palette", gif([(0, 0, INDEX, None)], palette=PALETTE[:24])
    yield "gif-comment", gif([(0, 0, INDEX, None)], control=b"!\xfe\x05hello\x02yo\0" + control())
    yield "gif-animated", saved(image, "GIF", save_all=True, append_images=[image.rotate(90), image.rotate(180)])
    yield "gif-interlaced-part-transparent", gif([(4, 3, part, None)], interlaced=True, background=2, control=control(3))
    yield "gif-local-palette-part", gif([(4, 3, part, bytes(reversed(PALETTE)))], background=7, control=control(5))
    yield "gif-no-global-palette-part", gif([(4, 3, part, bytes(reversed(PALETTE)))], palette=b"")
    yield "gif-screen-of-nothing", gif([(0, 0, INDEX, None)], screen=(0, 0))
    yield "gif-disposal", gif([(0, 0, INDEX, None), (3, 3, INDEX[:5, :5], None)], control=control(None, 2))
    yield "gif-no-trailer", gif([(0, 0, INDEX, None)])[:-2]


# ---- BMP ----

def rows_of(samples, bits, order):
    out = b""
    for row in order(samples):
        if bits >= 8:
            data = row.tobytes()
        else:
            text = "".join(format(int(v), f"0{bits}b") for v in row)
            text += "0" * (-len(text) % 8)
            data = bytes(int(text[i:i + 8], 2) for i in range(0, len(text), 8))
        out += data + b"\0" * (-len(data) % 4)
    return out


def bmp(samples, bits, palette=b"", header=40, compression=0, masks=(), top_down=False, pixels=None, colours=0, extra=b""):
    h, w = samples.shape[:2]
    order = (lambda a: a) if top_down else (lambda a: a[::-1])
    if header == 12:
        info = struct.pack("<I4H", 12, w, h, 1, bits)
    else:
        info = struct.pack("<IIi2H6I", header, w, -h if top_down else h, 1, bits, compression, 0, 2835, 2835, colours, 0)
        fields = b"".join(struct.pack("<I", mask) for mask in masks)
        info += fields if header == 40 else (fields + bytes(header))[:header - 40]
    offset = 14 + len(info) + len(palette) + len(extra)
    data = rows_of(samples, bits, order) if pixels is None else pixels
    return b"BM" + struct.pack("<I2HI", offset + len(data), 0, 0, offset) + info + palette + extra + data


def bgrx(palette):
    return b"".join(bytes([palette[i + 2], palette[i + 1], palette[i], 0]) for i in range(0, len(palette), 3))


def bgr(palette):
    return b"".join(bytes([palette[i + 2], palette[i + 1], palette[i]]) for i in range(0, len(palette), 3))


def rle8():
    out = b""
    for y in range(H):
        row = INDEX[H - 1 - y]
        if y == 2:  # a run, then pixels as they are, then what is passed over to the next row's start
            out += bytes([5, 3, 0, 7]) + row[5:12].tobytes() + b"\0" + b"\0\2" + bytes([W - 12, 0])
        elif y == 4:
            out += bytes([W, 9, 0, 0])
        elif y == 6:
            out += bytes([0, W]) + row.tobytes() + b"\0" * (W % 2) + b"\0\0"
        elif y == 8:
            out += b"\0\0"  # an empty row: nothing is put
            out += b"".join(bytes([1, v]) for v in row) + b"\0\0"
        else:
            out += b"".join(bytes([1, v]) for v in row) + b"\0\0"
    return out + bytes([W, 1, 0, 0]) + b"\0\1"


def rle4():
    out = b""
    for y in range(H):
        row = INDEX[H - 1 - y]
        if y == 3:
            nibbles = list(row[:9]) + [0]
            out += bytes([0, 9]) + bytes(int(nibbles[i]) << 4 | int(nibbles[i + 1]) for i in range(0, 10, 2)) + b"\0"
            out += bytes([W - 9, 0x5a, 0, 0])
        else:
            out += b"".join(bytes([1, int(v) << 4]) for v in row) + b"\0\0"
    return out + b"\0\1"


def bmps():
    image = Image.fromarray(RGB)
    bits = (INDEX % 2).astype(numpy.uint8)
    yield "bmp-24", saved(image, "BMP")
    yield "bmp-24-top-down", bmp(RGB[:, :, ::-1], 24, top_down=True)
    yield "bmp-8-palette", saved(image.quantize(200), "BMP")
    yield "bmp-8-grey", saved(Image.fromarray(GREY), "BMP")
    yield "bmp-8-few-colours", bmp(INDEX, 8, bgrx(PALETTE), colours=16)
    yield "bmp-4", bmp(INDEX, 4, bgrx(PALETTE))
    yield "bmp-1", saved(image.convert("1"), "BMP")
    yield "bmp-1-palette", bmp(bits, 1, bgrx(PALETTE[:6]))
    yield "bmp-os2", bmp(INDEX, 4, bgr(PALETTE), header=12)
    yield "bmp-os2-24", bmp(RGB[:, :, ::-1], 24, header=12)
    yield "bmp-16-555", bmp((X * 1023 % 32768).astype("<u2"), 16)
    yield "bmp-16-565", bmp((X * Y * 977 % 65536).astype("<u2"), 16, compression=3, masks=(0xf800, 0x7e0, 0x1f))
    yield "bmp-32", saved(Image.fromarray(RGBA), "BMP")
    yield "bmp-32-masks", bmp(RGBA, 32, header=108, compression=3, masks=(0xff, 0xff00, 0xff0000, 0xff000000))
    yield "bmp-32-v5", bmp(RGBA, 32, header=124, compression=3, masks=(0xff0000, 0xff00, 0xff, 0xff000000))
    yield "bmp-32-info-masks", bmp(RGBA, 32, compression=3, masks=(0xff000000, 0xff0000, 0xff00))
    yield "bmp-rle8", bmp(INDEX, 8, bgrx(PALETTE + bytes(720)), compression=1, pixels=rle8())
    yield "bmp-rle4", bmp(INDEX, 4, bgrx(PALETTE), compression=2, pixels=rle4())
    yield "bmp-4-top-down", bmp(INDEX, 4, bgrx(PALETTE), top_down=True)
    yield "bmp-32-top-down", bmp(RGBA, 32, top_down=True)
    yield "bmp-os2-64", bmp(INDEX, 4, bgrx(PALETTE), header=64)
    yield "bmp-32-header-52", bmp(RGBA, 32, header=52, compression=3, masks=(0xff0000, 0xff00, 0xff))
    yield "bmp-32-header-56", bmp(RGBA, 32, header=56, compression=3, masks=(0xff0000, 0xff00, 0xff, 0xff000000))
    yield "bmp-gap", bmp(RGB[:, :, ::-1], 24, extra=bytes(10))


# ---- TIFF ----

def tiff(data, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, data, metadata=None, software=False, **options)
    return out.getvalue()


def plain_tiff(rows, bits, photometric, order="<", samples=1, tags=(), format=1, bits_list=None):
    """A strip of packed rows, for what tifffile does not write."""
    entries = [(256, 3, 1, W), (257, 3, 1, H), (259, 3, 1, 1), (262, 3, 1, photometric), (277, 3, 1, samples), (278, 3, 1, H),
               (279, 4, 1, len(rows))] + list(tags)
    if format != 1:
        entries.append((339, 3, 1, format))
    entries.append((258, 3, 1, bits) if samples == 1 else (258, 3, samples, bits_list))
    count = len(entries) + 1
    end = 8 + 2 + 12 * count + 4
    body, extra = b"", b""
    strip_at = end
    arrays = {}
    for tag, type, n, value in entries:
        if isinstance(value, bytes):
            arrays[tag] = strip_at
            extra += value
            strip_at += len(value)
    entries.append((273, 4, 1, strip_at))
    for tag, type, n, value in sorted(entries, key=lambda e: e[0]):
        head = struct.pack(order + "2HI", tag, type, n)
        if isinstance(value, bytes):
            body += head + struct.pack(order + "I", arrays[tag])
        elif type == 3:
            body += head + struct.pack(order + "2H", value, 0)
        else:
            body += head + struct.pack(order + "I", value)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", 8) + struct.pack(order + "H", count) + body + bytes(4) + extra + rows


def packed(samples, bits):
    out = b""
    for row in samples:
        text = "".join(format(int(v), f"0{bits}b") for v in row)
        text += "0" * (-len(text) % 8)
        out += bytes(int(text[i:i + 8], 2) for i in range(0, len(text), 8))
    return out


def reversed_bits(data):
    return bytes(int(format(b, "08b")[::-1], 2) for b in data)


def tiffs():
    image, alpha = Image.fromarray(RGB), Image.fromarray(RGBA)
    signed = (GREY.astype(numpy.int16) * 4 - 300).astype(numpy.int16)
    real = (GREY.astype(numpy.float32) * 1.7 - 50).astype(numpy.float32)
    yield "tiff-rgb", saved(image, "TIFF")
    yield "tiff-rgb-strips", tiff(RGB, photometric="rgb", rowsperstrip=3)
    yield "tiff-rgb-big-endian", tiff(RGB, photometric="rgb", byteorder=">")
    yield "tiff-bigtiff", tiff(RGB, photometric="rgb", bigtiff=True)
    yield "tiff-lzw", tiff(RGB, photometric="rgb", compression="lzw", predictor=True)
    yield "tiff-deflate", tiff(RGB, photometric="rgb", compression="zlib", rowsperstrip=5)
    yield "tiff-packbits", saved(image, "TIFF", compression="packbits")
    yield "tiff-lzma", tiff(RGB, photometric="rgb", compression="lzma")
    yield "tiff-zstd", tiff(RGB, photometric="rgb", compression="zstd")
    yield "tiff-tiles", tiff(RGB, photometric="rgb", tile=(16, 16))
    yield "tiff-tiles-deflate", tiff(RGB, photometric="rgb", tile=(16, 16), compression="zlib")
    yield "tiff-planes", tiff(numpy.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate", rowsperstrip=4)
    yield "tiff-planes-deflate", tiff(numpy.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate", compression="zlib")
    yield "tiff-planes-tiles", tiff(numpy.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate", tile=(16, 16), compression="zlib")
    yield "tiff-pages", saved(image, "TIFF", save_all=True, append_images=[image.rotate(180)])
    yield "tiff-rgba", saved(alpha, "TIFF")
    yield "tiff-rgba-deflate", tiff(RGBA, photometric="rgb", extrasamples=["unassalpha"], compression="zlib")
    yield "tiff-rgb-premultiplied", tiff(RGBA, photometric="rgb", extrasamples=["assocalpha"], compression="zlib")
    yield "tiff-rgb-unspecified", tiff(RGBA, photometric="rgb", extrasamples=["unspecified"])
    yield "tiff-rgb16", tiff(RGB.astype(numpy.uint16) * 211, photometric="rgb")
    yield "tiff-rgb16-big-endian", tiff(RGB.astype(numpy.uint16) * 211, photometric="rgb", byteorder=">", compression="zlib")
    yield "tiff-rgba16", tiff(RGBA.astype(numpy.uint16) * 199, photometric="rgb", extrasamples=["unassalpha"])
    yield "tiff-rgb16-premultiplied", tiff(RGBA.astype(numpy.uint16) * 199, photometric="rgb", extrasamples=["assocalpha"])
    yield "tiff-rgb16-planes", tiff(numpy.moveaxis(RGB.astype(numpy.uint16) * 211, 2, 0), photometric="rgb", planarconfig="separate", compression="zlib")
    yield "tiff-grey", saved(Image.fromarray(GREY), "TIFF")
    yield "tiff-grey-white", tiff(GREY, photometric="miniswhite", compression="zlib")
    yield "tiff-grey-alpha", tiff(RGBA[:, :, 2:], photometric="minisblack", extrasamples=["unassalpha"])
    yield "tiff-grey2", plain_tiff(packed(INDEX % 4, 2), 2, 1)
    yield "tiff-grey2-white", plain_tiff(packed(INDEX % 4, 2), 2, 0, ">")
    yield "tiff-grey4", plain_tiff(packed(INDEX, 4), 4, 1)
    yield "tiff-grey4-fill-order", plain_tiff(reversed_bits(packed(INDEX, 4)), 4, 1, tags=[(266, 3, 1, 2)])
    yield "tiff-grey12", plain_tiff(packed(GREY.astype(numpy.uint16) * 3, 12), 12, 1)
    yield "tiff-grey16", tiff(GREY16, photometric="minisblack")
    yield "tiff-grey16-big-endian", tiff(GREY16, photometric="minisblack", byteorder=">")
    yield "tiff-grey16-lzw", tiff(GREY16, photometric="minisblack", compression="lzw", predictor=True)
    yield "tiff-grey16-signed", tiff(signed, photometric="minisblack")
    yield "tiff-grey32", tiff(signed.astype(numpy.int32), photometric="minisblack", compression="zlib")
    yield "tiff-grey-real", tiff(real, photometric="minisblack")
    yield "tiff-grey-real-big-endian", tiff(real, photometric="minisblack", byteorder=">")
    yield "tiff-bits", saved(image.convert("1"), "TIFF")
    yield "tiff-bits-white", plain_tiff(packed(INDEX % 2, 1), 1, 0)
    yield "tiff-bits-fill-order", plain_tiff(reversed_bits(packed(INDEX % 2, 1)), 1, 0, tags=[(266, 3, 1, 2)])
    yield "tiff-fax3", saved(image.convert("1"), "TIFF", compression="group3")
    yield "tiff-fax4", saved(image.convert("1"), "TIFF", compression="group4")
    yield "tiff-palette", saved(image.quantize(60), "TIFF")
    yield "tiff-palette-lzw", saved(image.quantize(60), "TIFF", compression="tiff_lzw")
    yield "tiff-palette4", plain_tiff(packed(INDEX, 4), 4, 3, tags=[(320, 3, 48, struct.pack("<48H", *[WIDE[c * 256 + i] for c in range(3) for i in range(16)]))])
    yield "tiff-cmyk", saved(image.convert("CMYK"), "TIFF")
    yield "tiff-cmyk-ink", tiff(RGBA, photometric="separated", compression="zlib")
    yield "tiff-cmyk16", tiff(RGBA.astype(numpy.uint16) * 199, photometric="separated")
    yield "tiff-jpeg-ycbcr", saved(image, "TIFF", compression="jpeg", quality=90)
    yield "tiff-jpeg-grey", saved(Image.fromarray(GREY), "TIFF", compression="jpeg", quality=90)
    yield "tiff-ycbcr-deflate", tiff(numpy.asarray(image.convert("YCbCr")), photometric="ycbcr", compression="zlib", subsampling=(1, 1))
    wide, cmyk = numpy.array(WIDE, numpy.uint16).reshape(3, 256), numpy.moveaxis(RGBA, 2, 0)
    yield "tiff-palette-tiles", tiff(INDEX, photometric="palette", colormap=wide, tile=(16, 16), compression="zlib")
    yield "tiff-palette1", plain_tiff(packed(INDEX % 2, 1), 1, 3, tags=[(320, 3, 6, struct.pack("<6H", *[WIDE[c * 256 + i] for c in range(3) for i in range(2)]))])
    yield "tiff-palette2", plain_tiff(packed(INDEX % 4, 2), 2, 3, tags=[(320, 3, 12, struct.pack("<12H", *[WIDE[c * 256 + i] for c in range(3) for i in range(4)]))])
    yield "tiff-bigtiff-lzw-tiles", tiff(RGB, photometric="rgb", bigtiff=True, tile=(16, 16), compression="lzw", predictor=True)
    yield "tiff-jpeg-rgb", tiff(RGB, photometric="rgb", compression="jpeg")
    yield "tiff-jpeg-420-strips", tiff(RGB, photometric="ycbcr", compression="jpeg", subsampling=(2, 2), rowsperstrip=8)
    yield "tiff-jpeg-420-tiles", tiff(RGB, photometric="ycbcr", compression="jpeg", subsampling=(2, 2), tile=(16, 16))
    yield "tiff-jpeg-cmyk", saved(image.convert("CMYK"), "TIFF", compression="jpeg")
    yield "tiff-cmyk-planes", tiff(cmyk, photometric="separated", planarconfig="separate")
    yield "tiff-cmyk-lzw", tiff(RGBA, photometric="separated", compression="lzw", predictor=True)
    yield "tiff-grey-signed8", tiff(GREY.astype(numpy.int8), photometric="minisblack")
    yield "tiff-grey16-white", tiff(GREY16, photometric="miniswhite")
    yield "tiff-grey-real-tiles", tiff(real, photometric="minisblack", tile=(16, 16))
    yield "tiff-grey-real-predictor", tiff(real, photometric="minisblack", compression="zlib", predictor=3)
    yield "tiff-rgb16-lzw", tiff(RGB.astype(numpy.uint16) * 211, photometric="rgb", compression="lzw", predictor=True)
    yield "tiff-first-page-smaller", saved(image.crop((0, 0, 9, 7)), "TIFF", save_all=True, append_images=[image])
    for orientation in range(2, 9):
        yield f"tiff-orientation-{orientation}", saved(image, "TIFF", tiffinfo={274: orientation})
    yield "tiff-orientation-6-grey16", tiff(GREY16, photometric="minisblack", compression="zlib", extratags=[(274, "H", 1, 6, True)])


# ---- PNM ----

def pnms():
    text = "\n".join(" ".join(str(v) for v in row.reshape(-1)) for row in RGB)
    bits = (INDEX % 2).astype(numpy.uint8)
    yield "pnm-1", f"P1\n# a comment\n{W} {H}\n".encode() + b"\n".join("".join(str(v) for v in row).encode() for row in bits)
    yield "pnm-2", f"P2 {W} {H} 255\n".encode() + " ".join(str(v) for v in GREY.reshape(-1)).encode()
    yield "pnm-2-12", f"P2 {W} {H} 12\n".encode() + " ".join(str(v) for v in INDEX.reshape(-1)).encode() + b"\n"
    yield "pnm-2-1000", f"P2 {W} {H} 1000\n".encode() + " ".join(str(v) for v in GREY16.reshape(-1)).encode()
    yield "pnm-3", f"P3\n{W} # width\n{H}\n255\n".encode() + b"# pixels\n" + text.encode()
    yield "pnm-3-4000", f"P3 {W} {H} 4000\n{text}\n".encode()
    yield "pnm-4", saved(Image.fromarray(RGB).convert("1"), "PPM")
    yield "pnm-5", saved(Image.fromarray(GREY), "PPM")
    yield "pnm-5-100", f"P5 {W} {H} 100\n".encode() + (GREY % 101).tobytes()
    yield "pnm-5-1000", f"P5 {W} {H} 1000\n".encode() + GREY16.astype(">u2").tobytes()
    yield "pnm-5-65535", f"P5 {W} {H} 65535\n".encode() + GREY16.astype(">u2").tobytes()
    yield "pnm-6", saved(Image.fromarray(RGB), "PPM")
    yield "pnm-6-77", f"P6 {W} {H} 77\n".encode() + (RGB % 78).tobytes()
    yield "pnm-6-65535", f"P6 {W} {H} 65535\n".encode() + (RGB.astype(numpy.uint16) * 211).astype(">u2").tobytes()


# ---- the rest ----

def frame_in_the_middle():
    """An animation whose first frame has an offset: the writer's first frame fills the canvas, so it is put together here."""
    part = saved(Image.fromarray(RGBA[2:12, 4:18]), "WEBP", lossless=True, exact=True)[12:]
    frame = struct.pack("<I", 4 // 2)[:3] + struct.pack("<I", 2 // 2)[:3] + struct.pack("<I", 13)[:3] + struct.pack("<I", 9)[:3]
    frame += struct.pack("<I", 50)[:3] + b"\0"
    if part[:4] == b"VP8X":
        part = part[18:]
    payload = frame + part
    vp8x = b"VP8X" + struct.pack("<I", 10) + bytes([0x12, 0, 0, 0]) + struct.pack("<I", W - 1)[:3] + struct.pack("<I", H - 1)[:3]
    body = vp8x + b"ANIM" + struct.pack("<I", 6) + b"\x30\x60\x90\xff\0\0"
    body += b"ANMF" + struct.pack("<I", len(payload)) + payload
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def webps():
    image, alpha = Image.fromarray(RGB), Image.fromarray(RGBA)
    more = [image.rotate(180), image.rotate(90)]
    yield "webp-animated", saved(image, "WEBP", save_all=True, append_images=more, quality=80)
    yield "webp-animated-lossless", saved(image, "WEBP", save_all=True, append_images=more, lossless=True)
    yield "webp-animated-alpha", saved(alpha, "WEBP", save_all=True, append_images=[alpha.rotate(180)], lossless=True, exact=True)
    yield "webp-animated-offset", frame_in_the_middle()
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "webp-rotated", saved(image, "WEBP", exif=exif)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def pngs():
    image = Image.fromarray(RGB)
    apng = saved(image, "PNG", save_all=True, append_images=[image.rotate(180)])
    yield "png-animated", apng
    yield "png-grey16", saved(Image.fromarray(GREY16), "PNG")
    yield "png-grey16-transparent", saved(Image.fromarray(GREY16), "PNG", transparency=33)
    yield "png-grey-alpha", saved(Image.fromarray(RGBA[:, :, 2:].copy(), "LA"), "PNG")
    yield "png-rgba", saved(Image.fromarray(RGBA), "PNG")
    yield "png-palette-transparent", saved(image.quantize(20), "PNG", transparency=3)
    yield "png-bits", saved(image.convert("1"), "PNG")
    yield "png-profile", saved(image, "PNG", icc_profile=b"nonsense" * 9)
    begin, header = b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">2I5B", W, H, 8, 2, 0, 0, 0))
    raw = b"".join(b"\0" + row.tobytes() for row in RGB)
    packed_raw = zlib.compress(raw)
    pieces = [b"", *(packed_raw[i:i + 7] for i in range(0, len(packed_raw), 7)), b""]
    yield "png-pieces", begin + header + b"".join(chunk(b"IDAT", piece) for piece in pieces) + chunk(b"IEND", b"")
    yield "png-suggested-palette", begin + header + chunk(b"PLTE", PALETTE) + chunk(b"IDAT", packed_raw) + chunk(b"IEND", b"")
    yield "png-more-than-its-rows", begin + header + chunk(b"IDAT", zlib.compress(raw + bytes(99))) + chunk(b"IEND", b"") + b"and more"
    raw = b"".join(b"\0" + (row.astype(">u2") * 211).tobytes() for row in RGB)
    yield "png-rgb16-transparent", (begin + chunk(b"IHDR", struct.pack(">2I5B", W, H, 16, 2, 0, 0, 0)) + chunk(b"tRNS", b"\0\1\0\2\0\3") +
                                    chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))
    raw = b"".join(b"\0" + row.tobytes() for row in INDEX + 9)
    yield "png-colour-not-in-palette", (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", W, H, 8, 3, 0, 0, 0)) +
                                        chunk(b"PLTE", PALETTE) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


def jpeg2000s():
    image, alpha, large = Image.fromarray(RGB), Image.fromarray(RGBA), Image.fromarray(RGB).resize((40, 30))
    yield "jp2-rgb", saved(image, "JPEG2000")
    yield "jp2-codestream", saved(image, "JPEG2000", no_jp2=True)
    yield "jp2-rgb-no-transform", saved(image, "JPEG2000", mct=0)
    yield "jp2-lossy", saved(large, "JPEG2000", irreversible=True, quality_mode="rates", quality_layers=[8])
    yield "jp2-tiles", saved(large, "JPEG2000", tile_size=(16, 16))
    yield "jp2-offset", saved(large, "JPEG2000", tile_size=(16, 16), offset=(5, 9), tile_offset=(3, 4))
    yield "jp2-grey", saved(Image.fromarray(GREY), "JPEG2000")
    yield "jp2-grey16", saved(Image.fromarray(GREY16), "JPEG2000")
    yield "jp2-grey-alpha", saved(Image.fromarray(RGBA[:, :, 2:].copy(), "LA"), "JPEG2000")
    yield "jp2-rgba", saved(alpha, "JPEG2000")
    yield "jp2-ycc", saved(image.convert("YCbCr"), "JPEG2000")
    yield "jp2-signed", saved(image, "JPEG2000", signed=True)
    yield "jp2-cmyk", saved(image.convert("CMYK"), "JPEG2000")
    yield "jp2-lossy-alpha", saved(alpha, "JPEG2000", irreversible=True, quality_mode="rates", quality_layers=[10])
    yield "jp2-rgb16", imagecodecs.jpeg2k_encode(RGB.astype(numpy.uint16) * 250, level=0, codecformat="jp2")
    yield "jp2-rgba16", imagecodecs.jpeg2k_encode(RGBA.astype(numpy.uint16) * 250, level=0, codecformat="jp2")
    yield "jp2-rgb12", imagecodecs.jpeg2k_encode(RGB.astype(numpy.uint16) * 16, level=0, bitspersample=12, codecformat="jp2")
    yield "jp2-grey12", imagecodecs.jpeg2k_encode(GREY.astype(numpy.uint16) * 16, level=0, bitspersample=12, codecformat="jp2")


def avifs():
    x, y = numpy.mgrid[0:24, 0:32][::-1]
    smooth = Image.fromarray(numpy.stack([x * 8, y * 10, 255 - x * 4 - y * 4], 2).astype(numpy.uint8))
    alpha = smooth.copy()
    alpha.putalpha(Image.fromarray((x * 8).astype(numpy.uint8)))
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "avif-420", saved(smooth, "AVIF", quality=80)
    yield "avif-422", saved(smooth, "AVIF", quality=80, subsampling="4:2:2")
    yield "avif-444", saved(smooth, "AVIF", quality=80, subsampling="4:4:4")
    yield "avif-lossless", saved(smooth, "AVIF", quality=100)
    yield "avif-grey", saved(smooth.convert("L"), "AVIF", subsampling="4:0:0")
    yield "avif-alpha", saved(alpha, "AVIF", quality=80)
    yield "avif-full-range", saved(smooth, "AVIF", quality=80, range="limited")
    yield "avif-rotated", saved(smooth, "AVIF", quality=80, exif=exif)
    yield "avif-animated", saved(smooth, "AVIF", quality=80, save_all=True, append_images=[smooth.rotate(180)])
    deep = numpy.asarray(smooth).astype(numpy.uint16)
    for bits, sampling in ((10, "420"), (10, "422"), (10, "444"), (12, "420"), (12, "444")):
        yield f"avif-deep{bits}-{sampling}", imagecodecs.avif_encode(deep << (bits - 8), level=90, bitspersample=bits, pixelformat=sampling)
    yield "avif-deep10-grey", imagecodecs.avif_encode(deep[:, :, 0] << 2, level=90, bitspersample=10)


def marker_at(data, marker):
    return data.index(bytes([255, marker]))


def named_rgb(data):
    """A file without JFIF's or Adobe's marker, whose components are named R, G and B."""
    frame, scan, out = marker_at(data, 0xc0), marker_at(data, 0xda), bytearray(data.replace(b"JFIF", b"none"))
    for k, name in enumerate(b"RGB"):
        out[frame + 10 + 3 * k] = out[scan + 5 + 2 * k] = name
    return bytes(out)


def grey_of_four_blocks(data):
    """Sampling factors 2x2 of the only component, which count for nothing."""
    at = marker_at(data, 0xc0) + 11
    return data[:at] + b"\x22" + data[at + 1:]


def jpegs():
    image = Image.fromarray(RGB)
    exif = Image.Exif()
    exif[0x0112] = 8
    yield "jpeg-mpo", saved(image, "MPO", save_all=True, append_images=[image.rotate(180)])
    yield "jpeg-cmyk-progressive", saved(image.convert("CMYK"), "JPEG", progressive=True)
    yield "jpeg-rgb", saved(image, "JPEG", keep_rgb=True, quality=90)
    yield "jpeg-rotated", saved(image, "JPEG", exif=exif)
    yield "jpeg-grey-progressive", saved(Image.fromarray(GREY), "JPEG", progressive=True)
    yield "jpeg-grey-2x2", grey_of_four_blocks(saved(Image.fromarray(GREY), "JPEG"))
    yield "jpeg-restarts", saved(image, "JPEG", restart_marker_blocks=1)
    yield "jpeg-restarts-progressive", saved(image, "JPEG", restart_marker_rows=1, progressive=True)
    yield "jpeg-names-of-rgb", named_rgb(saved(image, "JPEG", subsampling=0))
    yield "jpeg-cmyk-no-adobe", saved(image.convert("CMYK"), "JPEG").replace(b"Adobe", b"none.")
    for colours in ("CMYK", "YCCK"):
        yield f"jpeg-adobe-{colours.lower()}", imagecodecs.jpeg8_encode(RGBA, level=85, colorspace="CMYK", outcolorspace=colours)

    def cjpeg(*flags):
        return subprocess.run(["cjpeg", *flags], input=saved(image, "PPM"), stdout=subprocess.PIPE, check=True).stdout
    for sampling in ("2x1", "1x2", "4x1", "4x2", "1x4", "2x2,1x2,1x1", "1x1,2x1,2x1"):
        yield f"jpeg-sampling-{sampling}", cjpeg("-sample", sampling)
    yield "jpeg-4x1-progressive", cjpeg("-sample", "4x1", "-progressive")
    yield "jpeg-arithmetic", cjpeg("-arithmetic")
    yield "jpeg-arithmetic-progressive", cjpeg("-arithmetic", "-progressive")
    yield "jpeg-arithmetic-restarts", cjpeg("-arithmetic", "-restart", "1", "-sample", "4x1")
    yield "jpeg-quality-1", cjpeg("-quality", "1")


def files():
    for kind in (gifs, bmps, tiffs, pnms, webps, pngs, jpeg2000s, avifs, jpegs):
        yield from kind()


# ---- cut and damaged ----

def flipped(data, at, bit=1):
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1:]


def damaged():
    good = dict(files())
    for name in ("gif-palette", "bmp-24", "bmp-rle8", "tiff-deflate", "tiff-rgb-strips", "tiff-fax4", "pnm-1", "pnm-3", "pnm-6",
                 "webp-animated", "png-rgba", "jp2-rgb", "jp2-codestream", "avif-420", "jpeg-rgb"):
        data = good[name]
        yield name + "-half", data[:len(data) // 2]
        yield name + "-header-only", data[:20]
    for name in ("gif-palette", "bmp-24", "pnm-6", "tiff-rgb-strips"):
        yield name + "-last-byte-missing", good[name][:-1]
    png = good["png-rgba"]
    at = png.index(b"IDAT")
    end = at + 4 + struct.unpack(">I", png[at - 4:at])[0]
    yield "png-idat-checksum", flipped(png, end)
    yield "png-header-checksum", flipped(png, 29)
    yield "png-no-end", png[:-12]
    yield "png-deflate", flipped(png, at + 20, 0x40)
    gif_file = good["gif-palette"]
    yield "gif-code", gif_file[:-20] + b"\xff" * 19 + b";"
    yield "gif-no-image", good["gif-87a"][:13 + 48] + b";"
    yield "bmp-header-size", flipped(good["bmp-24"], 14, 0x80)
    yield "bmp-depth", flipped(good["bmp-24"], 28, 0x04)
    yield "pnm-letter", good["pnm-3"][:60] + b"x" + good["pnm-3"][61:]
    yield "pnm-too-large", good["pnm-2-12"].replace(b" 12\n", b" 11\n")
    yield "tiff-photometric", plain_tiff(packed(INDEX, 4), 4, 32844)
    yield "tiff-lab", tiff(RGB, photometric="cielab")
    yield "jp2-five-components", good["jp2-codestream"][:40] + b"\0\5" + good["jp2-codestream"][42:]


def record(out, name, data):
    out += struct.pack("<H", len(name)) + name.encode() + struct.pack("<I", len(data)) + data
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}")
        out += struct.pack("<2H", 0, 0)
        return False
    out += struct.pack("<2H", *image.size) + image.tobytes()
    return True


def main():
    warnings.simplefilter("ignore")
    images, bad = bytearray(), bytearray()
    good = [record(images, name, data) for name, data in files()]
    print(len(good), "images,", len(images), "bytes;", good.count(False), "refused by Pillow")
    refused = [record(bad, name, data) for name, data in damaged()]
    print(len(refused), "damaged files,", len(bad), "bytes")
    for path, data in zip(sys.argv[1:3], (images, bad)):
        with open(path, "wb") as f:
            f.write(data)
    sys.exit(1 if False in good else 0)


main()

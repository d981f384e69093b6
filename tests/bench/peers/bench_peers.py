#!/usr/bin/env python3
"""imsuper beside other libraries: same files, one thread each, alternating in one run.

    bench_peers.py --imsuper build/release/imsuper --data-dir DIR [--rounds 7] [--images 200] [--cpu-time] [--json]

A round measures every contender once on all files (read into memory first), in an order that moves on by one each round,
so that what else the machine does falls on all of them alike. Shown are the median and the best round. A library that is
not installed is left out, and said so. imsuper has the seek index of the images, as from a run's second epoch on. --cpu-time counts the processor time of each contender's process, all its threads,
instead of the clock: for a machine that has other work. Not installed with imsuper, and nothing of imsuper needs Python.

SPDL needs the libraries of FFmpeg 4 to 9, and has no crop: filters scale the decoded image. torchcodec decodes, and torchvision crops.

rrc: decode, RandomResizedCrop 224 (scale 0.08-1, ratio 3/4-4/3), flip with chance 0.5; each library in the way it is
     meant to be fast, which is not the same filter everywhere: imsuper, Pillow and torchvision antialias, DALI does, and
     OpenCV's INTER_AREA averages (FFCV's choice).
classic: the same and ShiftScaleRotate (0.0625, 0.1, 45, reflect 101, p 0.5), ColorJitter (0.2 each, p 0.5), CoarseDropout
     (8 holes of 8 x 8, p 0.5): the heavier set that imsuper called classic before 0.3. albumentations 2, or the older 1.3.1 / 1.4.0, on pixels decoded by libjpeg-turbo.
classic beyond decode: what the transforms of classic, crop and resize included, take after decoding (which is the larger
     part of both): albumentations on arrays decoded before, imsuper by its own clock around the decoder.
"""
import argparse
import importlib.metadata
import io
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time

SIZE = 224
HEAVY = ["--aug.rotate-limit", "45", "--aug.hue", "0.2", "--aug.jitter-p", "0.5", "--aug.dropout-fill", "0,0,0",
         *(word for end in ("min", "max")
           for word in (f"--aug.holes-{end}", "8", f"--aug.hole-height-{end}", "8", f"--aug.hole-width-{end}", "8"))]


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def rrc_box(width, height):
    """torchvision's RandomResizedCrop.get_params, for those without one."""
    area = width * height
    for _ in range(10):
        target = area * random.uniform(0.08, 1)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, width - w), random.randint(0, height - h), w, h
    w, h = width, height
    if width / height < 3 / 4:
        h = round(w / (3 / 4))
    elif width / height > 4 / 3:
        w = round(h * (4 / 3))
    return (width - w) // 2, (height - h) // 2, w, h


clock = time.perf_counter


def over(files, one):
    """A round: all files through `one`; images per second."""

    def measure():
        began = clock()
        for data in files:
            one(data)
        return len(files) / (clock() - began)

    return measure


def imsuper(args, files, augment, is_decoded=False, seek_index="auto"):
    rounds = iter(range(10**9))

    def measure():
        out = subprocess.run(
            [args.imsuper, "bench", "augment", "--json", "--data-dir", args.data_dir, "--images", str(len(files)),
             "--passes", "1", "--epoch", str(next(rounds)), "--image-size", str(SIZE), "--augment", augment,
             "--seek-index", seek_index,
             *(HEAVY if augment == "classic" else [])],
            check=True, stdout=subprocess.PIPE).stdout
        answer = json.loads(out)
        if is_decoded:
            mean = {op["name"]: op["mean_ms"] for op in answer["ops"]}
            # Waiting for a processor falls on all steps by what they take.
            busy = 1 - answer["wait_ms"] / mean["all"] if args.cpu_time else 1
            return 1000 / busy / (mean["crop, resize, flip"] + mean["transforms"])
        return answer["images_per_cpu_second" if args.cpu_time else "images_per_second"]

    return measure


def pillow(files):
    from PIL import Image

    def one(data):
        image = Image.open(io.BytesIO(data)).convert("RGB")
        x, y, w, h = rrc_box(*image.size)
        image = image.resize((SIZE, SIZE), Image.BILINEAR, box=(x, y, x + w, y + h))
        if random.random() < 0.5:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
        return image.tobytes()

    return over(files, one), f"Pillow {version('pillow')}"


def decoder():
    """Whole JPEG to RGB by libjpeg-turbo, as a function; what simplejpeg does not take (CMYK) goes to Pillow."""
    import numpy
    import simplejpeg
    from PIL import Image

    def decode(data):
        try:
            return simplejpeg.decode_jpeg(data, colorspace="RGB")
        except ValueError:
            return numpy.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    return decode


def opencv(files):
    import cv2

    cv2.setNumThreads(1)
    decode = decoder()

    def one(data):
        image = decode(data)
        x, y, w, h = rrc_box(image.shape[1], image.shape[0])
        image = cv2.resize(image[y:y + h, x:x + w], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        return cv2.flip(image, 1) if random.random() < 0.5 else image

    return over(files, one), f"simplejpeg {version('simplejpeg')} + OpenCV {cv2.__version__} (INTER_AREA)"


def torchvision(files):
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    transform = v2.Compose([v2.RandomResizedCrop(SIZE, antialias=True), v2.RandomHorizontalFlip()])
    tensors = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]

    def one(data):
        return transform(decode_jpeg(data, ImageReadMode.RGB))

    return over(tensors, one), f"torchvision {version('torchvision')} v2, uint8"


def torchcodec(files):
    import torch
    from torchcodec.decoders import decode_jpeg
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    transform = v2.Compose([v2.RandomResizedCrop(SIZE, antialias=True), v2.RandomHorizontalFlip()])
    tensors = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]

    def one(data):
        image = decode_jpeg(data)
        return transform(image.expand(3, -1, -1) if image.shape[0] == 1 else image[:3])

    return over(tensors, one), f"torchcodec {version('torchcodec')}, torchvision {version('torchvision')} v2"


def spdl(files):
    import spdl.io

    scale = spdl.io.get_video_filter_desc(scale_width=SIZE, scale_height=SIZE, pix_fmt="rgb24")

    def one(data):
        return spdl.io.load_image(data, filter_desc=scale)

    return over(files, one), f"SPDL {version('spdl')}, whole image scaled"


def dali(files):
    import nvidia.dali
    from nvidia.dali import fn, pipeline_def, types

    # Batches of ten: larger ones are no faster on one thread, and the last would be filled up.
    batch = next(n for n in (10, 8, 5, 4, 2, 1) if len(files) % n == 0)
    position = iter(range(10**9))

    def next_file(info):
        import numpy
        del info
        return numpy.frombuffer(files[next(position) % len(files)], dtype=numpy.uint8)

    @pipeline_def(batch_size=batch, num_threads=1, device_id=None, prefetch_queue_depth=1, exec_dynamic=False)
    def pipeline():
        data = fn.external_source(source=next_file, batch=False, dtype=types.UINT8)
        image = fn.decoders.image_random_crop(data, device="cpu", output_type=types.RGB,
                                              random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3])
        image = fn.resize(image, resize_x=SIZE, resize_y=SIZE, interp_type=types.INTERP_LINEAR, antialias=True)
        return fn.flip(image, horizontal=fn.random.coin_flip())

    pipe = pipeline()
    pipe.build()

    def measure():
        began = clock()
        for _ in range(len(files) // batch):
            pipe.run()
        return len(files) / (clock() - began)

    return measure, f"DALI {nvidia.dali.__version__} CPU, image_random_crop"


def classic():
    import albumentations as A
    import cv2

    cv2.setNumThreads(1)
    name = f"albumentations {version('albumentations')} on OpenCV {cv2.__version__}"
    if version("albumentations").startswith("2."):
        change = (0.8, 1.2)
        return name, A.Compose([
            A.RandomResizedCrop(size=(SIZE, SIZE)),
            A.HorizontalFlip(p=0.5),
            A.Affine(translate_percent=(-0.0625, 0.0625), scale=(0.9, 1.1), rotate=(-45, 45),
                     border_mode=cv2.BORDER_REFLECT_101, p=0.5),
            A.ColorJitter(brightness=change, contrast=change, saturation=change, hue=(-0.2, 0.2), p=0.5),
            A.CoarseDropout(num_holes_range=(8, 8), hole_height_range=(8, 8), hole_width_range=(8, 8), p=0.5),
        ])
    return name, A.Compose([
        A.RandomResizedCrop(SIZE, SIZE),
        A.HorizontalFlip(p=0.5),
        A.ShiftScaleRotate(0.0625, 0.1, 45, border_mode=cv2.BORDER_REFLECT_101, p=0.5),
        A.ColorJitter(0.2, 0.2, 0.2, 0.2, p=0.5),
        A.CoarseDropout(8, 8, 8, p=0.5),
    ])


def albumentations(files):
    decode = decoder()
    name, transform = classic()

    def one(data):
        return transform(image=decode(data))["image"]

    return over(files, one), f"{name}, simplejpeg {version('simplejpeg')}"


def albumentations_alone(files):
    decode = decoder()
    name, transform = classic()
    images = [decode(data) for data in files]

    def one(image):
        return transform(image=image)["image"]

    return over(images, one), name


def read_files(args):
    """The files that imsuper takes, in its order."""
    reader = os.path.join(os.path.dirname(os.path.abspath(args.imsuper)), "imsuper-reader")
    out = subprocess.run([reader, "data", "list", "--data-dir", args.data_dir, "--images", str(args.images)], check=True,
                         stdout=subprocess.PIPE).stdout
    files = []
    for path in out.split(b"\0")[3::5]:
        with open(path, "rb") as f:
            files.append(f.read())
    return files


def gather(args, files):
    contenders = {"rrc": [("imsuper", imsuper(args, files, "light")),
                          ("imsuper, --seek-index off", imsuper(args, files, "light", seek_index="off"))],
                  "classic": [("imsuper", imsuper(args, files, "classic"))],
                  "classic beyond decode": [("imsuper", imsuper(args, files, "classic", True))]}
    for task, make in (("rrc", dali), ("rrc", opencv), ("rrc", torchvision), ("rrc", torchcodec), ("rrc", spdl), ("rrc", pillow),
                       ("classic", albumentations), ("classic beyond decode", albumentations_alone)):
        try:
            measure, name = make(files)
            measure()  # warm up, and find out whether it works here
            contenders[task].append((name, measure))
        except Exception as error:  # whatever a library has against this machine
            print(f"left out: {make.__name__}: {type(error).__name__}: {str(error).splitlines()[0][:150]}",
                  file=sys.stderr)
    return contenders


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imsuper", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    global clock
    if args.cpu_time:
        clock = time.process_time
    random.seed(1)
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})  # libraries that ignore their thread count
    files = read_files(args)
    contenders = gather(args, files)
    rates = {(task, name): [] for task, rows in contenders.items() for name, _ in rows}
    for number in range(args.rounds):
        for task, rows in contenders.items():
            for i in range(len(rows)):
                name, measure = rows[(i + number) % len(rows)]
                rates[task, name].append(measure())
    if args.json:
        print(json.dumps([{"task": t, "name": n, "images_per_second": r} for (t, n), r in rates.items()]))
        return
    print(f"{len(files)} files, {args.rounds} rounds, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    for task, rows in contenders.items():
        print(f"\n{task:<62} {'median':>8} {'best':>8}  imsuper is")
        for name, _ in rows:
            r = rates[task, name]
            ratio = statistics.median(a / b for a, b in zip(rates[task, "imsuper"], r))
            print(f"{name:<62} {statistics.median(r):>8.1f} {max(r):>8.1f}  {ratio:>9.2f}x")


main()

#!/usr/bin/env python3
"""Whole input pipelines beside imsuper's: the same JPEG files, two workers each, alternating.

    bench_pipelines.py --imsuper build/release/imsuper --work DIR --data-dir IMAGES [--rounds 3] [--seconds 6] [--only WORD] [--json]

IMAGES are class folders below train/ (some hundred files do: each is linked until there are --images). DIR gets them as
folders, as shards (`imsuper data pack`, which keeps the bytes), as litData's chunks and, for DALI, with wds2idx's index
files; what is there already is used again. A measurement is a process of its own: after --warm-up seconds batches of 64 are taken and thrown away for
--seconds; counted are the images, the clock, and the processor time of the process and all its children (/proc). All do decode, RandomResizedCrop 224 (scale 0.08-1), flip
with chance 0.5, uint8, shuffled in the way each is meant to be. A library that is not installed is left out, and said so.

Images of a cache of `imsuper start --data-dir https://...` are measured with --cached DIR/HASH/data: what a second epoch reads.
"""
import argparse
import glob
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import time

SIZE, BATCH, WORKERS = 224, 64, 2
PATIENCE = 900  # seconds for one measurement: libraries take minutes to load on a machine that is busy


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def transforms(from_pil):
    import torch
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    steps = [v2.RandomResizedCrop(SIZE, antialias=True), v2.RandomHorizontalFlip()]
    return v2.Compose(steps + [v2.PILToTensor()] if from_pil else steps)


def decode_tensor(data):
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)


def loader(dataset, shuffle):
    from torch.utils.data import DataLoader

    return DataLoader(dataset, batch_size=BATCH, shuffle=shuffle, num_workers=WORKERS, drop_last=True,
                      persistent_workers=True)


def torch_pil(work):
    """torchvision ImageFolder (Pillow), DataLoader"""
    from torchvision.datasets import ImageFolder

    return loader(ImageFolder(f"{work}/folders/train", transforms(True)), True), f"torchvision {version('torchvision')}"


def torch_tensor(work):
    """torchvision ImageFolder, decode_jpeg and v2 on tensors, DataLoader"""
    from torchvision.datasets import ImageFolder

    def read(path):
        with open(path, "rb") as f:
            return decode_tensor(f.read())

    return (loader(ImageFolder(f"{work}/folders/train", transforms(False), loader=read), True),
            f"torchvision {version('torchvision')}")


def webdataset(work):
    """webdataset, WebLoader, decode_jpeg and v2 on tensors"""
    import webdataset as wds

    shards = sorted(glob.glob(f"{work}/shards/train-*.tar"))
    transform = transforms(False)
    data = (wds.WebDataset(shards, shardshuffle=len(shards), empty_check=False).shuffle(1000)
            .to_tuple("jpg;jpeg;JPEG", "cls")
            .map_tuple(lambda data: transform(decode_tensor(data)), int).batched(BATCH, partial=False))
    return (wds.WebLoader(data, batch_size=None, num_workers=WORKERS, persistent_workers=True),
            f"webdataset {version('webdataset')}")


def litdata(work):
    """litData StreamingDataset, decode_jpeg and v2 on tensors"""
    import litdata

    transform = transforms(False)

    class Images(litdata.StreamingDataset):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            return transform(decode_tensor(item["image"])), item["label"]

    return (litdata.StreamingDataLoader(Images(f"{work}/chunks", shuffle=True), batch_size=BATCH,
                                        num_workers=WORKERS, drop_last=True, persistent_workers=True),
            f"litdata {version('litdata')}")


def dali(work):
    """DALI, readers.webdataset and image_random_crop on the CPU"""
    from nvidia.dali import fn, pipeline_def, types

    shards = sorted(glob.glob(f"{work}/shards/train-*.tar"))
    indexes = [s[:-4] + ".idx" for s in shards]  # without them DALI reads each shard once more
    indexes = indexes if all(map(os.path.exists, indexes)) else []

    @pipeline_def(batch_size=BATCH, num_threads=WORKERS, device_id=None)
    def pipeline():
        data, label = fn.readers.webdataset(paths=shards, index_paths=indexes,
                                            ext=["jpg;jpeg;JPEG", "cls"], random_shuffle=True, initial_fill=1000,
                                            missing_component_behavior="error")
        image = fn.decoders.image_random_crop(data, device="cpu", output_type=types.RGB,
                                              random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3])
        image = fn.resize(image, resize_x=SIZE, resize_y=SIZE, interp_type=types.INTERP_LINEAR, antialias=True)
        return fn.flip(image, horizontal=fn.random.coin_flip()), label

    pipe = pipeline()
    pipe.build()

    class Batches:
        def __iter__(self):
            return self

        def __next__(self):
            return pipe.run()

    package = next((d.metadata["Name"] for d in importlib.metadata.distributions()
                    if (d.metadata["Name"] or "").startswith("nvidia-dali")), "nvidia-dali")
    return Batches(), f"{package} {version(package)}"


PEERS = {f.__name__: f for f in (torch_pil, torch_tensor, webdataset, litdata, dali)}


def cpu_seconds():
    """Of this process and all below it."""
    parent, used = {}, {}
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(stat) as f:
                head, fields = f.read().rsplit(")", 1)
        except OSError:
            continue
        fields = fields.split()
        pid = int(head.split(" ", 1)[0])
        parent[pid], used[pid] = int(fields[1]), int(fields[11]) + int(fields[12])
    ours = {os.getpid()}
    while True:
        more = {pid for pid, of in parent.items() if of in ours} - ours
        if not more:
            return sum(used.get(pid, 0) for pid in ours) / os.sysconf("SC_CLK_TCK")
        ours |= more


def endless(batches):
    while True:
        yield from batches


def measure_here(name, args):
    """In a process of its own: prints images/s and images per second of a core."""
    batches, what = PEERS[name](args.work)
    source = endless(batches)
    began = time.monotonic()
    while time.monotonic() - began < args.warm_up:
        next(source)
    began, cpu, images = time.monotonic(), cpu_seconds(), 0
    while time.monotonic() - began < args.seconds:
        next(source)
        images += BATCH
    took = time.monotonic() - began
    print(json.dumps({"what": what, "rate": images / took, "core": images / (cpu_seconds() - cpu)}), flush=True)
    os._exit(0)  # workers of some libraries take their time


def measure(name, args):
    if name in PEERS:
        out = subprocess.run([sys.executable, os.path.abspath(__file__), "--one", name, *sys.argv[1:]],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)
        if out.returncode != 0:
            raise RuntimeError(" | ".join(out.stderr.decode(errors="replace").strip().splitlines()[-3:])[:600])
        return json.loads(out.stdout.splitlines()[-1])
    folder = {"imsuper_folders": f"{args.work}/folders", "imsuper_shards": f"{args.work}/shards",
              "imsuper_cached": args.cached}[name]
    out = subprocess.run([args.imsuper, "bench", "data", "--json", "--data-dir", folder, "--readers", "1", "--augmenters",
                          str(WORKERS), "--gpus", "1", "--batch-size", str(BATCH), "--image-size", str(SIZE), "--passes", "1", "--warm-up-seconds",
                          str(args.warm_up), "--pass-seconds", str(args.seconds)],
                         stdout=subprocess.PIPE, check=True).stdout
    answer = json.loads(out)
    return {"what": f"imsuper {answer.get('version', '')}".strip(), "rate": answer["images_per_second"]["mean"],
            "core": 1000 / answer["cpu_ms_per_image"]}


def prepare(args):
    """The images in each form."""
    folders = f"{args.work}/folders"
    if not os.path.isdir(folders):
        files = sorted(glob.glob(f"{args.data_dir}/train/*/*"))
        if not files:
            raise SystemExit(f"bench_pipelines.py: no file matches {args.data_dir}/train/CLASS/*: name the folder above train/")
        times = -(-args.images // len(files))
        for path in files:
            of = f"{folders}/train/{os.path.basename(os.path.dirname(path))}"
            os.makedirs(of, exist_ok=True)
            stem, ending = os.path.splitext(os.path.basename(path))
            for i in range(times):
                with open(path, "rb") as source, open(f"{of}/{stem}_{i}{ending}", "wb") as copy:
                    copy.write(source.read())
    if not os.path.isdir(f"{args.work}/shards"):
        subprocess.run([args.imsuper, "data", "pack", folders, f"{args.work}/shards", "--shard-images", "200"], check=True,
                       stdout=subprocess.DEVNULL)
    for shard in glob.glob(f"{args.work}/shards/train-*.tar"):
        wds2idx = os.path.join(os.path.dirname(sys.executable), "wds2idx")
        if not os.path.exists(shard[:-4] + ".idx") and os.path.exists(wds2idx):
            subprocess.run([sys.executable, wds2idx, shard, shard[:-4] + ".idx"], check=False)
    # litData empties the folders data and chunks below $TMPDIR before it begins, whoever made them.
    os.environ["DATA_OPTIMIZER_CACHE_FOLDER"] = f"{args.work}/litdata/chunks"
    os.environ["DATA_OPTIMIZER_DATA_CACHE_FOLDER"] = f"{args.work}/litdata/data"
    try:
        import litdata as lit
    except ImportError:
        return
    if not os.path.isdir(f"{args.work}/chunks"):
        paths = sorted(glob.glob(f"{folders}/train/*/*"))
        classes = sorted({os.path.dirname(p) for p in paths})
        lit.optimize(fn=Sample(classes), inputs=paths, output_dir=f"{args.work}/chunks", chunk_bytes="64MB", num_workers=1)


class Sample:
    def __init__(self, classes):
        self.classes = classes

    def __call__(self, path):
        with open(path, "rb") as f:
            return {"image": f.read(), "label": self.classes.index(os.path.dirname(path))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imsuper", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--cached", default="")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--warm-up", type=float, default=3)
    parser.add_argument("--only", default="", help="contenders whose name holds this word")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure_here(args.one, args)
    prepare(args)
    names = ["imsuper_folders", "imsuper_shards", *(["imsuper_cached"] if args.cached else []), *PEERS]
    names = [name for name in names if args.only in name]
    results = {}
    for number in range(args.rounds):
        for i in range(len(names)):
            name = names[(i + number) % len(names)]
            try:
                results.setdefault(name, []).append(measure(name, args))
            except Exception as error:  # whatever a library has against this machine
                print(f"left out: {name}: {type(error).__name__}: {str(error)[:600]}", file=sys.stderr)
    if args.json:
        print(json.dumps(results))
        return
    print(f"{args.rounds} rounds of {args.seconds:g} s, {WORKERS} workers each, load average {os.getloadavg()[0]:.1f} on "
          f"{os.cpu_count()} CPUs")
    print(f"{'':<24}{'images/s':>22}{'of a core':>22}   version")
    for name in names:
        for_name = results.get(name)
        if for_name:
            columns = []
            for key in ("rate", "core"):
                values = [r[key] for r in for_name]
                columns.append(f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})")
            print(f"{name:<24}{columns[0]:>22}{columns[1]:>22}   {for_name[0]['what']}")


if __name__ == "__main__":
    main()

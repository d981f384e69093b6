#!/usr/bin/env python3
"""Tar shards for imsuper from the parquet files of Hugging Face's image sets (imagenet-1k: image{bytes,path}, label).

Parquet has no C library in Debian, so this is a helper in Python: it needs pyarrow (pip install pyarrow) and nothing else.

    python3 import_parquet.py path/to/imagenet-1k path/to/shards
    imsuper start --data-dir path/to/shards

SRC holds *.parquet, or data/*.parquet, or any folders of them; names that begin with train, val, validation or test say the
split. Each file becomes one shard. The images' bytes are not changed. Names of classes come from the file's metadata.
Started again after a kill, the same command goes on; the same files give the same bytes.
"""
import argparse
import io
import json
import os
import re
import sys
import tarfile

import pyarrow.parquet

ENDINGS = ((b"\xff\xd8", "jpg"), (b"\x89PNG", "png"), (b"GIF8", "gif"), (b"BM", "bmp"), (b"II*\0", "tif"), (b"MM\0*", "tif"))
SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


def ending_of(image):
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "webp"
    return next((ending for magic, ending in ENDINGS if image.startswith(magic)), "img")


def find_files(folder):
    """All parquet files below the folder by split, in the order of their paths; a file of no split is for training."""
    found = {}
    for above, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.endswith(".parquet"):
                path = os.path.join(above, name)
                words = re.split(r"[^a-z]+", os.path.relpath(path, folder).lower())
                split = next((SPLITS[word] for word in reversed(words) if word in SPLITS), "train")
                found.setdefault(split, []).append(path)
    return found


def class_names(schema, column):
    """The names in the metadata that the library datasets writes; None: there are none."""
    info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    return info.get("info", {}).get("features", {}).get(column, {}).get("names")


def opened(path):
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        sys.exit(f"{path} is no whole parquet file: {error}; fetch it again")


def add(archive, name, content):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o444
    archive.addfile(info, io.BytesIO(content))


def convert(path, target, number, args, names):
    """One file; under a temporary name until it is whole. Returns the number of samples."""
    count = 0
    with tarfile.open(target + ".tmp", "w", format=tarfile.USTAR_FORMAT) as archive:
        batches = opened(path).iter_batches(batch_size=64, columns=[args.image, args.label])
        for batch in batches:
            for image, label in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist()):
                content = image["bytes"] if isinstance(image, dict) else image
                key = f"{number:05d}{count:07d}"
                count += 1
                if not content:
                    sys.exit(f"{path}: row {count - 1} holds no bytes of an image (only a path?)")
                if label is None or (isinstance(label, int) and label < 0):
                    continue  # the test images of imagenet-1k
                if names and isinstance(label, int) and label >= len(names):
                    sys.exit(f"{path}: row {count - 1} has the label {label}, and there are names of {len(names)} classes")
                about = {"label": label}
                if names and isinstance(label, int):
                    about["class"] = names[label]
                if isinstance(image, dict) and image.get("path"):
                    about["filename"] = os.path.basename(image["path"])
                add(archive, key + ".cls", str(label).encode())
                add(archive, key + ".json", json.dumps(about).encode())
                add(archive, f"{key}.{ending_of(content)}", content)
    with open(target + ".tmp", "rb") as f:
        os.fsync(f.fileno())
    os.replace(target + ".tmp", target)
    return count


def count_samples(target):
    with tarfile.open(target) as archive:
        return sum(member.name.endswith(".cls") for member in archive)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("src", help="folder of the parquet files")
    parser.add_argument("dst", help="folder of the shards, made if it is missing")
    parser.add_argument("--image", default="image", help="column of the images (default: image)")
    parser.add_argument("--label", default="label", help="column of the labels (default: label)")
    args = parser.parse_args()
    found = find_files(args.src)
    if not found:
        sys.exit(f"{args.src} holds no *.parquet files")
    found.pop("test", None) if "train" in found else None
    os.makedirs(args.dst, exist_ok=True)
    first = opened(next(iter(found.values()))[0]).schema_arrow
    for column in (args.image, args.label):
        if column not in first.names:
            sys.exit(f"there is no column {column}, but {', '.join(first.names)}: name one with --image or --label")
    names = class_names(first, args.label)
    info = {"splits": {}}
    for split, paths in found.items():
        shards = []
        for number, path in enumerate(paths):
            target = os.path.join(args.dst, f"{'val' if split == 'validation' else split}-{number:06d}.tar")
            if not os.path.exists(target):
                print(f"{path} -> {target}", flush=True)
                convert(path, target, number, args, names)
            shards.append((os.path.basename(target), count_samples(target)))
        info["splits"][split] = {"name": split, "num_samples": sum(n for _, n in shards),
                                 "filenames": [name for name, _ in shards], "shard_lengths": [n for _, n in shards]}
    if names:
        info["classes"] = names
        # Names of imagenet-1k have commas, and may not have line breaks.
        with open(os.path.join(args.dst, "classes.txt"), "w", encoding="utf-8") as f:
            f.writelines(name.replace("\n", " ") + "\n" for name in names)
    with open(os.path.join(args.dst, "_info.json"), "w", encoding="utf-8") as f:
        json.dump(info, f, indent=1)


if __name__ == "__main__":
    main()

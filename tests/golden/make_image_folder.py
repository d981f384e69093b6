#!/usr/bin/env python3
"""Makes image_folder.txt: trees of files, and what torchvision.datasets.ImageFolder lists in them. Lines with tabs between:

    tree NAME
    file PATH            an empty file
    link PATH TARGET     a symbolic link
    sample PATH CLASS    of ImageFolder, in its order; PATH relative to the tree, below train/

Everything lies below train/. Needs torchvision (0.29.2 made the file that is here):
    python3 make_image_folder.py > image_folder.txt"""
import os
import random
import tempfile

from torchvision.datasets import ImageFolder

ENDINGS = [".jpg", ".jpeg", ".png", ".webp", ".JPG", ".JPEG", ".PnG", ".WebP"]
OTHERS = [".txt", ".jpg.bak", ".xml", "", ".jpgx"]


def by_hand():
    """Names whose order is easy to get wrong, folders at several depths, links, folders that are called like images."""
    files = ["b/1.jpg", "b/10.jpg", "b/2.jpg", "B/x.png", "a b/1.jpg", "a-b/1.jpg", "a/1.jpg", "a.b/1.jpg", "ä/ü.jpg", "zß/日本.jpg",
             "deep/z.jpg", "deep/a/b/c/d/e.jpg", "deep/a/b-c/1.jpg", "deep/a/b/1.jpg", "deep/a.b/1.jpg", "deep/a b/1.jpg", "deep/A/1.jpg",
             "only below/x/y/1.jpeg", "only below/x/notes.txt", "n01/images/n01_0.JPEG", "n01/images/n01_10.JPEG", "n01/images/n01_2.JPEG",
             "n01/n01_boxes.txt", "0/1.jpg", "10/1.jpg", "2/1.jpg", "folder.jpg/1.jpg", "folder.jpg/inner.png/2.jpg", "a/1.JPG", "a/1.tar.jpg",
             "a/x.y/1.jpg", "B/x.png.txt", "~x/1.jpg", "(1)/1 (2).jpg", "b/no_ending", "b/jpg", "#1/1.jpg", "'q'/\"1\".jpg"]
    links = [("links/folder", "../deep/a"), ("links/again", "../deep/a"), ("links/file.jpg", "../b/1.jpg"), ("linked", "b"),
             ("deep/to", "../b"), ("links/chain", "folder/b")]
    return files, links


def by_chance(seed):
    rng = random.Random(seed)
    part = lambda: "".join(rng.choice("ab01-._ AZé") for _ in range(rng.randint(1, 3))).lstrip(". ") or "x"
    files = set()
    for _ in range(60):
        folders = [part() for _ in range(rng.choice([1, 1, 2, 2, 3, 5]))]
        files.add("/".join(folders + [part() + rng.choice(ENDINGS)]))
        if rng.random() < 0.3:
            files.add("/".join(folders + [part() + rng.choice(OTHERS)]))
    return sorted(files), []


def make(root, files, links):
    made = []
    for path in files:
        whole = os.path.join(root, "train", path)
        try:
            os.makedirs(os.path.dirname(whole), exist_ok=True)
            if not os.path.isdir(whole):
                open(whole, "w").close()
                made.append(path)
        except (FileExistsError, NotADirectoryError):  # a file has the name of a folder
            pass
    for path, target in links:
        whole = os.path.join(root, "train", path)
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        os.symlink(target, whole)
    return made


def main():
    trees = [("by_hand", by_hand())] + [(f"by_chance_{seed}", by_chance(seed)) for seed in range(6)]
    for name, (files, links) in trees:
        with tempfile.TemporaryDirectory() as root:
            made = make(root, files, links)
            for entry in os.listdir(os.path.join(root, "train")):  # ImageFolder refuses a class without images
                if not any(f.lower().endswith(tuple(e.lower() for e in ENDINGS)) for _, _, fs in os.walk(os.path.join(root, "train", entry),
                           followlinks=True) for f in fs):
                    open(os.path.join(root, "train", entry, "0.jpg"), "w").close()
                    made.append(entry + "/0.jpg")
            print("tree", name, sep="\t")
            for path in made:
                print("file", "train/" + path, sep="\t")
            for path, target in links:
                print("link", "train/" + path, target, sep="\t")
            folder = ImageFolder(os.path.join(root, "train"))
            for path, label in folder.samples:
                print("sample", os.path.relpath(path, root), folder.classes[label], sep="\t")


main()

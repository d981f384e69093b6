"""Makes tests/golden/shards/: tar archives by the programs that people make shards with.

Made with webdataset 1.0.2, GNU tar 1.34 and the tarfile of Python 3.11. Members hold a few bytes, which are no images:
test_shards.c looks at names, labels, offsets and sizes.

    python3 -P tests/golden/make_shards.py tests/golden/shards    # -P: the folder torch beside it is no module
"""
import json
import os
import subprocess
import sys
import tarfile
import tempfile

import webdataset

OUT = os.path.abspath(sys.argv[1])


def with_webdataset(name, label):
    with webdataset.TarWriter(os.path.join(OUT, name), user="", group="", mtime=0) as writer:
        for i in range(4):
            writer.write({"__key__": f"{i:06d}", "jpg": b"image %d" % i, **label(i)})


def gnu_tar(name, *flags):
    with tempfile.TemporaryDirectory() as folder:
        for i, path in enumerate(["n01/a.JPEG", "n01/b.2.png", "n02/" + "long" * 40 + ".jpg", "n02/\u00e9.webp"]):
            full = os.path.join(folder, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "wb") as f:
                f.write(b"image %d" % i)
        subprocess.run(["tar", "-C", folder, "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner",
                        *flags, "-cf", os.path.join(OUT, name), "."], check=True)


def sparse(name, *flags):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "0.jpg"), "wb") as f:
            f.write(b"x" * 4096)
            f.truncate(1 << 20)
        with open(os.path.join(folder, "1.jpg"), "wb") as f:
            f.write(b"image 1")
        subprocess.run(["tar", "-C", folder, "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner",
                        "--sparse", *flags, "-cf", os.path.join(OUT, name), "0.jpg", "1.jpg"], check=True)


def with_python(name, fmt):
    with tarfile.open(os.path.join(OUT, name), "w", format=fmt) as archive:
        for i in range(3):
            for ending, content in (("jpg", b"image %d" % i), ("json", json.dumps({"cls": i}).encode())):
                info = tarfile.TarInfo(f"{'deep/' * 20}{i}.{ending}")
                info.size = len(content)
                with tempfile.TemporaryFile() as f:
                    f.write(content)
                    f.seek(0)
                    archive.addfile(info, f)


os.makedirs(OUT, exist_ok=True)
with_webdataset("wds-cls.tar", lambda i: {"cls": 3 - i})
with_webdataset("wds-json.tar", lambda i: {"json": {"label": i, "filename": f"n0{i}/x{i}.JPEG"}})
with_webdataset("wds-name.tar", lambda i: {"cls": ["cat", "dog"][i % 2]})
for fmt in ("gnu", "posix", "oldgnu"):
    gnu_tar(f"gnu-{fmt}.tar", f"--format={fmt}", *(["--pax-option=delete=atime,delete=ctime"] if fmt == "posix" else []))
sparse("sparse-gnu.tar", "--format=gnu")
sparse("sparse-posix.tar", "--format=posix", "--pax-option=delete=atime,delete=ctime")
with_python("python-ustar.tar", tarfile.USTAR_FORMAT)
with_python("python-pax.tar", tarfile.PAX_FORMAT)

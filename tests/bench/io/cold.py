#!/usr/bin/env python3
"""Reading from a cold disk with and without byte ranges (--read-ranges), in turns.

    tests/bench/io/cold.py BIN DIR [--rounds N] [--passes N] [--depth N]

BIN: folder of the programs; DIR: a data set of JPEG files on a disk, at best several times the size that the disk keeps in a cache of
its own. Its seek index is made first (`data index --seek`, in a folder of its own). Each measurement is `imsuper bench read --cold`,
which has the page cache forget the files before each pass. Whole files and ranges alternate, so that
what else the machine does meets both; the ratio is that of each pair, and its median and range are printed. No network, no root.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile


def measure(args, folder, ranges):
    """images/s of one measurement, and its whole answer."""
    command = [os.path.join(args.bin, "imsuper"), "bench", "read", "--data-dir", args.dir, "--cold", "--json", "--seek-index", folder,
               "--read-ranges", "on" if ranges else "off", "--passes", str(args.passes), "--cell-bytes", str(args.cell_bytes),
               "--queue-depth", str(args.depth)]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer["images_per_second"], answer


def spread(values):
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin")
    parser.add_argument("dir")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--depth", type=int, default=64, help="--queue-depth")
    parser.add_argument("--cell-bytes", type=int, default=1 << 20, help="larger than the largest file, so that bench read reads all")
    args = parser.parse_args()
    rates = {False: [], True: []}
    sizes = {False: [], True: []}
    cpu = {False: [], True: []}
    left = []
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([os.path.join(args.bin, "imsuper"), "data", "index", "--data-dir", args.dir, "--seek", "--seek-index", folder],
                       check=True, stdout=subprocess.DEVNULL)
        for round_ in range(args.rounds):
            for ranges in (round_ % 2 == 0, round_ % 2 == 1):
                rate, answer = measure(args, folder, ranges)
                rates[ranges].append(rate)
                sizes[ranges].append(answer.get("bytes_per_image", 0))
                cpu[ranges].append(answer.get("cpu_ms_per_image", 0))
                left.append(answer.get("still_cached") or 0)
                print(f"{'ranges' if ranges else 'whole ':6}  {rate:8.1f} images/s  {sizes[ranges][-1] / 1024:7.2f} KiB an image", flush=True)
    ratios = [r / w for r, w in zip(rates[True], rates[False])]
    print(f"whole files  {spread(rates[False])} images/s")
    print(f"ranges       {spread(rates[True])} images/s")
    print(f"ranges/whole {spread(ratios)}")
    if sizes[True][0]:
        print(f"CPU          {spread(cpu[False])} ms an image whole, {spread(cpu[True])} by ranges")
        print(f"fewer bytes  {statistics.mean(sizes[False]) / statistics.mean(sizes[True]):.3f}x")
    print(f"still in memory before a pass: {100 * max(left):.1f} % at most")


if __name__ == "__main__":
    main()

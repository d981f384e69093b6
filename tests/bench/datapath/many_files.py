#!/usr/bin/env python3
"""Start-up and memory of a run over many files.

    tests/bench/datapath/many_files.py BIN DIR [--seconds N] [--runs N] [flags of imsuper start]

Starts a small training over DIR, whose index (and seek index, see fill_seek) is there already, and tells: seconds from the command until the first
process of each role is ready, and until the first batch is trained; then, after some seconds, the proportional set size (PSS) of each
process, with and without what is shared (the rings, and files). The run is stopped then.
"""
import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import tempfile
import time


def rollup(pid):
    """PSS in MB: all, of memory of its own, of files, of shared memory."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        text = f.read()
    return [int(re.search(rf"^{name}:\s+(\d+)", text, re.M).group(1)) / 1024 for name in ("Pss", "Pss_Anon", "Pss_File", "Pss_Shmem")]


def children(pid):
    """All processes below one, with their program's name and first words."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf8", errors="replace") as f:
                parent = int(f.read().rsplit(")", 1)[1].split()[1])
            with open(f"/proc/{entry}/cmdline", encoding="utf8", errors="replace") as f:
                words = f.read().split("\0")
        except OSError:
            continue
        if parent == pid:
            found.append((int(entry), os.path.basename(words[0])))
            found += children(int(entry))
    return found


def one(args, flags, folder):
    began = time.time()
    run = subprocess.Popen([os.path.join(args.bin, "imsuper"), "start", "--data-dir", args.dir, "--workspace", folder, "--run-name", "run",
                            "--model", "resnet20", "--stem", "small", "--image-size", "32", "--batch-size", "64", "--epochs", "1",
                            "--readers", "1", "--augmenters", "1", "--plain", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    times, rows, status = {}, [], os.path.join(folder, "run")
    while time.time() - began < 60 and "batch" not in times:
        time.sleep(0.005)
        if "events" not in times and os.path.exists(os.path.join(status, "events.jsonl")):
            times["events"] = time.time() - began
        answer = subprocess.run([os.path.join(args.bin, "imsuper"), "status", "--json", status], capture_output=True, text=True)
        if answer.returncode == 0 and answer.stdout:
            step = json.loads(answer.stdout).get("step") or 0
            times.setdefault("answers", time.time() - began)
            if step > 0:
                times["batch"] = time.time() - began
    time.sleep(args.seconds)
    for pid, name in [(run.pid, "imsuper"), *children(run.pid)]:
        try:
            rows.append((name, *rollup(pid)))
        except OSError:
            pass
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=120)
    return times, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin")
    parser.add_argument("dir")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--runs", type=int, default=3)
    args, flags = parser.parse_known_args()
    seen = []
    for _ in range(args.runs):
        with tempfile.TemporaryDirectory() as folder:
            times, rows = one(args, flags, folder)
        seen.append(times)
        print("  ".join(f"{name} {value:.2f} s" for name, value in times.items()), flush=True)
    for name in sorted({name for times in seen for name in times}):
        values = [times[name] for times in seen if name in times]
        print(f"{name:8} median {statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})")
    print(f"{'process':20} {'PSS MB':>8} {'own':>8} {'files':>8} {'shared':>8}")
    for name, *values in rows:
        print(f"{name:20} " + " ".join(f"{value:8.1f}" for value in values))


if __name__ == "__main__":
    main()

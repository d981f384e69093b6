#!/usr/bin/env python3
"""What all that watches costs: two runs take turns on a machine that training fills, one bare, one watched.

    throughput.py --bin build/release [--minutes 5] [--window 6] [--threads N] [--json]

Both train resnet20 on the same images with the same seed, on all cores. One is bare: no TensorBoard, nobody looks. The other has everything
at once: TensorBoard, tables of each class, /metrics read each second, events as lines of JSON, a command for each event, `imsuper top` in a
terminal of 120x40, and `imsuper trace` for all but the last second of a window. One is paused while the other goes on for a window, and
the order changes from pair to pair; who watches is stopped meanwhile. Of a window count the images that were trained or validated, and
the processor time of the run's processes and of those who watch. Shown are, of the pairs:

  throughput   images/s without / with, less 1: what counts, and what other work on the machine disturbs
  CPU time     what an image takes more, times images/s, as a share of all cores: hardly depends on what else the machine does

with their mean and its 95 % interval (Student's t). Nothing of imsuper needs Python.
"""
import argparse
import json
import math
import os
import pty
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

BATCH, CLASSES, PER_CLASS, COPIES, VAL_PER_CLASS = 16, 10, 60, 15, 10
TICK = os.sysconf("SC_CLK_TCK")
SETTLE = 0.7  # after a run goes on again
T95 = [0, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09]


def make_data(binary, data):
    """Epochs of a minute, as real runs have them: few images, each with many names."""
    subprocess.run([binary, "data", "synth", "--out", data, "--classes", str(CLASSES), "--per-class", str(PER_CLASS), "--val-per-class",
                    str(VAL_PER_CLASS), "--side-min", "200", "--side-max", "400", "--quiet"], check=True)
    for folder, _, files in os.walk(os.path.join(data, "train")):
        for name in files:
            for i in range(1, COPIES):
                os.link(os.path.join(folder, name), os.path.join(folder, "%d-%s" % (i, name)))


def cpu_of(tag):
    """Seconds of all processes whose environment has the tag; those that have ended are in their parents'."""
    wanted, total = b"WATCHED=" + tag.encode(), 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/environ" % pid, "rb") as f:
                if wanted not in f.read().split(b"\0"):
                    continue
            with open("/proc/%s/stat" % pid) as f:
                total += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:15]))
        except OSError:
            pass
    return total / TICK


class Run:
    def __init__(self, args, folder, data, watched):
        self.binary, self.folder, self.watched = os.path.join(args.bin, "imsuper"), folder, watched
        self.name, self.tag = "watched" if watched else "bare", "%d-%s" % (os.getpid(), watched)
        self.environment = dict(os.environ, WATCHED=self.tag, TERM="xterm-256color")
        self.port = 20000 + os.getpid() % 20000
        command = [self.binary, "start", "--data-dir", data, "--model", "resnet20", "--image-size", "32", "--batch-size", str(BATCH), "--epochs",
                   "100000", "--trainer-threads", str(args.threads), "--readers", "1", "--augmenters", "1", "--workspace", folder, "--run-name", self.name]
        command += ["--per-class-log", "--metrics-listen", str(self.port), "--json", "--status-interval", "1", "--on-event",
                    "cat >>%s/events.txt" % folder] if watched else ["--no-tensorboard", "--quiet"]
        self.out = open(os.path.join(folder, self.name + ".out"), "wb")
        self.process = subprocess.Popen(command, stdout=self.out, stderr=subprocess.STDOUT, env=self.environment)
        self.top, self.shown, self.scrapes, self.scraping, self.traces = None, 0, 0, threading.Event(), 0
        self.scrape_seconds = 0
        while self.images() < 20 * BATCH:
            if self.process.poll() is not None:
                sys.exit("imsuper start ended: " + open(self.out.name).read()[-2000:])
            time.sleep(0.2)
        if watched:
            self.watch()
        self.ask("pause")

    def ask(self, *words):
        return subprocess.run([self.binary, *words, self.name, "--workspace", self.folder, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout

    def images(self):
        try:
            processes = json.loads(self.ask("status")).get("processes", [])
        except ValueError:
            return 0
        return sum(p["samples"] for p in processes if p["role"] == "trainer")

    def watch(self):
        ours, theirs = pty.openpty()
        subprocess.run(["stty", "rows", "40", "cols", "120"], stdin=theirs, check=True)
        self.top = subprocess.Popen([self.binary, "top", "--workspace", self.folder, self.name], stdin=theirs, stdout=theirs, stderr=theirs,
                                    start_new_session=True, env=self.environment)
        os.close(theirs)
        self.terminal = ours
        threading.Thread(target=self.drain, daemon=True).start()
        threading.Thread(target=self.scrape, daemon=True).start()
        time.sleep(1)
        self.top.send_signal(signal.SIGSTOP)

    def drain(self):
        while True:
            try:
                self.shown += len(os.read(self.terminal, 65536))
            except OSError:
                return

    def scrape(self):
        while True:
            self.scraping.wait()
            before = time.thread_time()
            try:
                with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % self.port, timeout=1) as answer:
                    self.scrapes += len(answer.read()) > 1000
            except OSError:
                pass
            self.scrape_seconds += time.thread_time() - before
            time.sleep(1)

    def window(self, seconds):
        """images/s, and seconds of the processors for an image."""
        trace = None
        self.ask("resume")
        if self.watched:
            self.top.send_signal(signal.SIGCONT)
            self.scraping.set()
        time.sleep(SETTLE)
        cpu = cpu_of(self.tag) + self.scrape_seconds
        if self.watched:
            trace = subprocess.Popen(["bash", "-c", 'time -p "$@" >"$0"', os.path.join(self.folder, "trace.out"), self.binary, "trace", self.name, "--workspace", self.folder,
                                      "-o", os.path.join(self.folder, "trace.json"), "--seconds", str(seconds - 1)], stderr=subprocess.PIPE)
        images, began = self.images(), time.monotonic()
        time.sleep(seconds)
        images, ended = self.images() - images, time.monotonic()
        cpu = cpu_of(self.tag) + self.scrape_seconds - cpu
        if trace:
            times = trace.communicate()[1].decode().split()
            cpu += sum(float(times[times.index(word) + 1]) for word in ("user", "sys"))
            self.traces = os.path.getsize(os.path.join(self.folder, "trace.json"))
            self.scraping.clear()
            self.top.send_signal(signal.SIGSTOP)
        self.ask("pause")
        return images / (ended - began), cpu / images

    def end(self):
        if self.top:
            self.top.kill()
            self.top.wait()
        self.ask("stop", "--now")
        self.process.wait()


def describe(shares):
    """In percent."""
    mean, n = statistics.mean(shares), len(shares)
    half = T95[min(n - 1, len(T95) - 1)] * statistics.stdev(shares) / math.sqrt(n)
    return {"mean": 100 * mean, "low": 100 * (mean - half), "high": 100 * (mean + half)}


def measure(args, folder):
    data, runs, rows = os.path.join(folder, "data"), {}, []
    make_data(os.path.join(args.bin, "imsuper"), data)
    try:
        for watched in (False, True):
            runs[watched] = Run(args, folder, data, watched)
        until = time.monotonic() + 60 * args.minutes
        while time.monotonic() < until or len(rows) < 3:
            order = (False, True) if len(rows) % 2 else (True, False)
            rows.append({watched: runs[watched].window(args.window) for watched in order})
            if not args.json:
                print("pair %2d: images/s %7.1f bare, %7.1f watched; CPU %6.3f ms an image bare, %6.3f ms watched" %
                      (len(rows), rows[-1][False][0], rows[-1][True][0], 1e3 * rows[-1][False][1], 1e3 * rows[-1][True][1]), flush=True)
    finally:
        for run in runs.values():
            run.end()
    return rows, runs[True]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="where the programs are, such as build/release")
    parser.add_argument("--minutes", type=float, default=5, help="how long pairs are begun (5)")
    parser.add_argument("--window", type=float, default=6, help="seconds (6)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the trainers (all cores)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.bin = os.path.abspath(args.bin)
    folder = tempfile.mkdtemp(prefix="imsuper-watching.")
    try:
        rows, watched = measure(args, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    answer = {"schema": "imsuper.watching/1", "threads": args.threads, "window_seconds": args.window, "pairs": len(rows),
              "throughput": describe([row[False][0] / row[True][0] - 1 for row in rows]),
              "cpu": describe([(row[True][1] - row[False][1]) * row[True][0] / os.cpu_count() for row in rows]),
              "load": os.getloadavg()[0], "scrapes": watched.scrapes, "bytes_of_top": watched.shown, "bytes_of_trace": watched.traces}
    if args.json:
        print(json.dumps(answer))
        return
    for key, what in (("throughput", "throughput"), ("cpu", "CPU time, of %d cores," % os.cpu_count())):
        print("%s  costs %+.2f %%, 95 %% interval %+.2f to %+.2f %% (%d pairs)" % (what, answer[key]["mean"], answer[key]["low"], answer[key]["high"], len(rows)))
    print("%(scrapes)d readings of /metrics, %(bytes_of_top)d bytes of top, %(bytes_of_trace)d bytes of the last trace; load %(load).1f" % answer)


if __name__ == "__main__":
    main()

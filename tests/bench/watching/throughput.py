#!/usr/bin/env python3
"""What those who watch a run cost: two runs take turns on a machine that training fills, one bare, one watched.

    throughput.py --bin build/release [--watchers none all] [--minutes 6] [--window 100] [--threads N] [--json]
    throughput.py --bin build/release --each             # nobody, each of them alone, all

Both runs train resnet20 on the same images with the same seed, on all cores. One is bare: no TensorBoard, nobody looks. The other has
some of these (--watchers: a list with commas; `all`; `none` for a control, in which both are bare, which shows what the method can see):

  trace        `imsuper trace`, begun and ended in each window, for some 80 % of it
  top          `imsuper top` in a terminal of 120x40
  tensorboard  event files
  metrics      /metrics, read each second
  json         events and the state of each second as lines of JSON
  on-event     a command for each event
  per-class    tables of each class, after each epoch

A window is a fixed number of steps, the same steps in both runs, timed by the lines of their metrics.jsonl; a run is paused and who
watches it is stopped between its windows. A round has four, one of which holds the end of an epoch, with all that is written then. Which run has the first turn changes from pair to pair, what is compared changes from round to
round, and each round has two new runs: two runs of one kind differ by some percent from each other on their own, for where their memory
lies. Of the pairs:

  images/s     what is lost: seconds of the watched window / seconds of the bare one, less 1. What counts, and what other work disturbs
  CPU          processor time of all, watchers included, for an image: what is added. Hardly depends on what else the machine does

with the mean, the median, and 95 % intervals (bootstrap of rounds, and of pairs in them). The table says who took the processor time:
milliseconds a second. Nothing of imsuper needs Python.
"""
import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time

from runs import BATCH, LINES_UNTIL, WATCHERS, Run

PAIRS = 4  # of a round
GAP = 20  # steps between two windows: until a run is paused, and after it goes on
CLASSES, VAL_PER_CLASS, COPIES = 10, 10, 12
RESAMPLES = 4000


def make_data(binary, data, window):
    """Few images, each with many names; an epoch is as long as a round."""
    per_class = PAIRS * (window + GAP) * BATCH // CLASSES // COPIES
    subprocess.run([binary, "data", "synth", "--out", data, "--classes", str(CLASSES), "--per-class", str(per_class), "--val-per-class", str(VAL_PER_CLASS), "--side-min", "200", "--side-max", "400", "--quiet"], check=True)
    for folder, _, files in os.walk(os.path.join(data, "train")):
        for name in files:
            for i in range(1, COPIES):
                os.link(os.path.join(folder, name), os.path.join(folder, "%d-%s" % (i, name)))


def watchers_of(word):
    if word in ("none", "all"):
        return [] if word == "none" else list(WATCHERS)
    unknown = set(word.split(",")) - set(WATCHERS)
    if unknown:
        raise argparse.ArgumentTypeError("%s: there are %s, none and all" % (", ".join(unknown), ", ".join(WATCHERS)))
    return word.split(",")


def measure_round(args, folder, data, watchers, first):
    """Pairs of two new runs: [{watched: (seconds, {who: seconds of the processors})}]."""
    pairs, begin, runs = [], 3 * GAP, {}  # so that an epoch ends within the last window
    try:
        for watched in ((True, False) if first else (False, True)):
            runs[watched] = Run(args, folder, data, watchers if watched else [])
        while len(pairs) < PAIRS and begin + args.window < LINES_UNTIL:
            order = (True, False) if (len(pairs) + first) % 2 else (False, True)
            pair = {watched: runs[watched].window(begin, begin + args.window) for watched in order}
            if all(pair.values()):
                pairs.append(pair)
            begin += args.window + GAP
    finally:
        for run in runs.values():
            run.end()
    watched = runs[True]
    return pairs, {"scrapes": watched.scrapes, "bytes_of_top": watched.bytes_of_top, "bytes_of_trace": watched.bytes_of_trace}


def interval(rounds, of):
    """95 %: of the statistic `of` of all pairs."""
    random.seed(1)
    values = sorted(of([random.choice(r) for r in random.choices(rounds, k=len(rounds)) for _ in r]) for _ in range(RESAMPLES))
    return values[int(0.025 * RESAMPLES)], values[int(0.975 * RESAMPLES)]


def describe(rounds):
    """In percent, of lists of shares."""
    answer, pairs = {"pairs": sum(map(len, rounds))}, [share for r in rounds for share in r]
    for name, of in (("mean", statistics.mean), ("median", statistics.median)):
        low, high = interval(rounds, of)
        answer[name] = {"value": 100 * of(pairs), "low": 100 * low, "high": 100 * high}
    return answer


def summarize(args, rounds, seen):
    def cpu(window):
        return sum(window[1].values())

    whole = [pair for r in rounds for pair in r]
    seconds = {watched: sum(pair[watched][0] for pair in whole) for watched in (False, True)}
    who = sorted({name for pair in whole for watched in pair for name in pair[watched][1]})
    return {"images_per_second": {"bare": len(whole) * args.window * BATCH / seconds[False], "watched": len(whole) * args.window * BATCH / seconds[True]},
            "throughput": describe([[pair[True][0] / pair[False][0] - 1 for pair in r] for r in rounds]),
            "cpu": describe([[cpu(pair[True]) / cpu(pair[False]) - 1 for pair in r] for r in rounds]),
            "ms_per_second": {name: {key: 1e3 * sum(pair[watched][1].get(name, 0) for pair in whole) / seconds[watched]
                                     for key, watched in (("bare", False), ("watched", True))} for name in who}, **seen}


def show(name, answer):
    print("\n%s" % name)
    for key, what in (("throughput", "images/s"), ("cpu", "CPU     ")):
        a = answer[key]
        print("  %s  mean %+.2f %% (%+.2f to %+.2f), median %+.2f %% (%+.2f to %+.2f), %d pairs" %
              (what, *(a[of][k] for of in ("mean", "median") for k in ("value", "low", "high")), a["pairs"]))
    print("  CPU ms/s, bare -> watched: " + ", ".join("%s %.1f -> %.1f" % (who, ms["bare"], ms["watched"])
                                                      for who, ms in answer["ms_per_second"].items() if max(ms.values()) >= 0.05))
    if answer["scrapes"] + answer["bytes_of_top"] + answer["bytes_of_trace"] > 0:
        print("  in the last round %(scrapes)d readings of /metrics, %(bytes_of_top)d bytes of top, %(bytes_of_trace)d bytes of the last trace" % answer)


def measure(args, folder):
    data, rounds, seen = os.path.join(folder, "data"), {name: [] for name in args.watchers}, {}
    make_data(os.path.join(args.bin, "imsuper"), data, args.window)
    until, last, number = time.monotonic() + 60 * args.minutes, 0, 0
    while number < 2 or time.monotonic() + last < until:
        began = time.monotonic()
        for name in args.watchers:
            pairs, seen[name] = measure_round(args, folder, data, watchers_of(name), number % 2)
            rounds[name].append(pairs)
            if not args.json:
                for pair in pairs:
                    print("%s, round %d: images/s %.1f bare, %.1f watched; CPU ms an image %.3f, %.3f" %
                          (name, number + 1, *(args.window * BATCH / pair[w][0] for w in (False, True)),
                           *(1e3 * sum(pair[w][1].values()) / args.window / BATCH for w in (False, True))), flush=True)
        number, last = number + 1, time.monotonic() - began
    return {name: summarize(args, rounds[name], seen[name]) for name in args.watchers}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="where the programs are, such as build/release")
    parser.add_argument("--watchers", nargs="+", default=["none", "all"], metavar="LIST", help="what to compare with a bare run (none all)")
    parser.add_argument("--each", action="store_true", help="none, each watcher alone, and all")
    parser.add_argument("--minutes", type=float, default=6, help="about how long (6); at least two rounds")
    parser.add_argument("--window", type=int, default=100, help="steps (100)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the trainers (all cores)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.bin, args.watchers = os.path.abspath(args.bin), ["none", *WATCHERS, "all"] if args.each else args.watchers
    for word in args.watchers:
        try:
            watchers_of(word)
        except argparse.ArgumentTypeError as e:
            parser.error(str(e))
    if not 10 <= args.window <= LINES_UNTIL // PAIRS - 2 * GAP:
        parser.error("--window: 10 to %d steps" % (LINES_UNTIL // PAIRS - 2 * GAP))
    folder = tempfile.mkdtemp(prefix="imsuper-watching.")
    try:
        answers = measure(args, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if args.json:
        print(json.dumps({"schema": "imsuper.watching/2", "threads": args.threads, "window_steps": args.window, "load": os.getloadavg()[0], "watchers": answers}))
        return
    for name, answer in answers.items():
        show(name, answer)
    print("\n%d threads, windows of %d steps of %d, load %.1f" % (args.threads, args.window, BATCH, os.getloadavg()[0]))


if __name__ == "__main__":
    main()

"""Runs for throughput.py: one that is bare or watched, paused between the windows in which it is measured."""
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time

BATCH = 16
LINES_UNTIL = 1000  # each step before has a line of metrics.jsonl (TR_LINE_EACH_UNTIL)
WATCHERS = ("trace", "top", "tensorboard", "metrics", "json", "on-event", "per-class")
WARM_UP = 20  # steps before a run is paused for the first time
TICK = os.sysconf("SC_CLK_TCK")
LOOK = 0.02
PATIENCE = 300  # seconds without a line of a run that goes on


def cpu_of(pid):
    """Seconds that the threads of a process took, those that ended included; None: it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3)
    except OSError:
        return None


def ended_children_of(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return sum(map(int, f.read().rsplit(")", 1)[1].split()[13:15])) / TICK
    except OSError:
        return 0


class Lines:
    """Steps and times of the lines of metrics.jsonl that are about training."""

    def __init__(self, path):
        self.path, self.file, self.rest = path, None, b""

    def read(self):
        if not self.file:
            try:
                self.file = open(self.path, "rb")
            except FileNotFoundError:
                return []
        whole = self.rest + self.file.read()
        whole, _, self.rest = whole.rpartition(b"\n")
        lines = [json.loads(line) for line in whole.split(b"\n") if b'"split"' in line]
        return [(line["step"], line["time"]) for line in lines if line["split"] == "train"]


class Run:
    number = 0

    def __init__(self, args, folder, data, watchers):
        Run.number += 1
        self.binary, self.folder, self.watchers = os.path.join(args.bin, "imsuper"), folder, watchers
        self.name, self.tag = "run-%d" % Run.number, "%d-%d" % (os.getpid(), Run.number)
        self.port = 20000 + (os.getpid() * 31 + Run.number) % 40000
        self.environment = dict(os.environ, WATCHED=self.tag, TERM="xterm-256color")
        self.top = self.trace = None
        self.bytes_of_top = self.scrapes = self.bytes_of_trace = 0
        self.scrape_seconds, self.trace_seconds, self.scraping, self.over = 0.0, 0.0, threading.Event(), False
        self.lines = Lines(os.path.join(folder, self.name, "metrics.jsonl"))
        self.last_seconds, self.unread = 3.0, []
        self.out = open(os.path.join(folder, self.name + ".out"), "wb")
        self.process = subprocess.Popen(self.command(args, data), stdout=self.out, stderr=subprocess.STDOUT, env=self.environment)
        self.position = self.wait_for(WARM_UP)[0]
        self.watch()
        self.ask("pause")

    def command(self, args, data):
        flags = {"metrics": ["--metrics-listen", str(self.port)], "json": ["--json", "--status-interval", "1"], "per-class": ["--per-class-log"],
                 "on-event": ["--on-event", "cat >>%s/events.txt" % self.folder]}
        command = [self.binary, "start", "--data-dir", data, "--model", "resnet20", "--image-size", "32", "--batch-size", str(BATCH), "--epochs",
                   "1000", "--trainer-threads", str(args.threads), "--readers", "1", "--augmenters", "1", "--workspace", self.folder,
                   "--run-name", self.name]
        command += [] if "tensorboard" in self.watchers else ["--no-tensorboard"]
        command += [] if "json" in self.watchers else ["--quiet"]
        return command + [flag for watcher in self.watchers for flag in flags.get(watcher, [])]

    def ask(self, *words):
        subprocess.run([self.binary, *words, self.name, "--workspace", self.folder, "--json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

    def wait_for(self, step):
        """The first line of this step, or of a later one where its own came before; as (step, time)."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            fresh = self.lines.read()
            self.unread += fresh
            while self.unread:
                line = self.unread.pop(0)
                if line[0] >= step:
                    return line
            until = time.monotonic() + PATIENCE if fresh else until
            if self.process.poll() is not None:
                sys.exit("imsuper start ended: " + open(self.out.name, errors="replace").read()[-2000:])
            time.sleep(LOOK)
        sys.exit("%s has not trained for %d s" % (self.name, PATIENCE))

    # --- who watches

    def watch(self):
        if "top" in self.watchers:
            self.terminal, theirs = pty.openpty()
            subprocess.run(["stty", "rows", "40", "cols", "120"], stdin=theirs, check=True)
            self.top = subprocess.Popen([self.binary, "top", "--workspace", self.folder, self.name], stdin=theirs, stdout=theirs, stderr=theirs,
                                        start_new_session=True, env=self.environment)
            os.close(theirs)
            threading.Thread(target=self.drain, daemon=True).start()
            time.sleep(1)
            self.top.send_signal(signal.SIGSTOP)
        if "metrics" in self.watchers:
            threading.Thread(target=self.scrape, daemon=True).start()

    def drain(self):
        while not self.over:
            try:
                self.bytes_of_top += len(os.read(self.terminal, 65536))
            except OSError:
                return

    def scrape(self):
        request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        while not self.over:
            self.scraping.wait()
            before, answer = time.thread_time(), b""
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
                    s.sendall(request)
                    while part := s.recv(65536):
                        answer += part
                self.scrapes += answer.startswith(b"HTTP/1.1 200") and len(answer) > 1000
            except OSError:
                pass
            self.scrape_seconds += time.thread_time() - before
            time.sleep(1)

    def begin_trace(self, seconds):
        self.trace = subprocess.Popen([self.binary, "trace", self.name, "--workspace", self.folder, "-o", os.path.join(self.folder, "trace.json"),
                                       "--seconds", "%.2f" % seconds], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end_trace(self):
        _, _, used = os.wait4(self.trace.pid, 0)
        self.trace.returncode, self.trace = 0, None
        self.trace_seconds += used.ru_utime + used.ru_stime
        self.bytes_of_trace = os.path.getsize(os.path.join(self.folder, "trace.json"))

    # --- windows

    def used(self):
        """Seconds of the processors so far, by who took them."""
        sums = {"trace": self.trace_seconds, "metrics' reader": self.scrape_seconds}
        wanted = b"WATCHED=" + self.tag.encode()
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            try:
                with open("/proc/%d/environ" % pid, "rb") as f:
                    if wanted not in f.read().split(b"\0"):
                        continue
                with open("/proc/%d/cmdline" % pid, "rb") as f:
                    words = f.read().split(b"\0")
            except OSError:
                continue
            name = os.path.basename(words[0]).decode().removeprefix("imsuper-")
            if name == "imsuper":
                name = words[1].decode()
            if pid == self.process.pid:
                name = "warden"
            if name in ("reader", "augmenter", "trainer", "supervise", "warden", "top"):  # a hook is its parent's child
                sums[name] = sums.get(name, 0) + (cpu_of(pid) or 0)
            if name in ("supervise", "warden"):
                sums["on-event"] = sums.get("on-event", 0) + ended_children_of(pid)
        return sums

    def window(self, begin, end):
        """Trains from one step to another: (seconds, {who: seconds of the processors})."""
        self.ask("resume")
        if self.top:
            self.top.send_signal(signal.SIGCONT)
        self.scraping.set()
        began, clock, before = self.wait_for(begin), time.monotonic(), self.used()
        if "trace" in self.watchers:  # it ends within the window: its start, its end and its file count
            self.begin_trace(max(0.5, 0.8 * self.last_seconds - 0.2))
        ended, after, clock = self.wait_for(end), self.used(), time.monotonic() - clock
        if self.trace:
            self.end_trace()
            after["trace"] = self.trace_seconds
        self.scraping.clear()
        if self.top:
            self.top.send_signal(signal.SIGSTOP)
        self.ask("pause")
        self.unread += self.lines.read()
        self.position = max([ended[0]] + [line[0] for line in self.unread])
        if began[0] != begin or ended[0] != end:
            return None  # the run went on too long before it was paused
        seconds = self.last_seconds = ended[1] - began[1]
        return seconds, {who: (after[who] - before.get(who, 0)) * seconds / clock for who in after}

    def end(self):
        self.over = True
        self.scraping.set()
        if self.top:
            self.top.kill()
            self.top.wait()
        self.ask("stop", "--now")
        self.process.wait()

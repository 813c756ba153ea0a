#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures runnel, the raw limit and every installed peer alternately; compares round by round.

A line a measurement:  job=fd_pingpong impl=asio link=pipe cpu=two metric=roundtrip_ns value=7512
At the end, a line a comparison: the median of the ratios of the rounds, and its 95% confidence
interval from order statistics, which assumes nothing about how noise is distributed. Ratios are
costs of runnel over costs of the other: above 1 runnel is slower, also where the metric is a rate.

jobs.txt lists the jobs and cases, targets.txt what is asked of runnel, bench.hpp how programs are
called. A program or package that is missing is named in a line `skip ...`."""
import argparse
import fnmatch
import math
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def ours(impl):
    """runnel, or one of several of ours in a job: runnel_queue."""
    return impl == "runnel" or impl.startswith("runnel_")


def say(*words):
    print(*words, flush=True)


def rows(name):
    """The words of each line of a file, without comments."""
    for line in (HERE / name).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.split()


def labels(case):
    return [] if case == "-" else case.split(",")


def call(command):
    made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode:
        sys.exit(f"{made.stdout}\nfailed: {' '.join(map(str, command))}")


def build(tree, source):
    """Builds all programs; gives {impl: command} and says what is missing."""
    ninja = [] if (tree / "CMakeCache.txt").exists() else ["-G", "Ninja"]
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DRUNNEL_BENCH=ON"]
    call(["cmake", "-S", source, "-B", tree, *ninja, *options])
    call(["cmake", "--build", tree, "--target", "bench"])
    programs = {}
    for line in (tree / "bench_programs.txt").read_text().splitlines():
        name, what, rest = line.split(maxsplit=2)
        if what == "run":
            programs[name] = [rest]
        else:
            say(f"skip {name}: {rest}")
    # Debian's own interpreter where there is one: the peer is what users have.
    python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
    programs["python"] = [python, str(HERE / "peer_python.py")]
    return programs


def implementations(programs, job, only):
    """Commands of all that have this job, by name."""
    found = {}
    for name, command in programs.items():
        listed = subprocess.run([*command, "--list"], stdout=subprocess.PIPE, text=True, check=True)
        pairs = [line.split() for line in listed.stdout.splitlines()]
        here = [impl for what, impl in pairs if what == job]
        if not here:
            say(f"skip {name}: it has no job {job}")
        found.update((impl, command) for impl in here if only.search(impl))
    return found


class Failed(Exception):
    pass


def placement(case):
    """The cpus a case may use, or None when this machine has too few."""
    allowed = sorted(os.sched_getaffinity(0))
    where = [label[4:] for label in labels(case) if label.startswith("cpu=")]
    if not where:
        return {allowed[-1]}
    if where[0] == "same":
        return {allowed[0]}
    if len(allowed) < 2:
        return None
    return set(allowed[:2]) if where[0] == "two" else set(allowed)


def measure(command, job, impl, case, seconds):
    """Runs one program once: {metric: text of the value} or None, and then a reason to skip it."""
    cpus = placement(case)
    # GOMAXPROCS: one loop on one cpu is what all others are.
    child = subprocess.Popen(
        [*command, job, impl, *labels(case), f"seconds={seconds}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "GOMAXPROCS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )
    try:
        out, err = child.communicate(timeout=40)
    except subprocess.TimeoutExpired:
        raise Failed("still running after 40 s") from None
    finally:
        left = leave_nothing(child)
    if child.returncode:
        raise Failed(f"exit status {child.returncode}: {err.strip()}")
    if left:
        raise Failed("left a process behind")
    values = {}
    for line in out.splitlines():
        metric, _, value = line.partition(" ")
        if metric == "skip":
            return None, value
        float(value)
        values[metric] = value
    if not values:
        raise Failed(f"printed nothing. {err.strip()}")
    return values, None


def leave_nothing(child):
    """Ends the session of a program. True if anything of it was left after it had ended."""
    ended = child.poll() is not None
    try:
        os.killpg(child.pid, 0)
        if ended:
            time.sleep(0.05)  # what dies with its parent may still be on its way out
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        if not ended:
            child.wait()
    return ended


def interval(values):
    """95% confidence interval of the median by order statistics, or None for too few values."""
    n, v = len(values), sorted(values)
    best = None
    for k in range(1, n // 2 + 1):  # from the k-th smallest to the k-th largest
        outside = 2 * sum(math.comb(n, i) for i in range(k)) / 2**n
        if outside > 0.05:
            break
        best = v[k - 1], v[n - k]
    return best


def ratio_text(ratios):
    between = interval(ratios)
    low, high = between or (min(ratios), max(ratios))
    few = "" if between else f": range of only {len(ratios)} rounds"
    digits = ".2f" if low >= 0.1 else ".2g"
    return f"{statistics.median(ratios):{digits}} [{low:{digits}}..{high:{digits}}{few}]"


def matches(impl, patterns):
    return not ours(impl) and any(fnmatch.fnmatch(impl, p) for p in patterns.split(","))


class Results:
    def __init__(self, job):
        self.job = job
        # (case, metric), called a cell -> impl -> round -> value
        self.rounds = defaultdict(lambda: defaultdict(dict))

    def add(self, case, metric, impl, turn, value):
        self.rounds[case, metric][impl][turn] = value

    def median(self, cell, impl):
        return statistics.median(self.rounds[cell][impl].values())

    def best_first(self, cell):
        """Implementations in the order of their medians."""
        larger = cell[1].endswith("_per_s")
        return sorted(self.rounds[cell], key=lambda i: self.median(cell, i), reverse=larger)

    def ratios(self, cell, mine, other):
        """The cost of mine over the other's, of the rounds that have both."""
        a, b = self.rounds[cell][mine], self.rounds[cell][other]
        both = [(a[t], b[t]) for t in a if t in b]
        return [b / a if cell[1].endswith("_per_s") else a / b for a, b in both if a and b]

    def name(self, cell):
        return " ".join([self.job, *labels(cell[0]), cell[1]])

    def print_medians(self):
        for cell in self.rounds:
            each = [f"{i} {self.median(cell, i):.4g}" for i in self.best_first(cell)]
            say(f"median: {self.name(cell)}:", ", ".join(each))

    def print_ratios(self):
        for cell in self.rounds:
            there = self.best_first(cell)
            for mine in filter(ours, there):
                for other in there:
                    ratios = self.ratios(cell, mine, other)
                    if not ours(other) and ratios:
                        say(f"ratio: {self.name(cell)} {mine}/{other} {ratio_text(ratios)}")

    def print_targets(self, cases):
        for job, case, metric, mine, against, limit in rows("targets.txt"):
            if job != self.job or case not in cases:
                continue
            cell, limit = (case, metric), float(limit)
            there = self.best_first(cell)
            if against == "-":
                self.print_absolute(cell, mine, limit)
                continue
            head = f"target: {self.name(cell)} {mine} <= {limit:.2f}x {against}"
            rivals = [i for i in there if matches(i, against)]
            if mine not in there or not rivals:
                say(f"{head}: not measured, no {against if mine in there else mine}")
                continue
            ratios = self.ratios(cell, mine, rivals[0])
            if not ratios:
                say(f"{head}: not measured, no round has both")
                continue
            verdict = "met" if statistics.median(ratios) <= limit else "missed"
            low, high = interval(ratios) or (min(ratios), max(ratios))
            if low <= limit < high:
                verdict += ", not resolved: the interval holds the limit"
            chosen = f" ({rivals[0]})" if rivals[0] != against else ""
            say(f"{head}{chosen}: measured {ratio_text(ratios)} {verdict}")

    def print_absolute(self, cell, mine, limit):
        head = f"target: {self.name(cell)} {mine} <= {limit:g}"
        if mine not in self.rounds[cell]:
            return say(f"{head}: not measured, no {mine}")
        value = self.median(cell, mine)
        say(f"{head}: measured {value:.4g} {'met' if value <= limit else 'missed'}")


def chosen_cases(job, wanted):
    """All cases of a job, or those that have every label of `wanted`."""
    cases, here = [], None
    for word, value, *_ in rows("jobs.txt"):
        here = value if word == "job" else here
        if word == "case" and here == job:
            cases.append(value)
    if not cases:
        sys.exit(f"no job {job}; `run --list` names them")
    if wanted:
        cases = [c for c in cases if set(labels(wanted)) <= set(labels(c))]
        if not cases:
            sys.exit(f"no case of {job} has {wanted}; `run --list` names them")
    return cases


def run(job, options):
    cases = chosen_cases(job, options.case)
    alone = options.without_runnel
    tree = Path(options.build or ROOT / "build" / ("bench-alone" if alone else "bench"))
    programs = build(tree, HERE if alone else ROOT)
    impls = implementations(programs, job, re.compile(options.only))
    if not impls:
        sys.exit("nothing to measure")
    say(f"# {time.strftime('%Y-%m-%d')}, Linux {platform.release()}, "
        f"{len(os.sched_getaffinity(0))} cpus, load {os.getloadavg()[0]:.1f} "
        "(other work on this machine is noise here)")
    results, failed = Results(job), set()
    for case in list(cases):
        if not placement(case):
            say(f"skip {case}: it needs two cpus")
            cases.remove(case)
    names = list(impls)
    for turn in range(options.rounds):
        for case in cases:
            start = turn % len(names)  # nobody is always the one after the same other
            for impl in names[start:] + names[:start]:
                if (case, impl) in failed:
                    continue
                try:
                    values, why = measure(impls[impl], job, impl, case, options.seconds)
                except Failed as e:
                    values, why = None, f"FAILED: {e}"
                if values is None:
                    say(f"skip {impl} {' '.join([job, *labels(case)])}: {why}")
                    failed.add((case, impl))
                    options.broken |= why.startswith("FAILED")
                    continue
                for metric, value in values.items():
                    where = [f"job={job}", f"impl={impl}", *labels(case)]
                    say(*where, f"metric={metric}", f"value={value}")
                    results.add(case, metric, impl, turn, float(value))
    say("")
    results.print_medians()
    results.print_ratios()
    results.print_targets(cases)


def main():
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="run", description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("job", nargs="*", help="one or more of --list")
    add("--list", action="store_true", help="print the jobs, their metrics and cases")
    add("--rounds", type=int, default=15, help="alternations (15)")
    add("--case", metavar="C", help="only cases with these labels: link=pipe,cpu=same")
    add("--only", metavar="REGEX", default="", help="only implementations whose name matches")
    add("--seconds", type=float, default=0.15, help="for each metric of each run (0.15)")
    add("--build", metavar="DIR", help="build tree (build/bench)")
    add("--without-runnel", action="store_true", help="build only the limits and the peers")
    options = parser.parse_args()
    options.broken = False
    if options.list:
        return say((HERE / "jobs.txt").read_text().rstrip())
    if not options.job:
        parser.error("name a job; --list names them all")
    for job in options.job:
        chosen_cases(job, options.case)
    for job in options.job:
        run(job, options)
    sys.exit(1 if options.broken else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)

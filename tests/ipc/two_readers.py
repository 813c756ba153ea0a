#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""two_readers.py [--deadline S] COMMAND...: checks what the example of that name prints, twice.

Each number from 0 to 499 must come exactly once, on a whole line, with the name of one of two
processes. The second time one of the readers is stopped for a while, so that the other has to take
most of the numbers: nothing may depend on an even split.
"""
import argparse
import collections
import os
import re
import signal
import subprocess
import sys
import threading
import time

LINE = re.compile(r"(\d+) (Process-\d+)\n")


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(each) for each in file.read().split()]


def run(uneven):
    program = subprocess.Popen(options.command, stdout=subprocess.PIPE, text=True)
    lines = []

    def collect():
        for line in iter(program.stdout.readline, ""):
            lines.append(line)

    reader = threading.Thread(target=collect)
    reader.start()
    end = time.monotonic() + options.deadline
    try:
        while uneven and time.monotonic() < end:
            while len(lines) < 20 and time.monotonic() < end:
                time.sleep(0.002)
            stopped = max(children(program.pid))  # the last to be spawned
            os.kill(stopped, signal.SIGSTOP)
            before = len(lines)
            while len(lines) < 300 and time.monotonic() < end:
                time.sleep(0.05)
                if len(lines) == before:  # it was stopped while it held the lock
                    break
                before = len(lines)
            os.kill(stopped, signal.SIGCONT)
            if len(lines) >= 300:
                break
            time.sleep(0.003)
        program.wait(max(0.1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        program.kill()
    reader.join()
    return program.returncode, lines


def check(uneven):
    status, lines = run(uneven)
    problems = []
    if status != 0:
        problems.append(f"exit status {status}")
    found = [LINE.fullmatch(line) for line in lines]
    torn = [line for line, match in zip(lines, found) if not match]
    if torn:
        problems.append(f"torn lines: {torn[:3]}")
    numbers = sorted(int(match[1]) for match in found if match)
    if numbers != list(range(500)):
        problems.append(f"{len(numbers)} numbers, {len(set(numbers))} different ones, of 500")
    names = collections.Counter(match[2] for match in found if match)
    if len(names) != 2:
        problems.append(f"{len(names)} readers instead of 2")
    if uneven and len(names) == 2 and max(names.values()) < 300:
        problems.append("the split was not uneven")
    print("uneven" if uneven else "even", dict(names), problems or "as it should be")
    return not problems


parser = argparse.ArgumentParser()
parser.add_argument("--deadline", type=float, default=25, help="of each time, in seconds")
parser.add_argument("command", nargs="+", help="the program, or what becomes it")
options = parser.parse_args()
sys.exit(0 if all([check(False), check(True)]) else 1)

# SPDX-License-Identifier: MIT
"""What the Python programs share, as bench.hpp."""
import os
import signal
import sys
import time

now = time.perf_counter_ns
CPUS = sorted(os.sched_getaffinity(0))


class Meter:
    """Median of slices; the first warms up. As bench::meter."""

    def __init__(self, opt):
        self.budget = float(opt.get("seconds", 0.15)) * 1e9
        self.begin, self.warm, self.slices = None, False, []

    def more(self, operations):
        t = now()
        if self.begin is None:
            self.begin = t
        elif not self.warm:
            self.warm = True
        else:
            self.slices.append((t - self.slice) / operations)
        if len(self.slices) >= 2048 or len(self.slices) >= 3 and t - self.begin > self.budget:
            return False
        self.slice = now()
        return True

    def median_ns(self):
        return sorted(self.slices)[len(self.slices) // 2]


def report(metric, value):
    print(metric, f"{value:.6g}", flush=True)


def place(opt, role):
    if opt.get("cpu") == "two":
        os.sched_setaffinity(0, {CPUS[role]})


def fork(opt, body):
    """A child process that runs body and exits; it ends when the parent closes its side."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        place(opt, 1)
        code = 1
        try:
            body()
            code = 0
        finally:
            os._exit(code)
    place(opt, 0)
    return pid


def wait(pid):
    status = os.waitpid(pid, 0)[1]
    if status:
        sys.exit(f"child ended with status {status:#x}")

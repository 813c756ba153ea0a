#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""asyncio and multiprocessing, called like the C++ programs (bench.hpp says how)."""
import asyncio
import functools
import os
import random
import signal
import socket
import sys

sys.dont_write_bytecode = True  # the tree stays as it is

import python_multiprocessing
from python_bench import Meter, fork, report, wait


def resident_bytes():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


# ---- tasks and timers


async def trivial(x):
    return x


async def chain(depth):
    return 1 + await chain(depth - 1) if depth else 0


async def switch(opt):
    m = Meter(opt)
    while m.more(1000):
        for i in range(1000):
            await trivial(i)
    report("await_ns", m.median_ns())
    m = Meter(opt)
    while m.more(1000):
        for _ in range(10):
            await chain(100)
    report("chain_ns", m.median_ns())
    stop = False

    async def along():
        while not stop:
            await asyncio.sleep(0)

    other = asyncio.create_task(along())
    m = Meter(opt)
    while m.more(2000):
        for _ in range(1000):
            await asyncio.sleep(0)
    report("yield_ns", m.median_ns())
    stop = True
    await other


async def spawn_task(opt):
    m = Meter(opt)
    while m.more(1000):
        for i in range(1000):
            await asyncio.create_task(trivial(i))
    report("ns_per_task", m.median_ns())


async def nursery(opt):
    tasks = int(opt.get("tasks", 1000))
    if tasks >= 100000:
        never = asyncio.Event()
        before = resident_bytes()
        children = [asyncio.create_task(never.wait()) for _ in range(tasks)]
        await asyncio.sleep(0)
        report("bytes_per_task", (resident_bytes() - before) / len(children))
        os._exit(0)
    m = Meter(opt)
    while m.more(tasks):
        await asyncio.gather(*[asyncio.create_task(trivial(i)) for i in range(tasks)])
    report("ns_per_task", m.median_ns())


async def timer(opt):
    loop = asyncio.get_running_loop()
    m = Meter(opt)
    if opt.get("op") == "arm_cancel":
        count = int(opt.get("timers", 100000))
        delays = [random.random() * 4 for _ in range(count)]
        while m.more(count):
            base = loop.time() + 10
            handles = [loop.call_at(base + d, trivial) for d in delays]
            for h in handles:
                h.cancel()
            await asyncio.sleep(0)
        report("ns_per_timer", m.median_ns())
        return
    event, stop = asyncio.Event(), False

    async def setter():
        while not stop:
            event.set()
            await asyncio.sleep(0)

    other = asyncio.create_task(setter())
    while m.more(500):
        for _ in range(500):
            event.clear()
            await asyncio.wait_for(event.wait(), 1)
    report("ns_per_wait", m.median_ns())
    stop = True
    await other


# ---- two processes


class Echo(asyncio.Protocol):
    def __init__(self, ended, answer=None):
        self.ended, self.answer, self.got = ended, answer, b""

    def connection_made(self, transport):
        self.transport = transport
        self.answer = self.answer or transport.write

    def data_received(self, data):
        self.got += data
        if len(self.got) >= 64:
            message, self.got = self.got, b""
            self.answer(message)

    def connection_lost(self, exc):
        if not self.ended.done():
            self.ended.set_result(None)


async def connect(ends):
    """An echoing protocol for the read side, and the transport to write to."""
    loop = asyncio.get_running_loop()
    make = functools.partial(Echo, loop.create_future())
    if isinstance(ends, socket.socket):
        out, protocol = await loop.create_unix_connection(make, sock=ends)
    else:
        out, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(ends[1], "wb", 0))
        make.keywords["answer"] = out.write  # before the first byte can be read
        _, protocol = await loop.connect_read_pipe(make, os.fdopen(ends[0], "rb", 0))
    return protocol, out


async def echo(ends):
    protocol, _ = await connect(ends)
    await protocol.ended


async def ping(opt, ends):
    protocol, out = await connect(ends)
    m, left = Meter(opt), 0

    def next_one(message):
        nonlocal left
        if left == 0:
            if not m.more(100):
                protocol.transport.close()
                out.close()
                return
            left = 100
        left -= 1
        out.write(message)

    protocol.answer = next_one
    next_one(bytes(64))
    await protocol.ended
    report("roundtrip_ns", m.median_ns())


def fd_pingpong(opt):
    if opt["link"] == "pipe":
        there, back = os.pipe(), os.pipe()
        sides = ((back[0], there[1]), (there[0], back[1]))

        def close(side):
            os.close(side[0])
            os.close(side[1])
    else:
        sides = socket.socketpair()
        close = socket.socket.close

    def child():
        close(sides[0])
        asyncio.run(echo(sides[1]))

    pid = fork(opt, child)
    close(sides[1])
    asyncio.run(ping(opt, sides[0]))
    wait(pid)


def loop_job(body):
    return lambda opt: asyncio.run(body(opt))


JOBS = {
    ("switch", "asyncio"): loop_job(switch),
    ("spawn_task", "asyncio"): loop_job(spawn_task),
    ("nursery", "asyncio"): loop_job(nursery),
    ("timer", "asyncio"): loop_job(timer),
    ("fd_pingpong", "asyncio"): fd_pingpong,
    **python_multiprocessing.JOBS,
}


def main():
    if sys.argv[1:] == ["--list"]:
        for job, impl in JOBS:
            print(job, impl)
        return
    signal.alarm(30)
    JOBS[sys.argv[1], sys.argv[2]](dict(a.split("=", 1) for a in sys.argv[3:]))


main()

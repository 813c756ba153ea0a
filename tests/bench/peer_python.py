#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""asyncio and multiprocessing, called like the C++ programs (bench.hpp says how)."""
import asyncio
import functools
import mmap
import multiprocessing as mp
import multiprocessing.connection
import os
import random
import signal
import socket
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


# Messages between processes go over pairs of (send, recv), the parent's first. The last is QUIT.
QUIT = b"quit"
Connection = multiprocessing.connection.Connection


def over_pipe(send=Connection.send_bytes, recv=Connection.recv_bytes):
    return [(functools.partial(send, c), functools.partial(recv, c)) for c in mp.Pipe()]


def over_queues(make):
    there, back = make(), make()
    return (there.put, back.get), (back.put, there.get)


def take(recv):
    """The messages until QUIT."""
    while (m := recv()) != QUIT:
        yield m


class Board:
    """Memory that the processes share: 64-bit numbers a cache line apart."""

    def __init__(self):
        self.words = memoryview(mmap.mmap(-1, 4096)).cast("Q")

    def __getitem__(self, i):
        return self.words[8 * i]

    def __setitem__(self, i, value):
        self.words[8 * i] = value

    # [0] when the other side was woken, [1] how long it took, [2] how many times.
    def woken(self):
        if self[0]:
            self[1] = now() - self[0]
            self[2] += 1

    def measure_wake(self, opt, wake):
        took = []
        for _ in range(max(3, min(200, int(float(opt.get("seconds", 0.15)) * 400)))):
            time.sleep(0.001)
            before = self[2]
            self[0] = now()
            wake()
            while self[2] == before:
                time.sleep(0.00005)
            took.append(self[1])
        report("wake_ns", sorted(took)[len(took) // 2])


def there_and_back(opt, sides, message, board=None):
    (send, recv), (answer, take_one) = sides

    def child():
        for m in take(take_one):
            if board:
                board.woken()
            answer(m)

    pid = fork(opt, child)
    m, slice_ = Meter(opt), 100 if len(message) <= 1024 else 20
    while m.more(slice_):
        for _ in range(slice_):
            send(message)
            recv()
    report("roundtrip_ns", m.median_ns())
    if board:
        board.measure_wake(opt, lambda: (send(message), recv()))
    send(QUIT)
    wait(pid)


def one_way(opt, sides, message):
    (send, recv), (answer, take_one) = sides
    size = len(message)
    # Python is slow enough for a shorter slice.
    count = 4000 if size <= 1024 else 1000 if size <= 65536 else 60

    def child():
        for i, _ in enumerate(take(take_one), 1):
            if i % count == 0:
                answer(b"x")

    pid = fork(opt, child)
    m = Meter(opt)
    while m.more(count):
        for _ in range(count):
            send(message)
        recv()
    report("msgs_per_s", 1e9 / m.median_ns())
    send(QUIT)
    wait(pid)


def ipc_pipe(make):
    def job(opt):
        message = bytes(int(opt["msg"]))
        there_and_back(opt, make(), message)
        one_way(opt, make(), message)

    return job


def pingpong(make):
    return lambda o: there_and_back(o, make(), bytes(int(o["msg"])), Board())


def stream(make):
    return lambda o: one_way(o, make(), bytes(int(o["msg"])))


def many(make):
    """64-byte items through one queue of several processes."""

    def job(opt):
        queue, board, message = make(), Board(), bytes(64)
        getters, putters = int(opt["getters"]), int(opt["putters"])
        total = lambda: sum(board[2 + i] for i in range(getters))  # [0] go, [1] stop

        def get(i):
            for n, _ in enumerate(take(queue.get), 1):
                board[2 + i] = n

        def put():
            while not board[0]:
                time.sleep(0.0001)
            while not board[1]:
                queue.put(message)
            if hasattr(queue, "join_thread"):  # it may hold a lock of the queue
                queue.close()
                queue.join_thread()

        getting = [fork(opt, functools.partial(get, i)) for i in range(getters)]
        putting = [fork(opt, put) for _ in range(putters)]
        board[0] = 1
        time.sleep(0.05)
        n, t = total(), now()
        time.sleep(float(opt.get("seconds", 0.15)))
        n, t = total() - n, now() - t
        report("items_per_s", n * 1e9 / t)
        board[1] = 1
        for pid in putting:
            wait(pid)
        for _ in getting:
            queue.put(QUIT)
        for pid in getting:
            wait(pid)

    return job


def sync(opt):
    op, board = opt["op"], Board()
    if op == "lock":
        lock, m = mp.Lock(), Meter(opt)
        while m.more(1000):
            for _ in range(1000):
                with lock:
                    pass
        report("ns_per_lock", m.median_ns())
    elif op == "contended":
        lock = mp.Lock()

        def again(more):
            while more():
                for _ in range(100):
                    with lock:
                        board[0] += 1

        pid = fork(opt, lambda: again(lambda: not board[1]))
        while not board[0]:
            time.sleep(0.0001)
        n, begin = board[0], now()
        end = begin + float(opt.get("seconds", 0.15)) * 1e9
        again(lambda: now() < end)
        report("ns_per_lock", (now() - begin) / (board[0] - n))
        board[1] = 1
        wait(pid)
    elif op == "semaphore":
        there, back = mp.Semaphore(0), mp.Semaphore(0)

        def child():
            while not (there.acquire() and board[0]):
                back.release()

        pid = fork(opt, child)
        m = Meter(opt)
        while m.more(100):
            for _ in range(100):
                there.release()
                back.acquire()
        report("roundtrip_ns", m.median_ns())
        board[0] = 1
        there.release()
        wait(pid)
    else:
        event = mp.Event()

        def child():
            while event.wait() and not board[3]:
                board.woken()
                event.clear()
                board[4] += 1

        pid = fork(opt, child)

        def wake():
            before = board[4]
            event.set()
            while board[4] == before:
                time.sleep(0.00005)

        board.measure_wake(opt, wake)
        board[3] = 1
        event.set()
        wait(pid)


def loop_job(body):
    return lambda opt: asyncio.run(body(opt))


def queue():
    return mp.Queue(128)


def over_queue():
    return over_queues(queue)


def over_simple_queue():
    return over_queues(mp.SimpleQueue)


def over_object_pipe():
    return over_pipe(Connection.send, Connection.recv)


JOBS = {
    ("switch", "asyncio"): loop_job(switch),
    ("spawn_task", "asyncio"): loop_job(spawn_task),
    ("nursery", "asyncio"): loop_job(nursery),
    ("timer", "asyncio"): loop_job(timer),
    ("fd_pingpong", "asyncio"): fd_pingpong,
    ("ipc_pipe", "mp_pipe"): ipc_pipe(over_pipe),
    ("ipc_pipe", "mp_pipe_object"): ipc_pipe(over_object_pipe),
    ("ipc_pingpong", "mp_pipe"): pingpong(over_pipe),
    ("ipc_pingpong", "mp_queue"): pingpong(over_queue),
    ("ipc_pingpong", "mp_simplequeue"): pingpong(over_simple_queue),
    ("ipc_stream", "mp_pipe"): stream(over_pipe),
    ("ipc_stream", "mp_queue"): stream(over_queue),
    ("ipc_stream", "mp_simplequeue"): stream(over_simple_queue),
    ("mp_queue", "mp_queue"): many(queue),
    ("mp_queue", "mp_simplequeue"): many(mp.SimpleQueue),
    ("sync", "mp"): sync,
}


def main():
    if sys.argv[1:] == ["--list"]:
        for job, impl in JOBS:
            print(job, impl)
        return
    signal.alarm(30)
    JOBS[sys.argv[1], sys.argv[2]](dict(a.split("=", 1) for a in sys.argv[3:]))


main()

# SPDX-License-Identifier: MIT
"""multiprocessing: its pipes, queues, locks and events between processes that are forked here."""
import functools
import mmap
import multiprocessing as mp
import multiprocessing.connection
import time

from python_bench import Meter, fork, now, report, wait

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


def queue():
    return mp.Queue(128)


def over_queue():
    return over_queues(queue)


def over_simple_queue():
    return over_queues(mp.SimpleQueue)


def over_object_pipe():
    return over_pipe(Connection.send, Connection.recv)


JOBS = {
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

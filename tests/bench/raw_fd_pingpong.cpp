// SPDX-License-Identifier: MIT

// fd_pingpong: 64 bytes there and back between two processes.
//   raw_blocking  read and write
//   raw_uring     what a runtime on io_uring has to do at least: the system call first, without
//                 waiting; when it would block, one request on the ring; a short spin; then one
//                 system call that waits
//   raw_spin      the same spin, but retrying the read itself: possible for one descriptor, not
//                 for a loop with many
#include <sys/uio.h>

#include "raw_ring.hpp"

namespace {

constexpr std::size_t size = 64;
constexpr int yields =
    100;  // about 30-60 us when nobody else wants the cpu: what waking an idle cpu costs
constexpr int pauses = 12;  // 0.3 us between yields

inline void relax() { __builtin_ia32_pause(); }

struct message {
    char bytes[size] = {};
};

// True for a whole message, false for the end of the stream.
bool whole(long n) {
    if (n == long(size)) return true;
    if (n < 0 && errno != ECONNRESET) bench::die("transfer");
    if (n > 0) {
        std::fprintf(stderr, "short transfer: %ld\n", n);
        _exit(2);
    }
    return false;
}

class blocking {
public:
    blocking(bench::ends e, bool) : ends_(e) {}
    bool read(message& m) { return whole(::read(ends_.in, m.bytes, size)); }
    bool write(message& m) { return whole(::write(ends_.out, m.bytes, size)); }

private:
    bench::ends ends_;
};

// RWF_NOWAIT and MSG_DONTWAIT ask one call not to wait; O_NONBLOCK would change the description for
// all its holders.
class nowait {
public:
    nowait(bench::ends e, bool socket) : ends_(e), socket_(socket) {}
    long try_read(message& m) {
        if (socket_) return recv(ends_.in, m.bytes, size, MSG_DONTWAIT);
        iovec v{m.bytes, size};
        return preadv2(ends_.in, &v, 1, -1, RWF_NOWAIT);
    }
    long try_write(message& m) {
        if (socket_) return send(ends_.out, m.bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        iovec v{m.bytes, size};
        return pwritev2(ends_.out, &v, 1, -1, RWF_NOWAIT);
    }

protected:
    bench::ends ends_;
    bool socket_;
};

class uring : nowait {
public:
    uring(bench::ends e, bool socket)
        : nowait(e, socket),
          ring_(64,
                IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
                true) {}

    bool read(message& m) {
        long n = try_read(m);
        if (n < 0 && errno == EAGAIN) {
            io_uring_sqe& s =
                ring_.push(socket_ ? IORING_OP_RECV : IORING_OP_READ, ends_.in, m.bytes, size);
            if (socket_)
                s.ioprio = IORING_RECVSEND_POLL_FIRST;  // we have just seen that it is empty
            else
                s.off = ~0ull;
            n = complete();
        }
        return whole(n);
    }
    bool write(message& m) {
        long n = try_write(m);
        if (n < 0 && errno == EAGAIN) {
            io_uring_sqe& s =
                ring_.push(socket_ ? IORING_OP_SEND : IORING_OP_WRITE, ends_.out, m.bytes, size);
            if (!socket_) s.off = ~0ull;
            n = complete();
        }
        return whole(n);
    }

private:
    long complete() {
        ring_.submit(0);
        if (!spin())
            while (!ring_.completed()) ring_.submit(1);
        int result = ring_.front();
        ring_.pop(1);
        if (result < 0) errno = -result;
        return result < 0 ? -1 : result;
    }
    // Between two cpus the completion comes while we poll; on one cpu the yield lets the other side
    // make it.
    bool spin() {
        for (int y = 0;; ++y) {
            for (int p = 0; p < pauses; ++p) {
                if (ring_.work_pending()) ring_.collect();
                if (ring_.completed()) return true;
                relax();
            }
            if (y == yields) return false;
            sched_yield();
        }
    }

    raw::ring ring_;
};

class spinning : nowait {
public:
    spinning(bench::ends e, bool socket) : nowait(e, socket) {}
    bool read(message& m) {
        for (int y = 0; y < yields; ++y) {
            long n = try_read(m);
            if (n >= 0 || errno != EAGAIN) return whole(n);
            for (int p = 0; p < pauses; ++p) relax();
            sched_yield();
        }
        return whole(::read(ends_.in, m.bytes, size));
    }
    bool write(message& m) { return whole(::write(ends_.out, m.bytes, size)); }
};

template <class Io>
void run(const bench::options& opt) {
    bool socket = opt.is("link", "socket");
    bench::link l = bench::link::open(opt);
    bench::child echo(opt, [&] {
        Io io(l.keep(1), socket);
        message m;
        while (io.read(m) && io.write(m)) {
        }
    });
    bench::ends mine = l.keep(0);
    {
        Io io(mine, socket);
        message m;
        bench::meter t(opt);
        while (t.more(200))
            for (int i = 0; i < 200; ++i)
                if (!io.write(m) || !io.read(m)) bench::die("the other side left");
        bench::report("roundtrip_ns", t.median_ns());
    }
    mine.close();
    echo.wait();
}

bench::job with_blocking_job("fd_pingpong", "raw_blocking", run<blocking>);
bench::job with_uring_job("fd_pingpong", "raw_uring", run<uring>);
bench::job with_spinning_job("fd_pingpong", "raw_spin", run<spinning>);

}  // namespace

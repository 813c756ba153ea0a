// SPDX-License-Identifier: MIT

// The message jobs for whoever blocks in send and recv: ipc_pingpong, ipc_stream, mp_queue.
//
// A `Line` carries messages one way and is made before the processes are:
//     Line(long size)                        messages of at most `size` bytes
//     void send(const char* m, long n)
//     void recv(long n, F f)                 f(const char* m) reads the message where it lies
// A `Peer` carries them both ways: Peer(long size), send and recv as above, and open(role) in each
// process after the fork; close(), if it has one, in the child at the end. both_ways<Line> makes
// one of two lines.
//
// The sender copies its message in; the reader of a stream looks at the first and the last byte,
// so that whoever can leaves it in place.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <list>

#include "bench.hpp"

namespace bench {

// An object in memory that the processes forked later share.
template <class T, class... Args>
T* shared(Args&&... args) {
    void* p = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) die("mmap");
    return new (p) T(static_cast<Args&&>(args)...);
}

template <class Line>
class both_ways {
public:
    explicit both_ways(long size) : there_(size), back_(size) {}
    void open(int role) { out_ = role ? &back_ : &there_, in_ = role ? &there_ : &back_; }
    void send(const char* m, long n) { out_->send(m, n); }
    template <class F>
    void recv(long n, F f) {
        in_->recv(n, f);
    }

private:
    Line there_, back_;
    Line *out_ = nullptr, *in_ = nullptr;
};

// What the two processes of a job tell each other beside what is measured.
struct board {
    std::atomic<bool> quit{false};
    std::atomic<std::uint64_t> stamp{0}, took{0}, turn{0};

    // Called by who was waited for as soon as it runs again.
    void woken(std::uint64_t now = now_ns()) {
        took = now - stamp;
        ++turn;
    }
};

// How long waking the other process takes, when it has waited in silence for longer than anybody
// spins:
//     bench::wake_meter w(opt, board);
//     while (w.more()) wake();     // upon which the other side calls board.woken()
//     w.report();
class wake_meter {
public:
    wake_meter(const options& opt, board& b)
        : board_(b), most_(std::clamp(int(opt.seconds() * 400), 3, capacity)) {}

    bool more() {
        if (board_.stamp) {
            while (board_.turn == turn_) usleep(50);
            times_[count_++] = double(board_.took);
            if (count_ == most_) return false;
        }
        usleep(1000);
        turn_ = board_.turn;
        board_.stamp = now_ns();
        return true;
    }
    void report() {
        std::nth_element(times_, times_ + count_ / 2, times_ + count_);
        bench::report("wake_ns", times_[count_ / 2]);
    }

private:
    static constexpr int capacity = 200;
    board& board_;
    std::uint64_t turn_ = 0;
    int most_, count_ = 0;
    double times_[capacity];
};

inline void look(const char* m, long n) {
    static_cast<void>(*static_cast<const volatile char*>(m));
    static_cast<void>(*static_cast<const volatile char*>(m + n - 1));
}

template <class Peer>
void close(Peer& peer) {
    if constexpr (requires { peer.close(); }) peer.close();
}

template <class Peer>
void round_trip(const options& opt, long size, bool wake) {
    Peer peer(size);
    board& b = *shared<board>();
    char* m = static_cast<char*>(std::calloc(1, std::size_t(size)));
    child echo(opt, [&] {
        peer.open(1);
        for (;;) {
            peer.recv(size, [&](const char* got) { std::memcpy(m, got, std::size_t(size)); });
            if (b.quit) return close(peer);
            if (b.stamp) b.woken();
            peer.send(m, size);
        }
    });
    peer.open(0);
    auto take = [&] { peer.recv(size, [&](const char* got) { look(got, size); }); };
    int slice = size <= 1024 ? 200 : 20;
    meter t(opt);
    while (t.more(std::uint64_t(slice)))
        for (int i = 0; i < slice; ++i) peer.send(m, size), take();
    report("roundtrip_ns", t.median_ns());
    if (wake) {
        wake_meter w(opt, b);
        while (w.more()) peer.send(m, size), take();
        w.report();
    }
    b.quit = true;
    peer.send(m, size);
    echo.wait();
}

template <class Peer>
void one_way(const options& opt, long size) {
    Peer peer(size);
    board& b = *shared<board>();
    int count = one_way_count(size);
    char* m = static_cast<char*>(std::calloc(1, std::size_t(size)));
    child reader(opt, [&] {
        peer.open(1);
        for (;;) {
            for (int i = 0; i < count; ++i) {
                peer.recv(size, [&](const char* got) { look(got, size); });
                if (b.quit) return close(peer);
            }
            peer.send(m, 1);
        }
    });
    peer.open(0);
    meter t(opt);
    while (t.more(std::uint64_t(count))) {
        for (int i = 0; i < count; ++i) peer.send(m, size);
        peer.recv(1, [](const char* got) { look(got, 1); });
    }
    report("msgs_per_s", 1e9 / t.median_ns());
    b.quit = true;
    peer.send(m, size);
    reader.wait();
}

struct crowd {
    std::atomic<bool> go{false}, stop{false};
    struct alignas(64) count {
        std::atomic<std::uint64_t> n{0};
    } got[16];

    bool more() const { return !stop.load(std::memory_order_relaxed); }
    void has_got(long getter, std::uint64_t n) {
        got[getter].n.store(n, std::memory_order_relaxed);
    }
    std::uint64_t sum() const {
        std::uint64_t all = 0;
        for (auto& c : got) all += c.n.load(std::memory_order_relaxed);
        return all;
    }
};

// Items through one queue of many processes, over a stretch of time after a start that does not
// count. put(c) runs in each putter and ends after c.more() is false; get(c, i) in the i-th getter,
// which tells c.has_got() each time how many it has; end(getters) lets the getters end.
template <class Put, class Get, class End>
void many(const options& opt, Put put, Get get, End end) {
    crowd& c = *shared<crowd>();
    long getters = opt.number("getters", 1), putters = opt.number("putters", 1);
    std::list<child> getting, putting;
    for (long i = 0; i < getters; ++i) getting.emplace_back(opt, [&] { get(c, i); });
    for (long i = 0; i < putters; ++i)
        putting.emplace_back(opt, [&] {
            while (!c.go) usleep(100);
            put(c);
        });
    c.go = true;
    usleep(20000);
    std::uint64_t n = c.sum(), t = now_ns();
    usleep(useconds_t(opt.seconds() * 1e6));
    n = c.sum() - n, t = now_ns() - t;
    report("items_per_s", double(n) * 1e9 / double(t));
    c.stop = true;
    for (auto& p : putting) p.wait();
    end(getters);
    for (auto& g : getting) g.wait();
}

// What ends a getter is an item that begins with 1.
template <class Line>
void many_over(const options& opt) {
    constexpr long size = 64;
    Line line(size);
    char m[size] = {};
    many(
        opt,
        [&](crowd& c) {
            while (c.more()) line.send(m, size);
        },
        [&](crowd& c, long me) {
            bool last = false;
            for (std::uint64_t n = 1;; c.has_got(me, n++)) {
                line.recv(size, [&](const char* got) { last = *got; });
                if (last) return;
            }
        },
        [&](long getters) {
            m[0] = 1;
            while (getters--) line.send(m, size);
        });
}

template <class Peer>
struct peer_jobs {
    explicit peer_jobs(const char* impl)
        : pingpong("ipc_pingpong", impl,
                   [](const options& opt) { round_trip<Peer>(opt, opt.number("msg", 64), true); }),
          stream("ipc_stream", impl,
                 [](const options& opt) { one_way<Peer>(opt, opt.number("msg", 64)); }) {}
    job pingpong, stream;
};

// Whoever never sleeps has nothing to do on one cpu.
template <class Peer>
struct spinning_jobs : peer_jobs<Peer> {
    explicit spinning_jobs(const char* impl) : peer_jobs<Peer>(impl) {
        this->pingpong.run = [](const options& opt) {
            if (opt.is("cpu", "same")) skip("spinning needs two cpus");
            round_trip<Peer>(opt, opt.number("msg", 64), true);
        };
    }
};

template <class Line>
struct line_jobs : peer_jobs<both_ways<Line>> {
    explicit line_jobs(const char* impl)
        : peer_jobs<both_ways<Line>>(impl), queue("mp_queue", impl, many_over<Line>) {}
    job queue;
};

}  // namespace bench

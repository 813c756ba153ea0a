// SPDX-License-Identifier: MIT

// The job sync for whoever blocks: a Lock has lock() and unlock(), a Semaphore post() and wait()
// and begins at 0, an Event set(), wait() and clear(). All are made in shared memory; bench::none
// stands for what an implementation has not.
#pragma once

#include <type_traits>

#include "messages.hpp"

namespace bench {

struct none {};

template <class Lock>
void lock_alone(const options& opt) {
    Lock& l = *shared<Lock>();
    meter t(opt);
    while (t.more(1000))
        for (int i = 0; i < 1000; ++i) l.lock(), l.unlock();
    report("ns_per_lock", t.median_ns());
}

// Counted under the lock: the sum shows that it excludes.
struct contention {
    volatile std::uint64_t count = 0;
    alignas(64) std::atomic<std::uint64_t> theirs{0};
    std::atomic<bool> begun{false}, quit{false};
};

// Two processes take a lock as often as they can. again(s, more) takes it while more(), adds 1 to
// s.count each time and returns how often.
template <class Again>
void contended(const options& opt, Again again) {
    contention& s = *shared<contention>();
    child other(opt, [&] {
        s.theirs = again(s, [&] {
            s.begun.store(true, std::memory_order_relaxed);
            return !s.quit.load(std::memory_order_relaxed);
        });
    });
    while (!s.begun) usleep(100);
    std::uint64_t begin = now_ns(), end = begin, before = s.count, turn = 0;
    double budget = opt.seconds() * 1e9;
    std::uint64_t mine = again(s, [&] {
        if (++turn % 128 == 0) end = now_ns();
        return double(end - begin) < budget;
    });
    std::uint64_t taken = s.count - before;
    s.quit = true;
    other.wait();
    if (s.count != mine + s.theirs) errno = 0, die("the lock did not exclude");
    report("ns_per_lock", double(end - begin) / double(taken));
}

// A post as a message without content.
template <class Semaphore>
class semaphore_line {
public:
    explicit semaphore_line(long) : posted_(*shared<Semaphore>()) {}
    void send(const char*, long) { posted_.post(); }
    template <class F>
    void recv(long, F f) {
        posted_.wait();
        f(" ");
    }

private:
    Semaphore& posted_;
};

template <class Event>
void event_wake(const options& opt) {
    Event& e = *shared<Event>();
    board& b = *shared<board>();
    child waiter(opt, [&] {
        for (;;) {
            e.wait();
            if (b.quit) return;
            std::uint64_t woken = now_ns();
            e.clear();
            b.woken(woken);
        }
    });
    wake_meter w(opt, b);
    while (w.more()) e.set();
    w.report();
    b.quit = true;
    e.set();
    waiter.wait();
}

template <class Lock, class Semaphore, class Event>
struct sync_job : job {
    explicit sync_job(const char* who) : job("sync", who, measure) {}
    static void measure(const options& opt) {
        if constexpr (!std::is_same_v<Lock, none>) {
            if (opt.is("op", "lock")) return lock_alone<Lock>(opt);
            if (opt.is("op", "contended")) {
                Lock& l = *shared<Lock>();
                return contended(opt, [&](contention& s, auto more) {
                    std::uint64_t n = 0;
                    for (; more(); ++n) {
                        l.lock();
                        s.count = s.count + 1;
                        l.unlock();
                    }
                    return n;
                });
            }
        }
        if constexpr (!std::is_same_v<Semaphore, none>)
            if (opt.is("op", "semaphore"))
                return round_trip<both_ways<semaphore_line<Semaphore>>>(opt, 1, false);
        if constexpr (!std::is_same_v<Event, none>)
            if (opt.is("op", "event")) return event_wake<Event>(opt);
        skip("it has none");
    }
};

}  // namespace bench

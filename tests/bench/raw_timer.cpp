// SPDX-License-Identifier: MIT

// timer: a bare 4-ary heap with positions, so that a cancelled timer leaves at once; and what a
// wait under a timeout costs with it: bare coroutines, an event, one clock reading and one heap
// entry a wait.
#include "bench.hpp"
#include "raw_coroutine.hpp"

namespace {

class heap {
public:
    explicit heap(std::size_t ids) : position_(ids) { nodes_.reserve(ids); }

    void add(std::uint64_t due, unsigned id) {
        nodes_.push_back({due, id});
        up(nodes_.size() - 1);
    }
    void remove(unsigned id) {
        std::size_t i = position_[id];
        node last = nodes_.back();
        nodes_.pop_back();
        if (i == nodes_.size()) return;
        nodes_[i] = last;
        position_[last.id] = unsigned(i);
        if (i && nodes_[(i - 1) / 4].due > last.due)
            up(i);
        else
            down(i);
    }

private:
    struct node {
        std::uint64_t due;
        unsigned id;
    };
    void put(std::size_t i, node n) {
        nodes_[i] = n;
        position_[n.id] = unsigned(i);
    }
    void up(std::size_t i) {
        node n = nodes_[i];
        for (std::size_t parent; i && nodes_[parent = (i - 1) / 4].due > n.due; i = parent)
            put(i, nodes_[parent]);
        put(i, n);
    }
    void down(std::size_t i) {
        node n = nodes_[i];
        for (std::size_t first; (first = 4 * i + 1) < nodes_.size();) {
            std::size_t least = first, end = std::min(first + 4, nodes_.size());
            for (std::size_t k = first + 1; k < end; ++k)
                if (nodes_[k].due < nodes_[least].due) least = k;
            if (nodes_[least].due >= n.due) break;
            put(i, nodes_[least]);
            i = least;
        }
        put(i, n);
    }

    std::vector<node> nodes_;
    std::vector<unsigned> position_;
};

void arm_and_cancel(const bench::options& opt) {
    unsigned timers = unsigned(opt.number("timers", 100000));
    heap h(timers);
    unsigned random = 1;
    bench::meter m(opt);
    while (m.more(timers)) {
        std::uint64_t base = bench::now_ns() + 10000000000u;
        for (unsigned i = 0; i < timers; ++i) {
            random = random * 1664525 + 1013904223;
            h.add(base + random, i);
        }
        for (unsigned i = 0; i < timers; ++i) h.remove(i);
    }
    bench::report("ns_per_timer", m.median_ns());
}

raw::handle waiting;
bool stop;

struct event_wait {
    bool await_ready() const { return false; }
    void await_suspend(raw::handle h) { waiting = h; }
    void await_resume() const {}
};

raw::task waiter(const bench::options& opt) {
    heap h(1);
    bench::meter m(opt);
    while (m.more(10000))
        for (int i = 0; i < 10000; ++i) {
            h.add(bench::now_ns() + 1000000000u, 0);
            co_await event_wait();
            h.remove(0);
        }
    stop = true;
    bench::report("ns_per_wait", m.median_ns());
    co_return 0;
}

raw::task setter() {
    while (!stop) {
        if (waiting) raw::ready.push(std::exchange(waiting, {}));
        co_await raw::yield();
    }
    co_return 0;
}

bench::job timer_job("timer", "raw", [](const bench::options& opt) {
    if (opt.is("op", "arm_cancel")) return arm_and_cancel(opt);
    raw::task a = waiter(opt), b = setter();
    a.start();
    b.start();
    raw::ready.run();
});

}  // namespace

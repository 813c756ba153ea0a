// SPDX-License-Identifier: MIT

// switch, spawn_task, nursery: bare C++20 coroutines.
#include "bench.hpp"
#include "raw_coroutine.hpp"

using raw::task;

namespace {

[[gnu::noinline]] task trivial(int x) { co_return x; }

[[gnu::noinline]] task chain(int depth) {
    if (!depth) co_return 0;
    co_return 1 + co_await chain(depth - 1);
}

task awaits(const bench::options& opt) {
    long sum = 0;
    bench::meter one(opt);
    while (one.more(10000))
        for (int i = 0; i < 10000; ++i) sum += co_await trivial(i);
    bench::report("await_ns", one.median_ns());
    bench::meter deep(opt);
    while (deep.more(10000))
        for (int i = 0; i < 100; ++i) sum += co_await chain(100);
    bench::report("chain_ns", deep.median_ns());
    co_return int(sum);
}

bool stop;

task measure_yields(const bench::options& opt) {
    bench::meter m(opt);
    while (m.more(20000))
        for (int i = 0; i < 10000; ++i) co_await raw::yield();
    stop = true;
    bench::report("yield_ns", m.median_ns());
    co_return 0;
}

task yield_along() {
    while (!stop) co_await raw::yield();
    co_return 0;
}

task spawn_and_join(const bench::options& opt) {
    long sum = 0;
    bench::meter m(opt);
    while (m.more(10000))
        for (int i = 0; i < 10000; ++i) sum += co_await raw::join(trivial(i));
    bench::report("ns_per_task", m.median_ns());
    co_return int(sum);
}

task start_then_join(const bench::options& opt, int tasks) {
    long sum = 0;
    std::vector<task> children;
    children.reserve(std::size_t(tasks));
    bench::meter m(opt);
    while (m.more(10 * std::uint64_t(tasks)))
        for (int round = 0; round < 10; ++round) {
            for (int i = 0; i < tasks; ++i) {
                children.push_back(trivial(i));
                children.back().start();
            }
            co_await raw::yield();
            for (auto& c : children) sum += c.value();
            children.clear();
        }
    bench::report("ns_per_task", m.median_ns());
    co_return int(sum);
}

task suspended() {
    co_await raw::forever();
    co_return 0;
}

void memory(int tasks) {
    std::vector<task> all;
    all.reserve(std::size_t(tasks));
    long before = bench::resident_bytes();
    for (int i = 0; i < tasks; ++i) {
        all.push_back(suspended());
        all.back().start();
    }
    raw::ready.run();
    bench::report("bytes_per_task", double(bench::resident_bytes() - before) / tasks);
}

bench::job switching_job("switch", "raw", [](const bench::options& opt) {
    task t = awaits(opt);
    t.start();
    raw::ready.run();
    task a = measure_yields(opt), b = yield_along();
    a.start();
    b.start();
    raw::ready.run();
});

bench::job spawning_job("spawn_task", "raw", [](const bench::options& opt) {
    task t = spawn_and_join(opt);
    t.start();
    raw::ready.run();
});

bench::job nursery_job("nursery", "raw", [](const bench::options& opt) {
    int tasks = int(opt.number("tasks", 1000));
    if (tasks >= 100000) return memory(tasks);
    task t = start_then_join(opt, tasks);
    t.start();
    raw::ready.run();
});

}  // namespace

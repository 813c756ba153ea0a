// SPDX-License-Identifier: MIT

// switch, spawn_task, nursery.
#include <runnel/runnel.hpp>

#include "bench.hpp"

using namespace runnel;

namespace {

[[gnu::noinline]] task<int> trivial(int x) { co_return x; }

[[gnu::noinline]] task<int> chain(int depth) {
    if (!depth) co_return 0;
    co_return 1 + co_await chain(depth - 1);
}

task<> awaits(const bench::options& opt) {
    long sum = 0;
    bench::meter one(opt);
    while (one.more(10000))
        for (int i = 0; i < 10000; ++i) sum += co_await trivial(i);
    bench::report("await_ns", one.median_ns());
    bench::meter deep(opt);
    while (deep.more(10000))
        for (int i = 0; i < 100; ++i) sum += co_await chain(100);
    bench::report("chain_ns", deep.median_ns());
    if (sum == 42) std::puts("");
}

bool stop;

task<> measure_yields(const bench::options& opt) {
    bench::meter m(opt);
    while (m.more(20000))
        for (int i = 0; i < 10000; ++i) co_await yield();
    stop = true;
    bench::report("yield_ns", m.median_ns());
}

task<> yield_along() {
    const bool forever = true;
    while (forever && !stop) co_await yield();
}

task<> spawn_and_join(const bench::options& opt) {
    co_await open_nursery([&](nursery& n) -> task<> {
        bench::meter m(opt);
        while (m.more(10000))
            for (int i = 0; i < 10000; ++i) {
                n.start(trivial, i);
                co_await n.join();
            }
        bench::report("ns_per_task", m.median_ns());
    });
}

task<> start_then_join(const bench::options& opt, int tasks) {
    bench::meter m(opt);
    while (m.more(10 * std::uint64_t(tasks)))
        for (int round = 0; round < 10; ++round) {
            co_await open_nursery([tasks](nursery& n) -> task<> {
                for (int i = 0; i < tasks; ++i) n.start(trivial, i);
                co_return;
            });
        }
    bench::report("ns_per_task", m.median_ns());
}

/// What the other programs wait for, too: nothing at all.
struct forever {
    bool await_ready() const noexcept { return false; }
    void await_suspend(waiter) const noexcept {}
    void await_resume() const noexcept {}
    cancellation await_cancel() const noexcept { return cancellation::now; }
};

task<> suspended() { co_await forever(); }

task<> memory(int tasks) {
    co_await open_nursery([&](nursery& n) -> task<> {
        const long before = bench::resident_bytes();
        for (int i = 0; i < tasks; ++i) n.start(suspended);
        co_await yield();
        bench::report("bytes_per_task", double(bench::resident_bytes() - before) / tasks);
        n.cancel();
    });
}

bench::job switching_job("switch", "runnel", [](const bench::options& opt) {
    run(awaits(opt));
    run([&]() -> task<> { co_await when_all(measure_yields(opt), yield_along()); });
});

bench::job spawning_job("spawn_task", "runnel",
                        [](const bench::options& opt) { run(spawn_and_join(opt)); });

bench::job nursery_job("nursery", "runnel", [](const bench::options& opt) {
    const int tasks = int(opt.number("tasks", 1000));
    run(tasks >= 100000 ? memory(tasks) : start_then_join(opt, tasks));
});

}  // namespace

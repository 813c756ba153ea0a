// SPDX-License-Identifier: MIT

// switch, spawn_task, nursery with asio::awaitable and co_spawn.
#include "asio.hpp"

namespace {

co<int> trivial(int x) { co_return x; }

[[gnu::noinline]] co<int> chain(int depth) {
    if (!depth) co_return 0;
    co_return 1 + co_await chain(depth - 1);
}

co<> awaits(const bench::options& opt) {
    long sum = 0;
    bench::meter one(opt);
    while (one.more(10000))
        for (int i = 0; i < 10000; ++i) sum += co_await trivial(i);
    bench::report("await_ns", one.median_ns());
    bench::meter deep(opt);
    while (deep.more(10000))
        for (int i = 0; i < 100; ++i) sum += co_await chain(100);
    bench::report("chain_ns", deep.median_ns());
}

bool stop;

co<> measure_yields(const bench::options& opt) {
    bench::meter m(opt);
    while (m.more(20000))
        for (int i = 0; i < 10000; ++i) co_await asio::post(use);
    stop = true;
    bench::report("yield_ns", m.median_ns());
}

co<> yield_along() {
    while (!stop) co_await asio::post(use);
}

co<> spawn_and_join(asio::io_context& ctx, const bench::options& opt) {
    long sum = 0;
    bench::meter m(opt);
    while (m.more(1000))
        for (int i = 0; i < 1000; ++i) sum += co_await asio::co_spawn(ctx, trivial(i), use);
    bench::report("ns_per_task", m.median_ns());
}

int left;
co<> counted() {
    --left;
    co_return;
}

co<> start_then_join(asio::io_context& ctx, const bench::options& opt, int tasks) {
    bench::meter m(opt);
    while (m.more(10 * std::uint64_t(tasks)))
        for (int round = 0; round < 10; ++round) {
            left = tasks;
            for (int i = 0; i < tasks; ++i) asio::co_spawn(ctx, counted(), asio::detached);
            while (left) co_await asio::post(use);
        }
    bench::report("ns_per_task", m.median_ns());
}

co<> suspended(timer& never) {
    error_code ec;
    co_await never.async_wait(asio::redirect_error(use, ec));
}

void memory(int tasks) {
    asio::io_context ctx(1);
    timer never(ctx, std::chrono::steady_clock::time_point::max());
    long before = bench::resident_bytes();
    for (int i = 0; i < tasks; ++i) asio::co_spawn(ctx, suspended(never), asio::detached);
    ctx.poll();
    bench::report("bytes_per_task", double(bench::resident_bytes() - before) / tasks);
    _exit(0);
}

bench::job switching_job("switch", "asio", [](const bench::options& opt) {
    asio::io_context ctx(1);
    asio::co_spawn(ctx, awaits(opt), rethrow);
    ctx.run();
    ctx.restart();
    asio::co_spawn(ctx, measure_yields(opt), rethrow);
    asio::co_spawn(ctx, yield_along(), rethrow);
    ctx.run();
});

bench::job spawning_job("spawn_task", "asio", [](const bench::options& opt) {
    asio::io_context ctx(1);
    asio::co_spawn(ctx, spawn_and_join(ctx, opt), rethrow);
    ctx.run();
});

bench::job nursery_job("nursery", "asio", [](const bench::options& opt) {
    int tasks = int(opt.number("tasks", 1000));
    if (tasks >= 100000) return memory(tasks);
    asio::io_context ctx(1);
    asio::co_spawn(ctx, start_then_join(ctx, opt, tasks), rethrow);
    ctx.run();
});

}  // namespace

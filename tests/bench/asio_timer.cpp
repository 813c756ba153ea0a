// SPDX-License-Identifier: MIT

// timer with steady_timer. A wait under a timeout is the race that Asio users write: the deadline's
// handler cancels the wait for the event. (cancel_after does the same inside, and is not in the
// Boost of Debian 12.)
#include <deque>

#include "asio.hpp"

namespace {

void arm_and_cancel(const bench::options& opt) {
    unsigned count = unsigned(opt.number("timers", 100000));
    asio::io_context ctx(1);
    std::deque<timer> timers;
    for (unsigned i = 0; i < count; ++i) timers.emplace_back(ctx);
    unsigned random = 1;
    bench::meter m(opt);
    while (m.more(count)) {
        auto base = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        for (auto& t : timers) {
            random = random * 1664525 + 1013904223;
            t.expires_at(base + std::chrono::nanoseconds(random));
            t.async_wait([](error_code) {});
        }
        for (auto& t : timers) t.cancel();
        ctx.restart();
        ctx.poll();  // the cancelled handlers run
    }
    bench::report("ns_per_timer", m.median_ns());
}

bool stop;

co<> waiter(const bench::options& opt, timer& event, timer& deadline) {
    error_code result;
    bench::meter m(opt);
    while (m.more(1000))
        for (int i = 0; i < 1000; ++i) {
            deadline.expires_after(std::chrono::seconds(1));
            deadline.async_wait([&](error_code ec) {
                if (!ec) event.cancel();
            });
            co_await event.async_wait(asio::redirect_error(use, result));
            deadline.cancel();
        }
    stop = true;
    bench::report("ns_per_wait", m.median_ns());
}

co<> setter(timer& event) {
    while (!stop) {
        event.cancel_one();
        co_await asio::post(use);
    }
}

bench::job timers_job("timer", "asio", [](const bench::options& opt) {
    if (opt.is("op", "arm_cancel")) return arm_and_cancel(opt);
    asio::io_context ctx(1);
    timer event(ctx, std::chrono::steady_clock::time_point::max()), deadline(ctx);
    asio::co_spawn(ctx, waiter(opt, event, deadline), rethrow);
    asio::co_spawn(ctx, setter(event), rethrow);
    ctx.run();
});

}  // namespace

// SPDX-License-Identifier: MIT

// timer: the loop's heap of deadlines, and a whole with_timeout around an event that is set first.
#include <deque>

#include <runnel/runnel.hpp>

#include "bench.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

struct node final : detail::timer_node {
    void fire() noexcept override {}
};

// What with_timeout does to the loop, without the task around it.
void arm_and_cancel(const bench::options& opt) {
    const auto timers = std::size_t(opt.number("timers", 100000));
    std::deque<node> nodes(timers);
    detail::scheduler home;
    unsigned random = 1;
    bench::meter m(opt);
    while (m.more(timers)) {
        const auto base = home.now() + 10s;
        for (node& each : nodes) {
            random = random * 1664525 + 1013904223;
            home.arm(each, base + std::chrono::nanoseconds(random));
        }
        for (node& each : nodes) home.disarm(each);
    }
    bench::report("ns_per_timer", m.median_ns());
}

bool stop;

task<> wait_for(event& set, const bench::options& opt) {
    bench::meter m(opt);
    while (m.more(10000))
        for (int i = 0; i < 10000; ++i) {
            co_await with_timeout(set.wait(), 1s);
            set.clear();
        }
    stop = true;
    bench::report("ns_per_wait", m.median_ns());
}

task<> setter(event& set) {
    const bool forever = true;
    while (forever && !stop) {
        set.set();
        co_await yield();
    }
}

bench::job timer_job("timer", "runnel", [](const bench::options& opt) {
    if (opt.is("op", "arm_cancel")) return arm_and_cancel(opt);
    event set;
    run([&]() -> task<> { co_await when_all(wait_for(set, opt), setter(set)); });
});

}  // namespace

// SPDX-License-Identifier: MIT

// timer with uv_timer (1 ms resolution). libuv has no tasks, so no wait under a timeout.
#include <uv.h>

#include <vector>

#include "bench.hpp"

namespace {

bench::job timers_job("timer", "libuv", [](const bench::options& opt) {
    if (!opt.is("op", "arm_cancel")) bench::skip("libuv has no tasks that wait");
    std::size_t count = std::size_t(opt.number("timers", 100000));
    uv_loop_t* loop = uv_default_loop();
    std::vector<uv_timer_t> timers(count);
    for (auto& t : timers) uv_timer_init(loop, &t);
    unsigned random = 1;
    bench::meter m(opt);
    while (m.more(count)) {
        uv_update_time(loop);
        for (auto& t : timers) {
            random = random * 1664525 + 1013904223;
            uv_timer_start(&t, [](uv_timer_t*) {}, 10000 + random / 1000000, 0);
        }
        for (auto& t : timers) uv_timer_stop(&t);
    }
    bench::report("ns_per_timer", m.median_ns());
});

}  // namespace

// SPDX-License-Identifier: MIT

// nop: one task awaits a NOP, or 64 tasks await one each in the same turn.
#include <runnel/runnel.hpp>

#include "bench.hpp"

using namespace runnel;

namespace {

task<> single(const bench::options& opt) {
    bench::meter m(opt);
    while (m.more(6400))
        for (int i = 0; i < 6400; ++i) co_await io::nop();
    bench::report("ns_per_nop", m.median_ns());
}

bool stop;

task<> beside() {
    const bool forever = true;
    while (forever && !stop) co_await io::nop();
}

task<> leader(const bench::options& opt, unsigned batch) {
    bench::meter m(opt);
    while (m.more(100 * batch))
        for (int i = 0; i < 100; ++i) co_await io::nop();
    stop = true;
    bench::report("ns_per_nop", m.median_ns());
}

task<> batched(const bench::options& opt, unsigned batch) {
    co_await open_nursery([&](nursery& n) -> task<> {
        n.start(leader, std::cref(opt), batch);
        for (unsigned i = 1; i < batch; ++i) n.start(beside);
        co_return;
    });
}

bench::job nop_job("nop", "runnel", [](const bench::options& opt) {
    const auto batch = unsigned(opt.number("batch", 1));
    run(batch == 1 ? single(opt) : batched(opt, batch));
});

}  // namespace

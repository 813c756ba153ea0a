// SPDX-License-Identifier: MIT

// nop: submit NOPs and wait for them in one system call, with each set-up a runtime may choose. The
// fastest is the limit.
#include "raw_ring.hpp"

namespace {

template <unsigned Flags, bool Registered>
void run(const bench::options& opt) {
    unsigned batch = unsigned(opt.number("batch", 1));
    raw::ring r(256, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | Flags, Registered);
    bench::meter m(opt);
    while (m.more(6400))
        for (unsigned i = 0; i < 6400; i += batch) {
            for (unsigned k = 0; k < batch; ++k) r.push(IORING_OP_NOP, -1, nullptr, 0);
            r.submit(batch);
            if (r.completed() != batch) {
                std::fprintf(stderr, "%u of %u completions\n", r.completed(), batch);
                _exit(2);
            }
            r.pop(batch);
        }
    bench::report("ns_per_nop", m.median_ns());
}

bench::job plain_job("nop", "raw_defer", run<0, false>);
bench::job flag_job("nop", "raw_defer_flag", run<IORING_SETUP_TASKRUN_FLAG, false>);
bench::job registered_job("nop", "raw_defer_regfd", run<0, true>);
bench::job both_job("nop", "raw_defer_flag_regfd", run<IORING_SETUP_TASKRUN_FLAG, true>);

}  // namespace

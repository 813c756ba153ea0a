// SPDX-License-Identifier: MIT
#pragma once

#include <sched.h>

namespace runnel::detail {

/// How long to watch memory before sleeping in the kernel. Waking an idle CPU costs tens of
/// microseconds, so a short spin wins by an order of magnitude when the answer comes from another
/// CPU; sched_yield between the bursts gives way to a peer that shares this one. It is adaptive:
/// where spinning keeps failing it stops, but for a probe now and then.
class spin_policy {
public:
    /// How many bursts, each followed by a sched_yield, this wait may spend.
    unsigned bursts() noexcept {
        if (waits_++ % look_every == 0) find_cpus();
        if (limit_ != 0) return limit_;
        if (++skipped_ < probe_every) return 0;
        skipped_ = 0;
        return probe;
    }
    void succeeded() noexcept { limit_ = most; }
    void failed() noexcept { limit_ = limit_ > probe ? limit_ / 2 : 0; }

    /// About 0.3 us of looking; true as soon as `condition` holds. Where this thread has one CPU
    /// only, nobody can change anything meanwhile, and it is one look.
    template <class F>
    bool burst(F&& condition) noexcept {
        for (int i = 0; i < looks_; ++i) {
            if (condition()) return true;
            pause();
        }
        return false;
    }

private:
    static void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("yield");
#endif
    }
    void find_cpus() noexcept {
        ::cpu_set_t allowed;
        const bool one =
            ::sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) == 1;
        looks_ = one ? 1 : 12;
    }
    static constexpr unsigned most = 64;
    static constexpr unsigned probe = 8;
    static constexpr unsigned probe_every = 32;
    unsigned limit_ = most;
    unsigned skipped_ = 0;
    static constexpr unsigned look_every = 1024;  // the CPUs that are allowed can change
    unsigned waits_ = 0;
    int looks_ = 12;
};

}  // namespace runnel::detail

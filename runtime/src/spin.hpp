// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>

#include <sched.h>

namespace runnel::detail {

/// How long to watch memory before sleeping in the kernel. Waking an idle CPU costs tens of
/// microseconds, so a short spin wins by an order of magnitude when the answer comes from another
/// CPU; sched_yield between the bursts gives way to a peer that shares this one. It is adaptive:
/// where spinning keeps failing it stops, but for a probe now and then.
class spin_policy {
public:
    /// What all the bursts of one wait take where nobody else wants the CPU; where somebody does,
    /// they take as long as the others have it.
    static constexpr std::chrono::microseconds longest{100};

    /// Will bursts() be more than none?
    [[nodiscard]] bool spins() const noexcept { return limit_ != 0 || skipped_ + 1 >= probe_every; }
    /// How many bursts, each followed by a sched_yield, this wait may spend.
    unsigned bursts() noexcept {
        if (waits_ % find_every == 0) find_cpus();
        looks_ = !one_cpu_ || others_run_ != 0 || waits_ % try_every == 0 ? most_looks : 1;
        ++waits_;
        yielded_ = false;
        if (limit_ != 0) return limit_;
        if (++skipped_ < probe_every) return 0;
        skipped_ = 0;
        return probe;
    }
    void succeeded() noexcept { limit_ = most; }
    void failed() noexcept { limit_ = limit_ > probe ? limit_ / 2 : 0; }

    /// Some 0.3 us of looking; true as soon as `condition` holds. Where this thread has one CPU
    /// only, and whoever changes what it looks at seems to be on the same one, nothing changes
    /// meanwhile, and it is one look.
    template <class F>
    bool burst(F&& condition) noexcept {
        // Once it is known that they run at the same time, the first one is worth more.
        const int looks = !yielded_ && others_run_ != 0 ? 4 * most_looks : looks_;
        for (int i = 0; i < looks; ++i) {
            if (condition()) {
                learn(i != 0);
                return true;
            }
            pause();
        }
        yielded_ = true;
        return false;
    }

private:
    static void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("isb");  // yield does not wait
#endif
    }
    void find_cpus() noexcept {
        ::cpu_set_t allowed;
        one_cpu_ =
            ::sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) == 1;
    }
    /// It has changed while this thread ran, or while another one did.
    void learn(bool meanwhile) noexcept {
        if (meanwhile)
            others_run_ = sure;
        else if (yielded_ && others_run_ != 0)
            --others_run_;
    }
    static constexpr unsigned most = 64;
    static constexpr unsigned probe = 8;
    static constexpr unsigned probe_every = 32;
    unsigned limit_ = most;
    unsigned skipped_ = 0;
    static constexpr unsigned find_every = 1024;  // the CPUs that are allowed can change
    static constexpr unsigned try_every = 128;
    static constexpr unsigned sure = 8;
    static constexpr int most_looks = 12;
    unsigned waits_ = 0;
    int looks_ = most_looks;
    bool one_cpu_ = false;
    bool yielded_ = false;     // in this wait
    unsigned others_run_ = 0;  // that is how sure it is that they do so at the same time
};

}  // namespace runnel::detail

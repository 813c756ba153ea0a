// SPDX-License-Identifier: MIT

// How the raw limits wait for shared memory to change.
#pragma once

#include <linux/futex.h>

#include <atomic>
#include <climits>

#include "../../runtime/src/spin.hpp"
#include "raw_ring.hpp"

namespace raw {

using word = std::atomic<unsigned>;

inline void futex_wake(word& w, int most) {
    syscall(SYS_futex, &w, FUTEX_WAKE, most, nullptr, nullptr, 0);
}
inline void futex_wait(word& w, unsigned value) {
    syscall(SYS_futex, &w, FUTEX_WAIT, value, nullptr, nullptr, 0);
}

// Each way to wait: spin(ready) may watch a little and says whether it was worth it; sleep(w, v)
// returns when w may not be v any more.

struct spinning {
    static constexpr bool parks = false;
    template <class Ready>
    static bool spin(Ready ready) {
        while (!ready()) __builtin_ia32_pause();
        return true;
    }
    static void sleep(word&, unsigned) {}
};

struct futex {
    static constexpr bool parks = true;
    template <class Ready>
    static bool spin(Ready ready) {
        return ready();
    }
    static void sleep(word& w, unsigned value) { futex_wait(w, value); }
};

// As a runtime on io_uring has to: runnel's own spin, then one IORING_OP_FUTEX_WAIT (Linux 6.7).
struct uring_futex {
    static constexpr bool parks = true;
    template <class Ready>
    static bool spin(Ready ready) {
        static runnel::detail::spin_policy policy;
        for (unsigned i = policy.bursts(); i; --i) {
            if (policy.burst(ready)) return policy.succeeded(), true;
            sched_yield();
        }
        policy.failed();
        return ready();
    }
    static void sleep(word& w, unsigned value) {
        constexpr int op_futex_wait = 51, size_u32 = 2;  // newer than the headers of 6.1
        static ring r(8, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, true);
        io_uring_sqe& s = r.push(op_futex_wait, size_u32, &w, 0);
        s.off = value;
        s.addr3 = ~0u;  // any bit of the mask
        r.submit(1);
        while (!r.completed()) r.submit(1);
        int result = r.front();
        r.pop(1);
        if (result == -EINVAL || result == -EOPNOTSUPP)
            bench::die("IORING_OP_FUTEX_WAIT (Linux 6.7 or later)");
    }
};

// A count that others wait on: each change of `version` may make a sleeper ready.
class alignas(64) gate {
public:
    // Returns when ready() has held.
    template <class Wait, class Ready>
    void wait(Ready ready) {
        if (Wait::spin(ready)) return;
        for (;;) {
            unsigned v = version_.load();
            sleepers_.fetch_add(1);
            bool now = ready();
            if (!now) Wait::sleep(version_, v);
            sleepers_.fetch_sub(1);
            if (now || ready()) return;
        }
    }
    // After making something ready. Costs a fence while nobody sleeps.
    void signal(int most = 1) {
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (!sleepers_.load(std::memory_order_relaxed)) return;
        version_.fetch_add(1);
        futex_wake(version_, most);
    }

private:
    word version_{0}, sleepers_{0};
};

}  // namespace raw

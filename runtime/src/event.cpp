// SPDX-License-Identifier: MIT
#include <runnel/event.hpp>

#include <sched.h>

namespace runnel {

void event::set() noexcept {
    const guard lock(*this);
    set_.store(true, std::memory_order_release);
    // Resumed under the lock: a waiter of another loop may be gone as soon as it runs.
    while (!waiting_.empty()) waiting_.pop_front().who_.resume();
}

void event::spin() const noexcept { ::sched_yield(); }

}  // namespace runnel

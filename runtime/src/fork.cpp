// SPDX-License-Identifier: MIT
#include <runnel/fork.hpp>

#include "interrupt.hpp"
#include "loop_core.hpp"
#include "sigpipe.hpp"

namespace runnel {

void reset_after_fork() noexcept {
    detail::loop_core::current() = nullptr;
    detail::forget_sigpipe();
    detail::forget_interrupt();
}

bool in_virtual_time() noexcept {
    const detail::loop_core* core = detail::loop_core::current();
    return core != nullptr && core->options.virtual_time;
}

}  // namespace runnel

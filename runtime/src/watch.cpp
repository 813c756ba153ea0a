// SPDX-License-Identifier: MIT
#include <runnel/watch.hpp>

#include "loop_core.hpp"

namespace runnel {

void watch::begin(loop& on) {
    if (!begun()) detail::loop_core::of(on).add_watch(*this);
}

bool io::standing::begin_request(loop& on, const runnel::detail::io_request& what) noexcept {
    request_.emplace(*this, runnel::detail::loop_core::of(on).idle(), what);
    active_ = request_->start(waiter(*request_));
    return active_;
}

void io::standing::cancel() noexcept {
    if (active_) request_->io_op::cancel();
}

void io::standing::request::run() noexcept {
    of_.active_ = false;
    of_.completed();
}

}  // namespace runnel

// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <runnel/awaiter.hpp>
#include <runnel/detail/branch.hpp>

namespace runnel {
namespace detail {

class [[nodiscard]] yield_await {
public:
    static constexpr bool is_atomic = true;
    bool await_ready() const noexcept { return false; }
    void await_suspend(waiter who) const noexcept { who.resume(); }
    void await_resume() const noexcept {}
    cancellation await_cancel() const noexcept { return cancellation::too_late; }
    void await_describe(std::string& text) const { text += "yield"; }
};

}  // namespace detail

/// Lets everything else that is ready run first. Cancellation: atomic; a request that comes while
/// it waits for its turn is met at the next await.
inline detail::yield_await yield() noexcept { return {}; }

}  // namespace runnel

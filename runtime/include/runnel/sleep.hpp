// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include <runnel/awaiter.hpp>
#include <runnel/detail/branch.hpp>
#include <runnel/detail/time.hpp>

namespace runnel {
namespace detail {

/// An entry in the loop's heap of deadlines.
class sleep_await final : public timer_node {
public:
    static constexpr bool is_atomic = true;
    explicit sleep_await(duration length) noexcept : length_(length), relative_(true) {}
    explicit sleep_await(time_point when) noexcept : when_(when), relative_(false) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(waiter who) {
        who_ = who;
        scheduler& home = who.scheduler();
        const time_point when = relative_ ? after(home.now(), length_) : when_;
        if (when != time_point::max()) home.arm(*this, when);
    }
    void await_resume() const noexcept {}
    cancellation await_cancel() noexcept {
        if (fired_) return cancellation::too_late;
        who_.scheduler().disarm(*this);
        return cancellation::now;
    }
    void await_describe(std::string& text) const { text += "sleep"; }

private:
    void fire() noexcept override {
        fired_ = true;
        who_.resume();
    }
    waiter who_;
    union {
        duration length_;
        time_point when_;
    };
    bool relative_;
    bool fired_ = false;
};

class [[nodiscard]] sleep_operation {
public:
    explicit sleep_operation(duration length) noexcept : length_(length), relative_(true) {}
    explicit sleep_operation(time_point when) noexcept : when_(when), relative_(false) {}
    sleep_await operator co_await() const noexcept {
        return relative_ ? sleep_await(length_) : sleep_await(when_);
    }

private:
    union {
        duration length_;
        time_point when_;
    };
    bool relative_;
};

}  // namespace detail

/// Suspends for `length`, counted from the co_await, never less; zero or less gives others a turn.
/// Cancellation: atomic.
template <class Rep, class Period>
detail::sleep_operation sleep_for(std::chrono::duration<Rep, Period> length) noexcept {
    return detail::sleep_operation(detail::to_duration(length));
}

/// Suspends until `when`. Cancellation: atomic.
inline detail::sleep_operation sleep_until(std::chrono::steady_clock::time_point when) noexcept {
    return detail::sleep_operation(when);
}

}  // namespace runnel

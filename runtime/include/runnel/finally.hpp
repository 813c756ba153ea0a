// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <runnel/detail/combine.hpp>
#include <runnel/detail/operand.hpp>
#include <runnel/detail/time.hpp>
#include <runnel/shield.hpp>

namespace runnel {
namespace detail {

/// The body, then the clean-up in a scope that the body's cancellation does not reach.
template <class T, class C>
class finally_await final : public combinator, public timer_node {
public:
    static constexpr bool runs_when_cancelled = true;
    finally_await(task<T> body, task<C> cleanup, duration limit)
        : body_(body), cleanup_(cleanup), limit_(limit) {}

    bool await_ready() const noexcept { return false; }
    void await_suspend(waiter up) noexcept {
        up_ = up;
        if (up.cancel_pending())
            clean_up();
        else
            body_.start(*this);
    }
    T await_resume() {
        std::vector<std::exception_ptr> errors;
        if (body_.done() && body_.error()) errors.push_back(body_.error());
        if (cleanup_.done() && cleanup_.error()) errors.push_back(cleanup_.error());
        rethrow_first(std::move(errors));
        return body_.take();
    }
    cancellation await_cancel() noexcept {
        if (ended_) {
            const bool failed = cleanup_.done() && cleanup_.error() != nullptr;
            return body_.done() || failed ? cancellation::too_late : cancellation::now;
        }
        if (body_.open()) body_.request_stop();
        return cancellation::later;
    }
    void await_describe(std::string& text) const {
        text += cleanup_.open() ? "finally: cleaning up" : "finally";
    }
    void await_dump(dump_sink& sink) const {
        body_.dump_part(sink);
        cleanup_.dump_part(sink);
    }

private:
    waiter upward() const noexcept override { return up_; }
    void settled(operand_base& which) noexcept override {
        if (&which == &body_) return clean_up();
        up_.scheduler().disarm(*this);
        ended_ = true;
        up_.resume();
    }
    void clean_up() noexcept {
        cleanup_.start(*this);
        scheduler& home = up_.scheduler();
        const time_point when = after(home.now(), limit_);
        if (when != time_point::max()) home.arm(*this, when);
    }
    void fire() noexcept override {
        up_.scheduler().report(std::make_exception_ptr(
            std::runtime_error("finally: the clean-up was late and has been cancelled")));
        cleanup_.request_stop();
    }

    operand<task<T>> body_;
    operand<task<C>> cleanup_;
    duration limit_;
    waiter up_;
    bool ended_ = false;
};

template <class B, class C>
class [[nodiscard]] finally_operation {
public:
    finally_operation(B&& body, C&& cleanup, duration limit)
        : body_(std::forward<B>(body)), cleanup_(std::forward<C>(cleanup)), limit_(limit) {}
    auto operator co_await() {
        return finally_await<await_value_t<B>, await_value_t<C>>(
            as_task(static_cast<B&&>(body_)), as_task(static_cast<C&&>(cleanup_)), limit_);
    }

private:
    B body_;
    C cleanup_;
    duration limit_;
};

}  // namespace detail

/// Runs `body`, then `cleanup`, however the body ended: with a value, an error or cancelled, even
/// if it was cancelled before it began. Gives the body's value or throws its error.
///
///     co_await finally(talk(con), say_goodbye(con));
///
/// The clean-up is not cancelled by what cancelled the body, but by its own deadline: when `limit`
/// (5 seconds if none is given) is over it is stopped, and the loop's on_error hears of it. An error of the clean-up is thrown
/// if the body has none. Both are tasks or other awaitables. Write it outermost: a with_timeout or
/// race that is cancelled before it began does not begin a finally inside it.
///
/// Cancellation: composed; the body is cancelled, and the clean-up is awaited all the same.
template <class B, class C>
auto finally(B&& body, C&& cleanup) {
    if constexpr (!detail::explain_operands<B, C>())
        return detail::refused();
    else
        return detail::finally_operation<detail::described<B>, detail::described<C>>(
            std::forward<B>(body), std::forward<C>(cleanup),
            detail::to_duration(std::chrono::seconds(5)));
}
template <class B, class C, class Rep, class Period>
auto finally(B&& body, C&& cleanup, std::chrono::duration<Rep, Period> limit) {
    if constexpr (!detail::explain_operands<B, C>())
        return detail::refused();
    else
        return detail::finally_operation<detail::described<B>, detail::described<C>>(
            std::forward<B>(body), std::forward<C>(cleanup), detail::to_duration(limit));
}

}  // namespace runnel

// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <optional>
#include <type_traits>
#include <utility>

#include <runnel/detail/operand.hpp>
#include <runnel/detail/time.hpp>

namespace runnel {
namespace detail {

/// One operand and a deadline. The deadline costs a place in the loop's heap: no kernel timer.
template <class D>
class timeout_await final : public combinator, public timer_node {
    using value = typename operand<D>::value_type;

public:
    static constexpr bool is_atomic = operand<D>::is_atomic;

    timeout_await(std::remove_reference_t<D>& description, duration limit)
        : operand_(description), limit_(limit), relative_(true) {}
    timeout_await(std::remove_reference_t<D>& description, time_point when)
        : operand_(description), when_(when), relative_(false) {}

    bool await_ready() noexcept { return operand_.ready(*this); }
    bool await_suspend(waiter up) {
        up_ = up;
        scheduler& home = up.scheduler();
        home.timers.reserve_one();
        if (!operand_.start(*this)) return false;
        const time_point when = relative_ ? after(home.now(), limit_) : when_;
        if (when != time_point::max()) home.arm(*this, when);
        return true;
    }
    cancellation await_cancel() noexcept {
        if (operand_.state() ==
            operand_base::status::cancelled)  // resumed after "later", or timed out
            return timed_out_ && !asked_ ? cancellation::too_late : cancellation::now;
        if (operand_.done()) return cancellation::too_late;
        asked_ = true;
        operand_.request_stop();
        if (operand_.state() == operand_base::status::cancelled) {
            up_.scheduler().disarm(*this);
            return cancellation::now;
        }
        return cancellation::later;
    }
    auto await_resume() {
        if constexpr (std::is_void_v<value>) {
            if (!operand_.done()) return false;
            operand_.take();
            return true;
        } else {
            using held =
                std::conditional_t<std::is_reference_v<value>,
                                   std::reference_wrapper<std::remove_reference_t<value>>, value>;
            std::optional<held> got;
            if (operand_.done()) got.emplace(operand_.take());
            return got;
        }
    }
    void await_describe(std::string& text) const { text += "with_timeout"; }
    void await_dump(dump_sink& sink) const { operand_.dump_part(sink); }

private:
    waiter upward() const noexcept override { return up_; }
    void settled(operand_base&) noexcept override {
        up_.scheduler().disarm(*this);
        up_.resume();
    }
    void fire() noexcept override {
        timed_out_ = true;
        operand_.request_stop();
        if (operand_.state() == operand_base::status::cancelled) up_.resume();
    }

    operand<D> operand_;
    waiter up_;
    union {
        duration limit_;
        time_point when_;
    };
    bool relative_;
    bool timed_out_ = false;
    bool asked_ = false;
};

template <class D, class When>
class [[nodiscard]] timeout_operation {
public:
    timeout_operation(D&& awaited, When when) : awaited_(std::forward<D>(awaited)), when_(when) {}
    auto operator co_await() { return timeout_await<D>(awaited_, when_); }

private:
    D awaited_;
    When when_;
};

}  // namespace detail

/// Waits for `awaited`, but no longer than `limit`, counted from the co_await; zero or less gives
/// it what is there now and one turn of the loop. Gives std::optional of the value (bool for an
/// awaitable without one): empty, or false, if the time was over first and it was cancelled.
///
///     auto n = co_await with_timeout(peer.read(buffer), 30s);
///
/// If `awaited` is atomic, empty means that it had no effect at all; a value that arrived together
/// with the deadline is delivered. A task is stopped at one of its awaits, and what it did stands.
/// Errors of `awaited` are thrown. Cancellation: that of `awaited`.
template <class A, class Rep, class Period>
auto with_timeout(A&& awaited, std::chrono::duration<Rep, Period> limit) {
    if constexpr (!detail::explain_operands<A>())
        return detail::refused();
    else
        return detail::timeout_operation<detail::described<A>, detail::duration>(
            std::forward<A>(awaited), detail::to_duration(limit));
}

/// The same with a point of time on std::chrono::steady_clock.
template <class A>
auto with_deadline(A&& awaited, std::chrono::steady_clock::time_point when) {
    if constexpr (!detail::explain_operands<A>())
        return detail::refused();
    else
        return detail::timeout_operation<detail::described<A>, detail::time_point>(
            std::forward<A>(awaited), when);
}

}  // namespace runnel

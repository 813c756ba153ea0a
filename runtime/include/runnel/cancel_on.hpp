// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>

#include <runnel/detail/operand.hpp>

namespace runnel {
namespace detail {

/// One operand and a std::stop_callback, which may strike on any thread and only leaves a message.
template <class D>
class cancel_on_await final : public combinator, private ready_node {
    using value = typename operand<D>::value_type;

public:
    static constexpr bool is_atomic = operand<D>::is_atomic;
    cancel_on_await(std::stop_token token, std::remove_reference_t<D>& description)
        : operand_(description), token_(std::move(token)) {}

    bool await_ready() noexcept { return token_.stop_requested() || operand_.ready(*this); }
    bool await_suspend(waiter up) {
        up_ = up;
        if (!operand_.start(*this)) return false;
        callback_.emplace(token_, on_stop(this));
        return true;
    }
    cancellation await_cancel() noexcept {
        if (operand_.open()) {
            asked_ = true;
            operand_.request_stop();
        }
        // A message under way refers to this object: it has to arrive first.
        if (operand_.open() || !retire_callback())
            return settled_ ? cancellation::too_late : cancellation::later;
        return operand_.done() || (stopped_ && !asked_) ? cancellation::too_late
                                                        : cancellation::now;
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
    void await_describe(std::string& text) const { text += "cancel_on"; }
    void await_dump(dump_sink& sink) const { operand_.dump_part(sink); }

private:
    struct on_stop {
        explicit on_stop(cancel_on_await* to) noexcept : to_(to) {}
        void operator()() const noexcept {
            to_->message_.store(message::sent, std::memory_order_relaxed);
            to_->up_.scheduler().schedule(*to_);
        }
        cancel_on_await* to_;
    };
    enum class message : unsigned char { none, sent, arrived };

    waiter upward() const noexcept override { return up_; }
    // The stop message.
    void run() noexcept override {
        message_.store(message::arrived, std::memory_order_relaxed);
        stopped_ = true;
        if (operand_.open()) operand_.request_stop();
        if (!operand_.open()) finish();
    }
    void settled(operand_base&) noexcept override { finish(); }
    void finish() noexcept {
        if (retire_callback() && !settled_) {
            settled_ = true;
            up_.resume();
        }
    }
    /// No callback can come any more, and none has left a message that is still under way.
    bool retire_callback() noexcept {
        callback_.reset();
        return message_.load(std::memory_order_relaxed) != message::sent;
    }

    operand<D> operand_;
    std::stop_token token_;
    waiter up_;
    std::atomic<message> message_{message::none};
    bool stopped_ = false;
    bool asked_ = false;
    bool settled_ = false;
    std::optional<std::stop_callback<on_stop>> callback_;
};

template <class D>
class [[nodiscard]] cancel_on_operation {
public:
    cancel_on_operation(std::stop_token token, D&& awaited)
        : token_(std::move(token)), awaited_(std::forward<D>(awaited)) {}
    auto operator co_await() { return cancel_on_await<D>(token_, awaited_); }

private:
    std::stop_token token_;
    D awaited_;
};

}  // namespace detail

/// Waits for `awaited`, but cancels it when `token` is stopped, from whatever thread. Gives what
/// with_timeout gives: an empty optional, or false, if it was stopped and not completed; a value
/// that arrived together with the stop is delivered. If it was stopped before, `awaited` does not
/// begin. Cancellation: that of `awaited`.
template <class A>
auto cancel_on(std::stop_token token, A&& awaited) {
    if constexpr (!detail::explain_operands<A>())
        return detail::refused();
    else
        return detail::cancel_on_operation<detail::described<A>>(std::move(token),
                                                                 std::forward<A>(awaited));
}

}  // namespace runnel

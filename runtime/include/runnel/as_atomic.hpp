// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <runnel/detail/operand.hpp>
#include <runnel/task.hpp>

namespace runnel {
namespace detail {

template <class T>
class atomic_task_await final : public combinator {
public:
    static constexpr bool is_atomic = true;
    explicit atomic_task_await(task<T> work) : operand_(work) {}
    bool await_ready() noexcept { return operand_.ready(*this); }
    bool await_suspend(waiter up) noexcept {
        up_ = up;
        return operand_.start(*this);
    }
    decltype(auto) await_resume() { return operand_.take(); }
    cancellation await_cancel() noexcept {
        operand_.request_stop();
        if (operand_.open()) return cancellation::later;
        return operand_.done() ? cancellation::too_late : cancellation::now;
    }
    void await_dump(dump_sink& sink) const { operand_.dump_part(sink); }

private:
    waiter upward() const noexcept override { return up_; }
    void settled(operand_base&) noexcept override { up_.resume(); }
    operand<task<T>> operand_;
    waiter up_;
};

}  // namespace detail

/// A task that promises to be atomic: wherever it is stopped at one of its awaits it has had no
/// effect yet, and after its effect it awaits nothing more. For operations written as a task:
///
///     as_atomic<guard> lock() { return as_atomic(wait_and_lock(state_)); }
template <class T>
class [[nodiscard]] as_atomic {
public:
    using awaiter = detail::atomic_task_await<T>;
    explicit as_atomic(task<T> work) noexcept : work_(std::move(work)) {}
    awaiter operator co_await() { return awaiter(std::move(work_)); }

private:
    task<T> work_;
};

/// The logical task that waits, as a number that no other task of its loop has or gets: for what
/// tasks own.
[[nodiscard]] inline std::uint64_t task_id(const waiter& who) {
    return who.scope().logical().identity().id;
}

}  // namespace runnel

// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <string>
#include <utility>

#include <runnel/detail/operand.hpp>

namespace runnel {
namespace detail {

/// Anything awaitable as a task, so that it has a scope of cancellation of its own.
template <class T>
task<T> as_task(task<T>& work) {
    return std::move(work);
}
template <class T>
task<T> as_task(task<T>&& work) {
    return std::move(work);
}
template <class A>
    requires(!is_task<std::remove_cvref_t<A>>)
task<await_result_t<A&&>> as_task(A&& awaited) {
    return [](std::remove_reference_t<A>& what) -> task<await_result_t<A&&>> {
        co_return co_await static_cast<A&&>(what);
    }(awaited);
}

template <class T>
class shield_await final : public combinator {
public:
    static constexpr bool runs_when_cancelled = true;
    explicit shield_await(task<T> work) : operand_(work) {}
    bool await_ready() noexcept { return operand_.ready(*this); }
    bool await_suspend(waiter up) noexcept {
        up_ = up;
        return operand_.start(*this);
    }
    decltype(auto) await_resume() { return operand_.take(); }
    cancellation await_cancel() const noexcept { return cancellation::too_late; }
    void await_describe(std::string& text) const { text += "shield"; }
    void await_dump(dump_sink& sink) const { operand_.dump_part(sink); }

private:
    waiter upward() const noexcept override { return up_; }
    void settled(operand_base&) noexcept override { up_.resume(); }
    operand<task<T>> operand_;
    waiter up_;
};

template <class D>
class [[nodiscard]] shield_operation {
public:
    explicit shield_operation(D&& awaited) : awaited_(std::forward<D>(awaited)) {}
    auto operator co_await() {
        return shield_await<await_value_t<D>>(as_task(static_cast<D&&>(awaited_)));
    }

private:
    D awaited_;
};

}  // namespace detail

/// Runs `awaited` to its end whatever is requested meanwhile, and even if cancellation was
/// requested before; the task meets the request at its next await. Gives what `awaited` gives. Keep
/// what is inside short: a cancelled task, its nursery and the loop wait for it. Cancellation: none,
/// what is awaited is always delivered.
template <class A>
auto shield(A&& awaited) {
    if constexpr (!detail::explain_operands<A>())
        return detail::refused();
    else
        return detail::shield_operation<detail::described<A>>(std::forward<A>(awaited));
}

}  // namespace runnel

// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include <runnel/detail/operand.hpp>
#include <runnel/result.hpp>

namespace runnel {
namespace detail {

template <class A>
concept gives_result = requires(A& a) { a.await_result(); };

/// Catches std::system_error only: other exceptions are not failures of an operation.
template <class T, class F>
result<T> catch_system_error(F&& take) {
    try {
        if constexpr (std::is_void_v<T>) {
            take();
            return {};
        } else {
            return take();
        }
    } catch (const std::system_error& error) {
        return error.code();
    }
}

/// For an awaiter: a thin layer over it. One with await_result() is not made to throw first.
template <class D>
class result_await final {
    using held = held_awaiter<D>;
    using bare = std::remove_reference_t<held>;
    using value = decltype(std::declval<bare&>().await_resume());

public:
    static constexpr bool is_atomic = atomic_awaitable<D>;
    static constexpr bool runs_when_cancelled = detail::runs_when_cancelled<bare>;
    explicit result_await(std::remove_reference_t<D>& description)
        : inner_(detail::get_awaiter(static_cast<D&&>(description))) {}
    bool await_ready() { return inner_.await_ready(); }
    decltype(auto) await_suspend(waiter who) { return inner_.await_suspend(who); }
    result<value> await_resume() {
        if constexpr (gives_result<bare>)
            return inner_.await_result();
        else
            return catch_system_error<value>([this]() -> value { return inner_.await_resume(); });
    }
    cancellation await_cancel() noexcept { return inner_.await_cancel(); }
    void await_describe(std::string& text) const {
        if constexpr (describes_itself<bare>) inner_.await_describe(text);
    }
    void await_dump(dump_sink& sink) const {
        if constexpr (dumps_itself<bare>) inner_.await_dump(sink);
    }

private:
    held inner_;
};

template <class D>
class [[nodiscard]] result_operation {
public:
    explicit result_operation(D&& awaited) : awaited_(std::forward<D>(awaited)) {}
    auto operator co_await() { return result_await<D>(awaited_); }

private:
    D awaited_;
};

template <class T>
task<result<T>> task_as_result(task<T> work) {
    const std::exception_ptr none;
    try {
        if constexpr (std::is_void_v<T>) {
            co_await std::move(work);
            co_return result<void>();
        } else {
            co_return co_await std::move(work);
        }
    } catch (const std::system_error& error) {
        co_return error.code();
    }
}

}  // namespace detail

/// Gives result<R> instead of R: a std::system_error becomes its error code, without a throw where
/// the operation can tell. Other exceptions pass. Cancellation: that of `awaited`.
template <class A>
    requires(!detail::is_task<std::remove_cvref_t<A>>)
auto as_result(A&& awaited) {
    if constexpr (!detail::explain_operands<A>())
        return detail::refused();
    else
        return detail::result_operation<detail::described<A>>(std::forward<A>(awaited));
}
/// The same for a task; what it awaits throws as ever, and is caught at its end.
template <class T>
task<result<T>> as_result(task<T> work) {
    return detail::task_as_result(std::move(work));
}

}  // namespace runnel

// SPDX-License-Identifier: MIT
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <source_location>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <runnel/detail/await.hpp>
#include <runnel/detail/branch.hpp>

namespace runnel {

/// A lazy coroutine that gives a T (an object, a reference, or void).
///
///     task<int> twice(int n) { co_return 2 * n; }
///     int four = co_await twice(2);
///
/// Nothing runs before it is awaited; it is awaited once, and then runs in the place of its awaiter
/// until it is done. What it throws comes out of the co_await. Dropping a task that was never
/// awaited destroys it without running it.
///
/// Cancelling: a task is stopped at one of its awaits and its frames are destroyed, which runs the
/// destructors of its locals and nothing else; no exception is thrown, so no `catch` sees it.
/// With g++ 12 some expressions around co_await are destroyed twice: see runtime/GCC12.md.
template <class T = void>
class [[nodiscard]] task {
public:
    using promise_type = detail::promise<T>;

    task() noexcept = default;
    task(task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
    task& operator=(task&& other) noexcept {
        if (this != &other) {
            destroy();
            handle_ = std::exchange(other.handle_, {});
        }
        return *this;
    }
    ~task() { destroy(); }

    /// False once it was awaited, started or moved away.
    [[nodiscard]] explicit operator bool() const noexcept { return bool(handle_); }

private:
    friend struct detail::promise<T>;
    friend struct detail::task_access;
    explicit task(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}
    void destroy() noexcept {
        if (handle_) handle_.destroy();
    }

    std::coroutine_handle<promise_type> handle_;
};

namespace detail {

struct task_access {
    /// Takes the frame out of the task. Throws if there is none: a task is awaited once.
    template <class T>
    static std::coroutine_handle<promise<T>> take(task<T>& from) {
        if (!from.handle_)
            throw std::invalid_argument(
                "await on task: it was awaited, started or moved away before");
        return std::exchange(from.handle_, {});
    }
    template <class T>
    static task<T> make(std::coroutine_handle<promise<T>> handle) noexcept {
        return task<T>(handle);
    }
};

template <class T>
task<T> promise<T>::get_return_object() noexcept {
    return task_access::make<T>(std::coroutine_handle<promise>::from_promise(*this));
}
template <class T>
task<T&> promise<T&>::get_return_object() noexcept {
    return task_access::make<T&>(std::coroutine_handle<promise>::from_promise(*this));
}
inline task<void> promise<void>::get_return_object() noexcept {
    return task_access::make<void>(std::coroutine_handle<promise>::from_promise(*this));
}

template <class U>
task_await<U> task_promise::await_transform(task<U>&& child, std::source_location where) {
    return task_await<U>(task_access::take(child), *this, where);
}
template <class U>
task_await<U> task_promise::await_transform(task<U>& child, std::source_location where) {
    return task_await<U>(task_access::take(child), *this, where);
}

}  // namespace detail
}  // namespace runnel

// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

namespace runnel {

class loop;

namespace detail {
class await_point;
class branch;
class frame_point;
class scheduler;
}  // namespace detail

/// What an awaiter answers when it is asked to cancel what it waits for.
enum class cancellation : unsigned char {
    now,    ///< there was no effect and there will be none; the waiter is not going to be resumed
    later,  ///< not known yet: the waiter will be resumed, and await_cancel is asked once more then
    too_late  ///< it is done: the waiter has been, or will be, resumed, and await_resume has the
              ///< value
};

/// Who waits: the argument of an awaiter's await_suspend. A pointer in size, freely copied.
/// It is good for one resume(), or until await_cancel has answered `now`.
class waiter {
public:
    waiter() noexcept : point_(nullptr) {}
    explicit waiter(detail::await_point& point) noexcept : point_(&point) {}

    /// Puts the waiter on the ready list of its loop; it runs in a later step, never inside this
    /// call. May be called from any thread; from another thread it wakes the loop.
    void resume() const noexcept;

    /// The loop that the waiter runs on.
    [[nodiscard]] loop& home() const noexcept;

    /// Has the cancellation of the waiting task been requested already?
    [[nodiscard]] bool cancel_pending() const noexcept;

    /// The same, by who knows to be on the thread of that loop.
    void resume_on(detail::scheduler& home) const noexcept;

    /// For combinators: the scheduler below the loop, and the scope that is waiting.
    [[nodiscard]] detail::scheduler& scheduler() const noexcept;
    [[nodiscard]] detail::branch& scope() const noexcept;
    /// For reports: the await in a task, or null.
    [[nodiscard]] const detail::frame_point* frame() const noexcept;

private:
    detail::await_point* point_;
};

/// What `co_await` needs of a type so that it can be cancelled, raced and timed out:
///
///     bool await_ready();                      // true: done already, await_suspend is not called
///     void await_suspend(waiter) or bool;      // begin; false: done already, go on
///     R    await_resume();                     // the value, or throws
///     cancellation await_cancel() noexcept;    // asked between await_suspend and the resumption
///
/// All of them are called on the loop's thread. The awaiter stays where it is from the first call
/// to its destruction, so it may hold everything that the operation in flight needs. A destructor
/// can run without await_suspend having been called, or after await_cancel answered `now`.
/// `static constexpr bool is_atomic = true` promises that `now` means no effect at all. An awaiter
/// may have as well
///
///     void await_describe(std::string& text) const;   // what is awaited, in a few words, for dumps
///     result<R> await_result();                       // await_resume for as_result, without a throw
template <class A>
concept awaiter = requires(A& a, waiter w) {
    { a.await_ready() } -> std::convertible_to<bool>;
    a.await_suspend(w);
    a.await_resume();
    { a.await_cancel() } noexcept -> std::same_as<cancellation>;
};

namespace detail {

template <class A>
concept has_member_co_await = requires(A&& a) { std::forward<A>(a).operator co_await(); };
template <class A>
concept has_free_co_await = requires(A&& a) { operator co_await(std::forward<A>(a)); };

/// The awaiter of an awaitable: what its operator co_await makes, or the object itself.
template <class A>
constexpr decltype(auto) get_awaiter(A&& a) {
    if constexpr (has_member_co_await<A>)
        return std::forward<A>(a).operator co_await();
    else if constexpr (has_free_co_await<A>)
        return operator co_await(std::forward<A>(a));
    else
        return std::forward<A>(a);
}

template <class A>
using awaiter_of = std::remove_cvref_t<decltype(detail::get_awaiter(std::declval<A>()))>;

}  // namespace detail

/// Something that can be awaited with cancellation: an `awaiter`, or what has an operator co_await
/// that gives one. Tasks, operations and combinators are awaitable.
template <class A>
concept awaitable = awaiter<detail::awaiter_of<A>>;

/// An awaitable that is *cancelled XOR delivered*: when it was cancelled it had no effect at all,
/// no byte, item or lock was taken. Other awaitables (a task, when_all, write_all) are composed:
/// they stop at one of their awaits, and what they did until then stands.
template <class A>
concept atomic_awaitable = awaitable<A> && requires { requires detail::awaiter_of<A>::is_atomic; };

/// What `co_await` of A gives.
template <class A>
using await_result_t = decltype(std::declval<detail::awaiter_of<A>&>().await_resume());

}  // namespace runnel

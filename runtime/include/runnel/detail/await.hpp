// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>

#include <runnel/detail/branch.hpp>

// What happens at a co_await in a task: promise<T>, and the three kinds of await (a task, an
// awaiter of ours, a foreign awaitable).

namespace runnel {
template <class T>
class task;
}

namespace runnel::detail {

struct task_access;
template <class T>
struct promise;

template <class T>
inline constexpr bool is_task = false;
template <class T>
inline constexpr bool is_task<task<T>> = true;

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
/// Makes a misplaced frame work, or ends the process if it cannot; see src/misplaced_frame.cpp.
void mend_frame(promise_base& promise, void* frame, std::size_t size, std::size_t align) noexcept;

/// The first step of a task: it waits to be started. GCC before 13 misplaces the frame of a body
/// that has no variable of its own and awaits in the condition of an if, while, for, do or switch:
/// the handle is not the frame's address, and nothing would run (PR106188). That is mended here.
class initial_awaiter {
public:
    // The promise is handed on beside the frame, which is to stay small.
    explicit initial_awaiter(promise_base& of) noexcept { being_made = &of; }
    bool await_ready() const noexcept { return false; }
    template <class P>
    void await_suspend(std::coroutine_handle<P> self) const noexcept {
        promise_base& promise = *being_made;
        if (self.address() != promise.handle().address()) [[unlikely]]
            mend_frame(promise, self.address(), sizeof(P), alignof(P));
    }
    void await_resume() const noexcept {}

private:
    static inline constinit thread_local promise_base* being_made = nullptr;
};
#else
/// The first step of a task: it waits to be started.
struct initial_awaiter : std::suspend_always {
    explicit initial_awaiter(promise_base&) noexcept {}
};
#endif

/// The last step of a task: its awaiter goes on, or its scope learns that it has ended.
struct final_awaiter {
    bool await_ready() const noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> self) const noexcept {
        promise_base& ended = self.promise();
        scheduler& home = ended.scope->home();
        frame_point* parent = ended.parent;
        if (parent == nullptr) {
            home.finish(*ended.scope);
            return std::noop_coroutine();
        }
        if (home.spend_transfer()) [[likely]] {
            parent->owner().awaiting = nullptr;
            return parent->owner().handle();
        }
        home.schedule(*parent);
        return std::noop_coroutine();
    }
    void await_resume() const noexcept {}
};

/// An await of another task of the same scope: control is transferred to it and back.
template <class T>
class task_await final : public frame_point {
public:
    task_await(std::coroutine_handle<promise<T>> child, promise_base& owner,
               std::source_location where) noexcept
        : frame_point(owner, where), child_(child) {}
    ~task_await() {
        if (child_) child_.destroy();
    }
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<>) noexcept {
        suspend();
        scheduler& home = scope().home();
        if (scope().cancel_requested()) [[unlikely]] {
            set_cancelled();
            home.schedule(*this);
            return std::noop_coroutine();
        }
        child_.promise().scope = &scope();
        child_.promise().parent = this;
        if (home.spend_transfer()) [[likely]]
            return child_;
        home.schedule(*this);
        return std::noop_coroutine();
    }
    T await_resume() { return child_.promise().take(); }

    // Queued to begin the child, to go on after it, or to unwind.
    void run() noexcept override {
        if (state_ == state::cancelled)
            promise_base::unwind(owner_);
        else if (child_.done())
            resume_owner();
        else
            child_.resume();
    }
    cancellation cancel() noexcept override { return cancellation::too_late; }
    promise_base* child() const noexcept override { return child_ ? &child_.promise() : nullptr; }
    void forget_child() noexcept override { child_ = {}; }

private:
    mutable std::coroutine_handle<promise<T>> child_;
};

template <class A>
concept runs_when_cancelled = requires { requires A::runs_when_cancelled; };

template <class A>
concept describes_itself = requires(const A& a, std::string& text) { a.await_describe(text); };
template <class A>
concept dumps_itself = requires(const A& a, dump_sink& sink) { a.await_dump(sink); };

/// An await of an awaiter in the sense of awaiter.hpp. `A` is the awaiter, or a reference to one.
template <class A>
class awaiter_await final : public frame_point {
    using bare = std::remove_reference_t<A>;

public:
    template <class D>
    awaiter_await(D&& description, promise_base& owner, std::source_location where)
        : frame_point(owner, where), inner_(detail::get_awaiter(std::forward<D>(description))) {}

    bool await_ready() {
        if constexpr (!runs_when_cancelled<bare>)
            if (scope().cancel_requested()) [[unlikely]]
                return false;
        if (!inner_.await_ready()) return false;
        if (scope().home().spend_transfer()) [[likely]]
            return true;
        state_ = state::done;
        return false;
    }
    bool await_suspend(std::coroutine_handle<>) {
        suspend();
        if (state_ == state::done) [[unlikely]] {
            scope().home().schedule(*this);
            return true;
        }
        if constexpr (!runs_when_cancelled<bare>)
            if (scope().cancel_requested()) [[unlikely]] {
                set_cancelled();
                scope().home().schedule(*this);
                return true;
            }
        try {
            if constexpr (std::is_void_v<decltype(inner_.await_suspend(waiter(*this)))>) {
                inner_.await_suspend(waiter(*this));
                return true;
            } else if (inner_.await_suspend(waiter(*this))) {
                return true;
            }
        } catch (...) {
            owner_.awaiting = nullptr;
            throw;
        }
        // What is always done at once gives others their turn now and then.
        if (!scope().home().spend_transfer()) [[unlikely]] {
            state_ = state::done;
            scope().home().schedule(*this);
            return true;
        }
        owner_.awaiting = nullptr;
        return false;
    }
    decltype(auto) await_resume() { return inner_.await_resume(); }

    void run() noexcept override {
        if (state_ == state::done) [[unlikely]]
            return resume_owner();
        bool ask = state_ == state::asked;
        if constexpr (runs_when_cancelled<bare>) ask |= scope().cancel_requested();
        if (ask && inner_.await_cancel() == cancellation::now) state_ = state::cancelled;
        if (state_ == state::cancelled) [[unlikely]]
            promise_base::unwind(owner_);
        else
            resume_owner();
    }
    cancellation cancel() noexcept override {
        if (state_ == state::done) return cancellation::too_late;
        const cancellation answer = inner_.await_cancel();
        if (answer == cancellation::later) state_ = state::asked;
        return answer;
    }
    void describe(std::string& text) const override {
        if constexpr (describes_itself<bare>) inner_.await_describe(text);
    }
    void dump(dump_sink& sink) const override {
        if constexpr (dumps_itself<bare>) inner_.await_dump(sink);
    }

private:
    A inner_;
};

/// Goes on with a foreign coroutine in a later step. No part of the frame that awaits: that may be
/// resumed, and be gone, before.
class later_resumption final : public ready_node {
public:
    void begin(scheduler& home, std::coroutine_handle<> with) noexcept {
        with_ = with;
        home.schedule(*this);
    }
    static void* operator new(std::size_t size) { return frame_pool::allocate(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        frame_pool::release(memory, size);
    }

private:
    void run() noexcept override {
        const std::coroutine_handle<> with = with_;
        delete this;
        with.resume();
    }
    std::coroutine_handle<> with_;
};

/// An await of an awaitable that knows nothing of runnel: it gets the coroutine's handle, resumes
/// it itself, on the loop's thread, and cannot be cancelled.
template <class A>
class foreign_await final : public frame_point {
public:
    template <class D>
    foreign_await(D&& description, promise_base& owner, std::source_location where)
        : frame_point(owner, where), inner_(detail::get_awaiter(std::forward<D>(description))) {}

    bool await_ready() {
        if (scope().cancel_requested()) [[unlikely]]
            return false;
        if (!inner_.await_ready()) return false;
        if (scope().home().spend_transfer()) [[likely]]
            return true;
        state_ = state::done;
        return false;
    }
    template <class P>
    auto await_suspend(std::coroutine_handle<P> self) {
        using answer = decltype(inner_.await_suspend(self));
        if constexpr (std::is_void_v<answer> || std::is_same_v<answer, bool>)
            return begin(self);
        else
            return transfer(self);
    }
    decltype(auto) await_resume() {
        owner_.awaiting = nullptr;
        return inner_.await_resume();
    }
    void run() noexcept override {
        if (state_ == state::cancelled)
            promise_base::unwind(owner_);
        else
            resume_owner();
    }
    cancellation cancel() noexcept override { return cancellation::too_late; }
    void describe(std::string& text) const override { text += "a foreign awaitable"; }

private:
    /// True if it is settled already how the task goes on: by way of the ready list.
    bool settled() noexcept {
        suspend();
        if (state_ != state::done) {
            if (!scope().cancel_requested()) [[likely]]
                return false;
            set_cancelled();
        }
        scope().home().schedule(*this);
        return true;
    }
    template <class P>
    bool begin(std::coroutine_handle<P> self) {
        if (settled()) [[unlikely]]
            return true;
        try {
            if constexpr (std::is_void_v<decltype(inner_.await_suspend(self))>) {
                inner_.await_suspend(self);
                return true;  // the frame may be gone
            } else if (inner_.await_suspend(self)) {
                return true;
            }
        } catch (...) {
            owner_.awaiting = nullptr;
            throw;
        }
        // What is always done at once gives others their turn now and then.
        if (scope().home().spend_transfer()) [[likely]]
            return false;
        state_ = state::done;
        scope().home().schedule(*this);
        return true;
    }
    /// A transfer nests on the machine stack where the compiler makes no tail call: beyond the
    /// budget the other coroutine goes on by way of the ready list.
    template <class P>
    std::coroutine_handle<> transfer(std::coroutine_handle<P> self) {
        if (settled()) [[unlikely]]
            return std::noop_coroutine();
        scheduler& home = scope().home();
        try {
            if (home.spend_transfer()) [[likely]]
                return inner_.await_suspend(self);
            auto later = std::make_unique<later_resumption>();
            const std::coroutine_handle<> next = inner_.await_suspend(self);
            later.release()->begin(home, next);
            return std::noop_coroutine();
        } catch (...) {
            owner_.awaiting = nullptr;
            throw;
        }
    }

    A inner_;
};

// An awaiter held by value when the awaitable makes one, by reference when it is one, named.
template <class A>
using held_awaiter =
    std::conditional_t<std::is_lvalue_reference_v<decltype(detail::get_awaiter(std::declval<A>()))>,
                       awaiter_of<A>&, awaiter_of<A>>;

/// Can be awaited by any coroutine, if not cancelled.
template <class A>
concept foreign_awaitable = requires(awaiter_of<A>& a) {
    { a.await_ready() } -> std::convertible_to<bool>;
    a.await_resume();
};

/// Fails to compile, with advice, for what cannot be awaited.
template <class A, bool Fine = foreign_awaitable<A>>
constexpr bool explain_awaitable() {
    static_assert(Fine || !std::is_invocable_v<A>,
                  "this is a function, which cannot be awaited: await what it returns, f()");
    static_assert(Fine || std::is_invocable_v<A>,
                  "this cannot be awaited: it is no task, no operation and has no awaiter");
    return Fine;
}

/// promise<T> but for the result.
struct task_promise : promise_base {
    initial_awaiter initial_suspend() noexcept { return initial_awaiter(*this); }
    final_awaiter final_suspend() const noexcept { return {}; }

    template <class U>
    task_await<U> await_transform(task<U>&& child,
                                  std::source_location where = std::source_location::current());
    template <class U>
    task_await<U> await_transform(task<U>& child,
                                  std::source_location where = std::source_location::current());
    template <class A>
        requires(!is_task<std::remove_cvref_t<A>>)
    auto await_transform(A&& awaited,
                         std::source_location where = std::source_location::current()) {
        if constexpr (awaitable<A>)
            return awaiter_await<held_awaiter<A>>(std::forward<A>(awaited), *this, where);
        else if constexpr (!explain_awaitable<A>())
            return std::suspend_never();
        else
            return foreign_await<held_awaiter<A>>(std::forward<A>(awaited), *this, where);
    }
};

template <class T>
struct promise final : task_promise {
    static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__,
                  "task<T>: compilers do not align coroutine frames beyond operator new; return a "
                  "std::unique_ptr<T> instead of an over-aligned T");

    promise() noexcept {}
    promise(const promise&) = delete;
    promise& operator=(const promise&) = delete;
    ~promise() {
        if (state_ == state::value) std::destroy_at(std::addressof(value_));
        if (state_ == state::error) std::destroy_at(std::addressof(error_));
    }
    task<T> get_return_object() noexcept;
    template <class U = T>
        requires std::is_constructible_v<T, U>
    void return_value(U&& value) noexcept(std::is_nothrow_constructible_v<T, U>) {
        std::construct_at(std::addressof(value_), std::forward<U>(value));
        state_ = state::value;
    }
    void unhandled_exception() noexcept {
        // A local's destructor may throw after the co_return.
        if (state_ == state::value) std::destroy_at(std::addressof(value_));
        std::construct_at(std::addressof(error_), std::current_exception());
        state_ = state::error;
    }
    [[nodiscard]] std::exception_ptr error() const noexcept {
        return state_ == state::error ? error_ : nullptr;
    }
    T take() {
        if (state_ == state::error) std::rethrow_exception(error_);
        return std::move(value_);
    }

private:
    enum class state : unsigned char { none, value, error };
    union {
        T value_;
        std::exception_ptr error_;
    };
    state state_ = state::none;
};

template <class T>
struct promise<T&> final : task_promise {
    task<T&> get_return_object() noexcept;
    void return_value(T& value) noexcept { value_ = std::addressof(value); }
    void unhandled_exception() noexcept { error_ = std::current_exception(); }
    [[nodiscard]] std::exception_ptr error() const noexcept { return error_; }
    T& take() {
        if (error_) std::rethrow_exception(error_);
        return *value_;
    }

private:
    T* value_ = nullptr;
    std::exception_ptr error_;
};

template <>
struct promise<void> final : task_promise {
    task<void> get_return_object() noexcept;
    void return_void() const noexcept {}
    void unhandled_exception() noexcept { error_ = std::current_exception(); }
    [[nodiscard]] std::exception_ptr error() const noexcept { return error_; }
    void take() {
        if (error_) std::rethrow_exception(error_);
    }

private:
    std::exception_ptr error_;
};

}  // namespace runnel::detail

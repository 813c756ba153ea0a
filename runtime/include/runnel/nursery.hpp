// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <source_location>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <runnel/awaiter.hpp>
#include <runnel/detail/branch.hpp>
#include <runnel/detail/combine.hpp>
#include <runnel/detail/list.hpp>
#include <runnel/detail/time.hpp>
#include <runnel/task.hpp>

namespace runnel {

class nursery;

namespace detail {

/// A running child: a record from the frame pool.
class nursery_child : public branch, public list_node {
public:
    virtual void destroy() noexcept = 0;
    static void* operator new(std::size_t size) { return frame_pool::allocate(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        frame_pool::release(memory, size);
    }

protected:
    explicit nursery_child(nursery& owner) noexcept;
    ~nursery_child() = default;
    nursery& owner_;
};

template <class T>
class task_child;

// A plain function that is called with exactly its parameters' types, by value, keeps them in its
// frame; any other callable, and what a parameter refers to, has to be kept alive beside it.
template <class F, class... Args>
inline constexpr bool keeps_own_arguments = false;
template <class R, class... P, class... Args>
    requires(sizeof...(P) == sizeof...(Args))
inline constexpr bool keeps_own_arguments<R (*)(P...), Args...> = (std::is_same_v<P, Args> && ...);
template <class R, class... P, class... Args>
    requires(sizeof...(P) == sizeof...(Args))
inline constexpr bool keeps_own_arguments<R (*)(P...) noexcept, Args...> =
    (std::is_same_v<P, Args> && ...);

template <class F, class... Args>
using started_t = std::invoke_result_t<std::decay_t<F>, std::decay_t<Args>...>;

class join_await;
class join_operation;

}  // namespace detail

/// A place where tasks run side by side. It is open while its body runs and until every child has
/// ended; nothing that was started in it outlives it. Made by open_nursery; a body hands it on by
/// reference. Belongs to one loop.
class nursery {
public:
    nursery(const nursery&) = delete;
    nursery& operator=(const nursery&) = delete;

    /// Starts fn(args...), which returns a task, as a child: it begins in a later step of the loop.
    /// Copies or moves `fn` and `args` and keeps them until the child has ended; use std::ref to
    /// refer to something that outlives the nursery. Throws std::invalid_argument if the nursery
    /// has ended. When the nursery has been cancelled the child never begins.
    template <class F, class... Args>
        requires(!detail::is_task<std::remove_cvref_t<F>>)
    void start(F&& fn, Args&&... args);
    /// Starts a task that was made before.
    template <class T>
    void start(task<T>&& work);
    /// A task has one owner: write start(std::move(t)).
    template <class T>
    void start(task<T>& write_std_move) = delete;

    /// Cancels the body and all children, those included that are started later.
    void cancel() noexcept;
    /// Has it been cancelled: by cancel(), a deadline or a child's error?
    [[nodiscard]] bool cancelled() const noexcept { return cancelled_; }
    /// Cancels at `when`, or after `limit` from now; a new deadline replaces the one before.
    void deadline(std::chrono::steady_clock::time_point when);
    template <class Rep, class Period>
    void deadline(std::chrono::duration<Rep, Period> limit) {
        deadline(detail::after(home_.now(), detail::to_duration(limit)));
    }
    /// How many children have not ended; the body does not count.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    /// For the body: waits until all children have ended; gives true. Throws std::invalid_argument
    /// while another join waits. Cancellation: atomic, the children go on.
    detail::join_operation join();
    /// The same, but when `limit` is over they are cancelled. Gives true if none had to be. Throws
    /// and is cancelled as join().
    template <class Rep, class Period>
    detail::join_operation join_or_cancel_after(std::chrono::duration<Rep, Period> limit);

protected:
    using error_handler = void (*)(void* object, std::exception_ptr error);
    explicit nursery(detail::scheduler& home) noexcept : home_(home) {}
    ~nursery();
    void isolate_errors(error_handler handler, void* object) noexcept {
        handler_ = handler;
        handler_object_ = object;
    }
    /// The last child has ended.
    virtual void emptied() noexcept = 0;
    virtual void cancel_body() noexcept {}
    void fail(std::exception_ptr error) noexcept;
    /// Nothing can be started any more.
    void close() noexcept { ended_ = true; }
    void cancel_children() noexcept;
    void dump_children(detail::dump_sink& sink) const;

    detail::scheduler& home_;
    std::vector<std::exception_ptr> errors_;

private:
    friend class detail::join_await;
    friend class detail::nursery_child;
    template <class T>
    friend class detail::task_child;
    struct deadline_timer final : detail::timer_node {
        explicit deadline_timer(nursery& of) noexcept : owner(of) {}
        void fire() noexcept override { owner.cancel(); }
        nursery& owner;
    };

    void require_open() const;
    void begin(detail::nursery_child& made) noexcept;
    void child_ended(detail::nursery_child& which, std::exception_ptr error) noexcept;

    detail::list<detail::nursery_child> children_;
    std::size_t size_ = 0;
    detail::join_await* joining_ = nullptr;
    error_handler handler_ = nullptr;
    void* handler_object_ = nullptr;
    deadline_timer deadline_{*this};
    bool cancelled_ = false;
    // Written in the destructor for whoever still holds a reference, so the write must stay.
    volatile bool ended_ = false;
};

/// See open_nursery: confines the failure of a child to that child.
template <class F>
struct isolate_t {
    explicit isolate_t(F f) : on_error(std::move(f)) {}
    F on_error;
};

/// The argument of open_nursery for servers: when a child fails, `on_error(std::exception_ptr)` is
/// called on the loop's thread and the others go on. What on_error throws cancels the nursery.
template <class F>
isolate_t<std::decay_t<F>> isolate(F&& on_error);

/// Runs `body(nursery&)`, which returns a task<>, and ends when the body and all children that it
/// started have ended.
///
///     co_await open_nursery([&](nursery& n) -> task<> {
///         n.start(session, std::move(peer));
///         co_await n.join_or_cancel_after(10s);
///     });
///
/// The first error, of the body or of a child, cancels everything else in the nursery and is thrown
/// once all have ended; later ones are in suppressed_errors(). With `isolate(on_error)` before the
/// body, a child's error goes to on_error instead. After n.cancel() or a deadline it returns
/// normally. Cancellation: composed; the body and all children are cancelled, and awaited.
///
/// The body may end before its children: what they refer to is declared outside of it.
template <class Body>
auto open_nursery(Body&& body);
template <class F, class Body>
auto open_nursery(isolate_t<F> errors, Body&& body);

// implementation

namespace detail {

// GCC 12 copies a closure that owns something bitwise when it is written inside a co_await
// expression (PR107288): a double free. Refusing it is all that a library can do.
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
template <class F>
inline constexpr bool safe_callable =
    std::is_lvalue_reference_v<F> || std::is_trivially_destructible_v<std::remove_reference_t<F>>;
#else
template <class F>
inline constexpr bool safe_callable = true;
#endif

inline nursery_child::nursery_child(nursery& owner) noexcept : branch(owner.home_), owner_(owner) {}

template <class T>
class task_child : public nursery_child {
public:
    task_child(nursery& owner, task<T>&& work) : nursery_child(owner) { take(std::move(work)); }
    void destroy() noexcept override {
        if (root() != nullptr) root()->handle().destroy();
        delete this;
    }

protected:
    explicit task_child(nursery& owner) noexcept : nursery_child(owner) {}
    void take(task<T>&& work) { adopt(task_access::take(work).promise()); }
    virtual ~task_child() = default;

private:
    void ended(bool cancelled) noexcept override {
        std::exception_ptr error;
        if (!cancelled) error = static_cast<detail::promise<T>&>(*root()).error();
        owner_.child_ended(*this, std::move(error));
    }
};

/// The child of a call whose callable or arguments have to be kept.
template <class T, class F, class... Args>
class call_child final : public task_child<T> {
public:
    template <class G, class... A>
    explicit call_child(nursery& owner, G&& fn, A&&... args)
        : task_child<T>(owner), fn_(std::forward<G>(fn)), args_(std::forward<A>(args)...) {
        this->take(std::apply(
            [this](Args&... each) { return std::invoke(std::move(fn_), std::move(each)...); },
            args_));
    }

private:
    [[no_unique_address]] F fn_;
    [[no_unique_address]] std::tuple<Args...> args_;
};

class join_await final : private timer_node {
public:
    static constexpr bool is_atomic = true;
    join_await(nursery& of, duration limit) noexcept : nursery_(of), limit_(limit) {}
    bool await_ready() const noexcept { return nursery_.size_ == 0; }
    void await_suspend(waiter who);
    [[nodiscard]] bool await_resume() const noexcept { return !struck_; }
    cancellation await_cancel() noexcept;
    void await_describe(std::string& text) const { text += "children of a nursery"; }
    void children_gone() noexcept;

private:
    void fire() noexcept override;
    nursery& nursery_;
    duration limit_;
    waiter who_;
    bool struck_ = false;
    bool gone_ = false;
};

class [[nodiscard]] join_operation {
public:
    join_operation(nursery& of, duration limit) noexcept : nursery_(of), limit_(limit) {}
    join_await operator co_await() const noexcept { return join_await(nursery_, limit_); }

private:
    nursery& nursery_;
    duration limit_;
};

/// The nursery in the frame that awaits it. Its body is a task in a scope of its own.
class nursery_await_base : public nursery, protected branch {
public:
    cancellation await_cancel() noexcept;
    void await_describe(std::string& text) const { text += "nursery"; }
    void await_dump(dump_sink& sink) const {
        if (root() != nullptr) dump_tree(sink);
        dump_children(sink);
    }
    void await_resume() { rethrow_first(std::move(errors_)); }

protected:
    explicit nursery_await_base(scheduler& home) noexcept : nursery(home), branch(home) {}
    ~nursery_await_base() {
        if (body_) body_.destroy();
    }
    void begin_body(task<>&& body, std::exception_ptr error, waiter up);

private:
    void emptied() noexcept override { finish(); }
    void cancel_body() noexcept override { branch::cancel(); }
    void ended(bool cancelled) noexcept override;
    branch& logical() noexcept override { return up_.scope().logical(); }
    void finish() noexcept;

    std::coroutine_handle<detail::promise<void>> body_;
    waiter up_;
    bool asked_ = false;
    bool finished_ = false;
};

template <class Body, class Handler>
class nursery_await final {
public:
    nursery_await(Body&& body, Handler* handler)
        : body_(std::forward<Body>(body)), handler_(handler) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(waiter up) {
        open_.emplace(up.scheduler());
        open_->begin(body_, handler_, up);
    }
    void await_resume() { open_->await_resume(); }
    cancellation await_cancel() noexcept { return open_->await_cancel(); }
    void await_describe(std::string& text) const { text += "nursery"; }
    void await_dump(dump_sink& sink) const { open_->await_dump(sink); }

private:
    struct opened final : nursery_await_base {
        explicit opened(scheduler& home) noexcept : nursery_await_base(home) {}
        void begin(std::remove_reference_t<Body>& body, Handler* handler, waiter up) {
            if constexpr (!std::is_same_v<Handler, void>) {
                isolate_errors(
                    [](void* f, std::exception_ptr error) {
                        (*static_cast<Handler*>(f))(std::move(error));
                    },
                    handler);
            }
            // It may start children and throw before it is a task; they are not lost.
            task<> made;
            std::exception_ptr error;
            try {
                made = std::invoke(body, static_cast<nursery&>(*this));
            } catch (...) {
                error = std::current_exception();
            }
            begin_body(std::move(made), std::move(error), up);
        }
    };
    Body body_;
    Handler* handler_;
    std::optional<opened> open_;
};

template <class Body, class Handler>
class [[nodiscard]] nursery_operation {
public:
    nursery_operation(Body&& body, Handler handler)
        : body_(std::forward<Body>(body)), handler_(std::move(handler)) {}
    auto operator co_await() { return nursery_await<Body&, Handler>(body_, &handler_); }

private:
    Body body_;
    Handler handler_;
};
template <class Body>
class [[nodiscard]] nursery_operation<Body, void> {
public:
    explicit nursery_operation(Body&& body) : body_(std::forward<Body>(body)) {}
    auto operator co_await() { return nursery_await<Body&, void>(body_, nullptr); }

private:
    Body body_;
};

}  // namespace detail

template <class F, class... Args>
    requires(!detail::is_task<std::remove_cvref_t<F>>)
void nursery::start(F&& fn, Args&&... args) {
    using callable = std::decay_t<F>;
    static_assert(sizeof...(Args) > 0 || !detail::foreign_awaitable<F>,
                  "start: an operation is no task: write "
                  "n.start([&]() -> task<> { co_await operation; })");
    if constexpr (!std::is_invocable_v<callable, std::decay_t<Args>...>) {
        static_assert(
            detail::foreign_awaitable<F> || std::is_invocable_v<callable, std::decay_t<Args>...>,
            "start: fn cannot be called with these arguments, which it gets as rvalues "
            "of their own types: pass std::ref(x) for a parameter that is a reference");
    } else if constexpr (!detail::is_task<detail::started_t<F, Args...>>) {
        static_assert(detail::is_task<detail::started_t<F, Args...>>,
                      "start: the function does not return a task: write -> task<>");
    } else {
        require_open();
        using value = typename detail::operand<detail::started_t<F, Args...>>::value_type;
        if constexpr (detail::keeps_own_arguments<callable, std::decay_t<Args>...>) {
            auto* made = new detail::task_child<value>(*this, fn(std::forward<Args>(args)...));
            begin(*made);
        } else {
            auto* made = new detail::call_child<value, callable, std::decay_t<Args>...>(
                *this, std::forward<F>(fn), std::forward<Args>(args)...);
            begin(*made);
        }
    }
}

template <class T>
void nursery::start(task<T>&& work) {
    require_open();
    auto* made = new detail::task_child<T>(*this, std::move(work));
    begin(*made);
}

inline detail::join_operation nursery::join() {
    return detail::join_operation(*this, detail::duration::max());
}

template <class Rep, class Period>
detail::join_operation nursery::join_or_cancel_after(std::chrono::duration<Rep, Period> limit) {
    return detail::join_operation(*this, detail::to_duration(limit));
}

namespace detail {

/// Fails to compile, with advice, for what cannot be the body of a nursery.
template <class Body>
constexpr bool explain_body() {
    static_assert(safe_callable<Body>,
                  "open_nursery: g++ before 13 destroys a lambda twice that captures an owning "
                  "object and is written inside co_await; capture by reference, or name the lambda "
                  "on the line before and pass the name");
    using called = std::remove_reference_t<Body>&;
    if constexpr (!std::is_invocable_v<called, nursery&>) {
        static_assert(std::is_invocable_v<called, nursery&>,
                      "open_nursery: the body is called with a nursery&: write "
                      "[&](nursery& n) -> task<> { ... }");
        return false;
    } else {
        constexpr bool gives_task = std::is_same_v<std::invoke_result_t<called, nursery&>, task<>>;
        static_assert(gives_task,
                      "open_nursery: the body returns task<>, without a value: write "
                      "[&](nursery& n) -> task<> { ... }");
        return gives_task;
    }
}

}  // namespace detail

template <class F>
isolate_t<std::decay_t<F>> isolate(F&& on_error) {
    static_assert(detail::safe_callable<F>,
                  "isolate: g++ before 13 destroys a lambda twice that captures an owning object "
                  "and is written inside co_await; capture by reference, or name the lambda on the "
                  "line before and pass the name");
    static_assert(std::is_invocable_v<std::decay_t<F>&, std::exception_ptr>,
                  "isolate: on_error is called with a std::exception_ptr");
    return isolate_t<std::decay_t<F>>(std::forward<F>(on_error));
}

template <class Body>
auto open_nursery(Body&& body) {
    if constexpr (!detail::explain_body<Body>())
        return detail::refused();
    else
        return detail::nursery_operation<detail::described<Body>, void>(std::forward<Body>(body));
}
template <class F, class Body>
auto open_nursery(isolate_t<F> errors, Body&& body) {
    if constexpr (!detail::explain_body<Body>())
        return detail::refused();
    else
        return detail::nursery_operation<detail::described<Body>, F>(std::forward<Body>(body),
                                                                     std::move(errors.on_error));
}

}  // namespace runnel

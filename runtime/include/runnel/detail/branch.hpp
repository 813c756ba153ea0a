// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <source_location>
#include <string>
#include <string_view>

#include <runnel/awaiter.hpp>
#include <runnel/detail/frame_pool.hpp>
#include <runnel/detail/list.hpp>
#include <runnel/detail/scheduler.hpp>

namespace runnel::detail {

struct promise_base;
class dump_sink;
class frame_point;

/// Where somebody waits: a task suspended at a co_await, or a combinator waiting for an operand.
class await_point : public ready_node {
public:
    /// Asks what is awaited to be cancelled. Called at most once, and not after the resumption.
    virtual cancellation cancel() noexcept = 0;
    /// The scope whose cancellation strikes here.
    [[nodiscard]] virtual branch& scope() const noexcept = 0;
    /// The task that is awaited here, if it is one of the same scope.
    [[nodiscard]] virtual promise_base* child() const noexcept { return nullptr; }
    /// The await in a task that this is, or is part of.
    [[nodiscard]] virtual const frame_point* frame() const noexcept { return nullptr; }
    /// The combinator or nursery part of the tree below this point.
    virtual void dump(dump_sink&) const {}

protected:
    ~await_point() = default;
};

/// What all tasks have in common. The frame is laid out by the compiler with the promise at a
/// fixed offset as long as no result is over-aligned, which task<T> checks.
struct promise_base {
    frame_point* parent = nullptr;    // the await in the task that awaits this one
    branch* scope = nullptr;          // null until started
    await_point* awaiting = nullptr;  // null while running

    [[nodiscard]] std::coroutine_handle<promise_base> handle() noexcept {
        return std::coroutine_handle<promise_base>::from_promise(*this);
    }
    static void* operator new(std::size_t size) { return frame_pool::allocate(size); }
    static void operator delete(void* frame, std::size_t size) noexcept {
        frame_pool::release(frame, size);
    }

    /// Ends the task and all that await it up to the root of its scope as cancelled, innermost
    /// first. Called by the loop, while all of them are suspended.
    static void unwind(promise_base& innermost) noexcept;
};

/// An await in a task: it lives in the frame, from the suspension to the resumption.
class frame_point : public await_point {
public:
    explicit frame_point(promise_base& owner, std::source_location where) noexcept
        : owner_(owner), where_(where) {}
    [[nodiscard]] promise_base& owner() const noexcept { return owner_; }
    [[nodiscard]] branch& scope() const noexcept final { return *owner_.scope; }
    [[nodiscard]] const frame_point* frame() const noexcept final { return this; }
    [[nodiscard]] std::source_location where() const noexcept { return where_; }
    [[nodiscard]] std::uint32_t since() const noexcept { return since_; }
    /// The awaited task's frame is gone: it is not to be destroyed again.
    virtual void forget_child() noexcept {}
    /// What is awaited, in a few words: "event", "read on descriptor 7".
    virtual void describe(std::string&) const {}

    /// Marks the point as cancelled; when its turn comes it unwinds its task.
    void set_cancelled() noexcept { state_ = state::cancelled; }

protected:
    ~frame_point() = default;
    enum class state : std::uint8_t { waiting, asked, cancelled, done };

    inline void suspend() noexcept;
    void resume_owner() noexcept {
        owner_.awaiting = nullptr;
        owner_.handle().resume();
    }

    promise_base& owner_;
    std::source_location where_;
    std::uint32_t since_ = 0;
    state state_ = state::waiting;
};

/// A scope of cancellation with a root task of its own: a nursery's child, a raced task, run's
/// main. Cancelling it strikes the innermost await of its task; ended() comes when the root task
/// has a result, or when its frames are gone because it was cancelled.
class branch : public ready_node {
public:
    branch() noexcept = default;
    explicit branch(scheduler& home) noexcept { bind(home); }
    void bind(scheduler& home) noexcept {
        home_.store(reinterpret_cast<std::uintptr_t>(&home), std::memory_order_relaxed);
    }

    /// Makes `root` the root task; its frame stays the caller's.
    void adopt(promise_base& root) noexcept {
        root_ = &root;
        root.scope = this;
    }
    /// Queues the first resumption of the root.
    void start() noexcept { home().schedule(*this); }
    /// Requests cancellation; idempotent. ended() follows, never inside this call.
    void cancel() noexcept;
    [[nodiscard]] bool cancel_requested() const noexcept { return (bits() & cancel_flag) != 0; }

    [[nodiscard]] scheduler& home() const noexcept {
        return *reinterpret_cast<scheduler*>(bits() & ~flags);
    }
    [[nodiscard]] promise_base* root() const noexcept { return root_; }

    /// The logical task that this scope belongs to.
    [[nodiscard]] virtual branch& logical() noexcept { return *this; }
    /// Id and name of a logical task; made when somebody asks, since most tasks need none.
    [[nodiscard]] task_identity& identity();
    [[nodiscard]] const task_identity* known_identity() const noexcept;

    /// Writes the tree of this branch's awaits.
    void dump_tree(dump_sink& sink) const;

protected:
    ~branch() {
        if (has_identity()) drop_identity();
    }
    /// The root's frame is being destroyed, and the scope lives on: cancel() has nothing to strike.
    void forget_root() noexcept { root_ = nullptr; }
    /// The root has ended: with a result in its promise, or, if `cancelled`, with its frame gone.
    virtual void ended(bool cancelled) noexcept = 0;

private:
    void run() noexcept final;
    void drop_identity() noexcept;
    friend class scheduler;
    friend struct promise_base;

    // The scheduler, with two flags in the low bits: there is one of these for each task, and
    // a task is to be small.
    static constexpr std::uintptr_t cancel_flag = 1, identity_flag = 2, flags = 3;
    static_assert(alignof(scheduler) > flags);
    [[nodiscard]] bool has_identity() const noexcept { return (bits() & identity_flag) != 0; }

    [[nodiscard]] std::uintptr_t bits() const noexcept {
        return home_.load(std::memory_order_relaxed);
    }
    void set(std::uintptr_t flag) noexcept {
        home_.store(bits() | flag, std::memory_order_relaxed);
    }

    // Written on the loop's thread only; other threads read it when they resume a waiter.
    std::atomic<std::uintptr_t> home_{0};
    promise_base* root_ = nullptr;
};

inline void frame_point::suspend() noexcept {
    since_ = owner_.scope->home().coarse_ms;
    owner_.awaiting = this;
}

}  // namespace runnel::detail

namespace runnel {

inline void waiter::resume() const noexcept { scheduler().schedule(*point_); }
inline void waiter::resume_on(detail::scheduler& home) const noexcept {
    home.schedule_local(*point_);
}
inline const detail::frame_point* waiter::frame() const noexcept { return point_->frame(); }
inline detail::branch& waiter::scope() const noexcept { return point_->scope(); }
inline detail::scheduler& waiter::scheduler() const noexcept { return scope().home(); }
inline bool waiter::cancel_pending() const noexcept { return scope().cancel_requested(); }
inline loop& waiter::home() const noexcept {
    // The scheduler is part of its loop; loop.hpp knows how, this floor does not.
    return *static_cast<loop*>(scheduler().loop_object);
}

}  // namespace runnel

// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include <runnel/as_atomic.hpp>
#include <runnel/ipc/mutex.hpp>

namespace runnel::ipc {

namespace detail {

/// What the handles of one process share: which of its tasks holds the mutex, and how often.
struct recursive_state {
    explicit recursive_state(std::shared_ptr<mutex_state> of) noexcept : lock(std::move(of)) {}
    /// Once more, if `task` of this thread holds it.
    bool enter_again(std::uint64_t task) noexcept;
    /// For the first time.
    void enter(std::uint64_t task, held_mutex taken) noexcept;
    void leave() noexcept;

    const std::shared_ptr<mutex_state> lock;
    std::atomic<std::uint64_t> owner{0};  // a task, of the thread:
    std::atomic<const void*> thread{nullptr};
    std::size_t depth = 0;
    held_mutex held;
};

}  // namespace detail

/// An ipc::mutex that the task which holds it may lock again; it is unlocked when all its guards
/// are dropped, in any order.
///
///     ipc::recursive_mutex m;
///     auto outer = co_await m.lock();
///     co_await update(m);                   // which locks it as well
///
/// Everything else is as for ipc::mutex. A handle that came to the same process by another way (a
/// pipe) does not know what its tasks hold: locking again by it throws
/// resource_deadlock_would_occur.
class recursive_mutex {
public:
    class guard;
    class lock_operation;

    /// Makes a new one. Throws std::system_error (EMFILE, ...).
    recursive_mutex() : recursive_mutex(mutex()) {}
    recursive_mutex(recursive_mutex&&) noexcept = default;
    recursive_mutex& operator=(recursive_mutex&&) noexcept = default;
    /// Another handle of the same mutex. Throws std::invalid_argument, as lock() does, if this one
    /// has been moved from.
    [[nodiscard]] recursive_mutex share() const { return recursive_mutex(state("share")); }

    /// Waits for the mutex, unless this logical task has it; gives a guard that holds it. Throws
    /// std::system_error as mutex::lock does. Cancellation: atomic.
    [[nodiscard]] lock_operation lock() const;
    /// The guard, or nothing if the mutex is held. Never suspends. As it knows of no task, it gives
    /// nothing to the task that holds the mutex either, and a task that calls lock() while it holds
    /// such a guard waits for itself.
    [[nodiscard]] std::optional<guard> try_lock() const;

private:
    friend struct codec<recursive_mutex>;
    class lock_await;
    using state_pointer = std::shared_ptr<detail::recursive_state>;
    explicit recursive_mutex(const mutex& of);
    explicit recursive_mutex(state_pointer of) noexcept : state_(std::move(of)) {}
    [[nodiscard]] const state_pointer& state(const char* operation) const;
    state_pointer state_;
};

/// The mutex, held once more: given up when it is dropped, by the task that locked it. Moves.
class [[nodiscard]] recursive_mutex::guard {
public:
    /// Holds nothing.
    guard() noexcept = default;
    guard(guard&&) noexcept = default;
    guard& operator=(guard&& other) noexcept {
        if (this != &other) {
            unlock();
            state_ = std::move(other.state_);
        }
        return *this;
    }
    ~guard() { unlock(); }

    /// The owner before died while it held the mutex: what it protects may be half done.
    [[nodiscard]] bool owner_died() const noexcept { return state_ && state_->held.owner_died(); }
    /// Gives it up early; nothing happens when it holds nothing.
    void unlock() noexcept {
        if (const auto state = std::move(state_)) state->leave();
    }
    /// Does it hold a mutex?
    [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }

private:
    friend class recursive_mutex;
    explicit guard(state_pointer of) noexcept : state_(std::move(of)) {}
    state_pointer state_;
};

// implementation

class recursive_mutex::lock_await final {
public:
    static constexpr bool is_atomic = true;
    explicit lock_await(state_pointer of) noexcept : state_(std::move(of)) {}
    bool await_ready() const noexcept { return false; }  // it has to know who asks
    bool await_suspend(waiter who) {
        task_ = task_id(who);
        if (state_->enter_again(task_)) {
            entered_ = guard(state_);
            return false;
        }
        detail::held_mutex held = detail::mutex_state::take(state_->lock, task_);
        if (held) {
            enter(std::move(held));
            return false;
        }
        waiting_.emplace(detail::mutex_state::wait(state_->lock, task_));
        return waiting_->await_suspend(who);
    }
    guard await_resume() {
        if (!entered_) enter(waiting_->await_resume());
        return std::move(entered_);
    }
    cancellation await_cancel() noexcept {
        return waiting_ ? waiting_->await_cancel() : cancellation::too_late;
    }
    void await_describe(std::string& text) const { text += "ipc recursive mutex"; }

private:
    void enter(detail::held_mutex held) noexcept {
        state_->enter(task_, std::move(held));
        entered_ = guard(state_);
    }
    state_pointer state_;
    std::uint64_t task_ = 0;
    std::optional<as_atomic<detail::held_mutex>::awaiter> waiting_;
    guard entered_;
};

class [[nodiscard]] recursive_mutex::lock_operation {
public:
    explicit lock_operation(state_pointer of) noexcept : state_(std::move(of)) {}
    lock_await operator co_await() const { return lock_await(state_); }

private:
    state_pointer state_;
};

inline recursive_mutex::lock_operation recursive_mutex::lock() const {
    return lock_operation(state("lock"));
}

template <>
struct codec<recursive_mutex> {
    static constexpr std::uint64_t signature = 0x697063726d7574;
    static constexpr std::size_t min_size = 3;
    static constexpr bool carries_handles = true;
    static void encode(encoder& out, const recursive_mutex& m);
    static recursive_mutex decode(decoder& in);
};

}  // namespace runnel::ipc

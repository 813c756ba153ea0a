// SPDX-License-Identifier: MIT
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <utility>

#include <runnel/awaiter.hpp>
#include <runnel/detail/branch.hpp>
#include <runnel/detail/list.hpp>

namespace runnel {

/// Mutual exclusion between the tasks of one loop, across their awaits.
///
///     auto held = co_await m.lock();       // until `held` is dropped
///
/// First come, first served: unlocking hands the mutex to whoever has waited longest, and nothing
/// overtakes. It belongs to one loop and one thread, allocates nothing, and must outlive its guards
/// and waiters. Not recursive: a task that locks twice waits for itself.
class mutex {
public:
    class guard;
    class lock_operation;

    mutex() noexcept = default;
    mutex(const mutex&) = delete;
    mutex& operator=(const mutex&) = delete;
    ~mutex() { assert(!held_ && waiting_.empty()); }

    /// Waits for the mutex; gives a guard that holds it. Cancellation: atomic; a mutex that was
    /// handed over already is delivered, or, if nobody takes it, passed on.
    [[nodiscard]] lock_operation lock() noexcept;
    /// The guard, or nothing if the mutex is held. Never suspends.
    [[nodiscard]] std::optional<guard> try_lock() noexcept;
    /// Does anybody hold it?
    [[nodiscard]] bool is_locked() const noexcept { return held_; }

private:
    friend class condition;
    class lock_await;
    // Whoever stands in the queue.
    class contender : public detail::list_node {
    public:
        virtual void granted() noexcept = 0;

    protected:
        ~contender() = default;
    };

    bool take() noexcept { return !std::exchange(held_, true); }
    /// Takes it, or queues; true if it was taken. granted() follows otherwise.
    bool take_or_wait(contender& who) noexcept {
        if (take()) return true;
        waiting_.push_back(who);
        return false;
    }
    void unlock() noexcept {
        if (waiting_.empty())
            held_ = false;
        else
            waiting_.pop_front().granted();
    }

    bool held_ = false;
    detail::list<contender> waiting_;
};

/// The mutex, held: unlocked when it is dropped. Moves.
class [[nodiscard]] mutex::guard {
public:
    guard() noexcept = default;
    guard(guard&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
    guard& operator=(guard&& other) noexcept {
        if (this != &other) {
            unlock();
            of_ = std::exchange(other.of_, nullptr);
        }
        return *this;
    }
    ~guard() { unlock(); }

    /// Unlocks early; nothing happens when it holds nothing.
    void unlock() noexcept {
        if (mutex* const of = std::exchange(of_, nullptr)) of->unlock();
    }
    /// Does it hold a mutex?
    [[nodiscard]] explicit operator bool() const noexcept { return of_ != nullptr; }

private:
    friend class mutex;
    friend class condition;
    explicit guard(mutex& of) noexcept : of_(&of) {}
    mutex* of_ = nullptr;
};

// implementation

class mutex::lock_await final : private contender {
public:
    static constexpr bool is_atomic = true;
    explicit lock_await(mutex& of) noexcept : mutex_(of) {}
    lock_await(const lock_await&) = delete;
    lock_await& operator=(const lock_await&) = delete;
    ~lock_await() {
        if (owns_) mutex_.unlock();  // nobody took the result
    }
    bool await_ready() noexcept { return owns_ = mutex_.take(); }
    bool await_suspend(waiter who) noexcept {
        who_ = who;
        owns_ = mutex_.take_or_wait(*this);
        return !owns_;
    }
    guard await_resume() noexcept {
        owns_ = false;
        return guard(mutex_);
    }
    cancellation await_cancel() noexcept {
        if (owns_) return cancellation::too_late;
        unlink();
        return cancellation::now;
    }
    void await_describe(std::string& text) const { text += "mutex"; }

private:
    void granted() noexcept override {
        owns_ = true;
        who_.resume();
    }
    mutex& mutex_;
    waiter who_;
    bool owns_ = false;
};

class [[nodiscard]] mutex::lock_operation {
public:
    explicit lock_operation(mutex& of) noexcept : mutex_(of) {}
    lock_await operator co_await() const noexcept { return lock_await(mutex_); }

private:
    mutex& mutex_;
};

inline mutex::lock_operation mutex::lock() noexcept { return lock_operation(*this); }

inline std::optional<mutex::guard> mutex::try_lock() noexcept {
    std::optional<guard> held;
    if (take()) held = guard(*this);
    return held;
}

}  // namespace runnel

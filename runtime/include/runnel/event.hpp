// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include <runnel/awaiter.hpp>
#include <runnel/detail/branch.hpp>
#include <runnel/detail/list.hpp>

namespace runnel {

/// A flag that tasks wait for. It stays set until clear(), so a set that comes first is not lost.
///
///     event done;
///     n.start([&]() -> task<> { co_await work(); done.set(); });
///     co_await done.wait();
///
/// It belongs to no loop: tasks of several loops may wait, and set(), clear() and is_set() may be
/// called from any thread (not from a signal handler). It must outlive its waiters.
class event {
public:
    event() noexcept = default;
    /// Waits for a set() of another thread, which may have resumed the owner, to be over.
    ~event() { const guard lock(*this); }
    event(const event&) = delete;
    event& operator=(const event&) = delete;

    /// Sets the flag and resumes all who wait.
    void set() noexcept;
    /// Clears the flag; nobody is resumed.
    void clear() noexcept { set_.store(false, std::memory_order_relaxed); }
    /// Is it set now?
    [[nodiscard]] bool is_set() const noexcept { return set_.load(std::memory_order_acquire); }

    class wait_operation;
    /// Waits until the flag is set. Cancellation: atomic.
    [[nodiscard]] wait_operation wait() noexcept;

private:
    class wait_await;
    // Held for a few instructions, never across a suspension.
    class guard {
    public:
        explicit guard(event& of) noexcept : of_(of) {
            while (of_.busy_.test_and_set(std::memory_order_acquire)) of_.spin();
        }
        ~guard() { of_.busy_.clear(std::memory_order_release); }

    private:
        event& of_;
    };
    void spin() const noexcept;

    std::atomic_flag busy_;
    std::atomic<bool> set_{false};
    detail::list<wait_await> waiting_;
};

// implementation

class event::wait_await final : public detail::list_node {
public:
    static constexpr bool is_atomic = true;
    explicit wait_await(event& of) noexcept : event_(of) {}
    bool await_ready() const noexcept { return event_.is_set(); }
    bool await_suspend(waiter who) noexcept {
        who_ = who;
        const guard lock(event_);
        if (event_.is_set()) return false;
        event_.waiting_.push_back(*this);
        return true;
    }
    void await_resume() const noexcept {}
    cancellation await_cancel() noexcept {
        const guard lock(event_);
        if (!linked()) return cancellation::too_late;
        unlink();
        return cancellation::now;
    }
    void await_describe(std::string& text) const { text += "event"; }

private:
    friend class event;
    event& event_;
    waiter who_;
};

class [[nodiscard]] event::wait_operation {
public:
    explicit wait_operation(event& of) noexcept : event_(of) {}
    wait_await operator co_await() const noexcept { return wait_await(event_); }

private:
    event& event_;
};

inline event::wait_operation event::wait() noexcept { return wait_operation(*this); }

}  // namespace runnel

// SPDX-License-Identifier: MIT
#pragma once

#include <cassert>
#include <exception>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <runnel/awaiter.hpp>
#include <runnel/detail/branch.hpp>
#include <runnel/detail/list.hpp>
#include <runnel/mutex.hpp>

namespace runnel {

/// Waiting, with a mutex unlocked meanwhile, until another task of the loop says that something has
/// changed.
///
///     auto held = co_await m.lock();
///     co_await changed.wait(held, [&] { return !jobs.empty(); });
///
/// Tasks of one loop that await nothing between looking and acting need no mutex, and an event or a
/// queue is simpler; this is for state that stays locked across awaits. It belongs to one loop and
/// one thread, allocates nothing, and must outlive its waiters.
class condition {
public:
    template <class Predicate>
    class wait_operation;

    condition() noexcept = default;
    condition(const condition&) = delete;
    condition& operator=(const condition&) = delete;
    ~condition() { assert(waiting_.empty()); }

    /// Unlocks `held`, waits for a notification, and locks it again. There are no spurious wakes,
    /// but another task may run between the notification and the lock. Throws
    /// std::invalid_argument if `held` holds no mutex. `held` must stay where it is.
    ///
    /// Cancellation: composed, since others may have held the mutex; `held` holds it again when
    /// the task is unwound, or the timeout is over, and that can take as long as others hold it.
    /// Who was notified first is not cancelled any more: no notification is lost.
    [[nodiscard]] auto wait(mutex::guard& held) noexcept;
    /// Waits until `predicate()`, which is called with the mutex held, at once and after each
    /// notification, gives true. What it throws is thrown, with the mutex held.
    template <class Predicate>
        requires std::is_invocable_r_v<bool, Predicate&>
    [[nodiscard]] auto wait(mutex::guard& held, Predicate predicate);

    /// Wakes who has waited longest. The caller need not hold the mutex.
    void notify_one() noexcept;
    /// Wakes all that wait now.
    void notify_all() noexcept;

private:
    class wait_base;
    template <class Predicate>
    class wait_await;
    struct always {
        bool operator()() const noexcept { return true; }
    };

    detail::list<wait_base> waiting_;
};

// implementation

/// In the queue of the condition, then in that of the mutex, then on the ready list, where the
/// predicate is called: others must not run inside the unlock of somebody else.
class condition::wait_base : public mutex::contender, private detail::ready_node {
public:
    static constexpr bool is_atomic = false;
    wait_base(const wait_base&) = delete;
    wait_base& operator=(const wait_base&) = delete;

    void await_suspend(waiter who) noexcept {
        who_ = who;
        mutex_ = held_.of_;
        wait();
    }
    void await_resume() const {
        if (error_) std::rethrow_exception(error_);
    }
    cancellation await_cancel() noexcept {
        switch (state_) {
            case state::waiting:
                unlink();
                state_ = state::cancelling;
                if (!mutex_->take_or_wait(*this)) return cancellation::later;
                held_.of_ = mutex_;
                return cancellation::now;
            case state::cancelling: return cancellation::now;
            case state::locking:
            case state::checking: asked_ = true; return cancellation::later;
            case state::done: break;
        }
        return cancellation::too_late;
    }
    void await_describe(std::string& text) const {
        text += state_ == state::waiting ? "condition" : "mutex, after a wait for a condition";
    }
    void notified() noexcept {
        state_ = state::locking;
        if (mutex_->take_or_wait(*this)) granted();
    }

protected:
    wait_base(condition& on, mutex::guard& held) noexcept : condition_(on), held_(held) {}
    ~wait_base() = default;
    virtual bool satisfied() = 0;
    void require_held() const {
        if (!held_) throw std::invalid_argument("wait on condition: the guard holds no mutex");
    }

private:
    enum class state : unsigned char { waiting, locking, checking, cancelling, done };

    void wait() noexcept {
        state_ = state::waiting;
        condition_.waiting_.push_back(*this);
        held_.unlock();
    }
    void granted() noexcept override {
        held_.of_ = mutex_;
        if (state_ == state::cancelling) {
            who_.resume();
        } else {
            state_ = state::checking;
            who_.scheduler().schedule(*this);
        }
    }
    void run() noexcept override {
        bool enough = true;
        try {
            enough = satisfied();
        } catch (...) {
            error_ = std::current_exception();
        }
        if (!enough && !asked_) return wait();
        state_ = enough ? state::done : state::cancelling;
        who_.resume();
    }

    condition& condition_;
    mutex::guard& held_;
    mutex* mutex_ = nullptr;
    waiter who_;
    std::exception_ptr error_;
    state state_ = state::waiting;
    bool asked_ = false;
};

template <class Predicate>
class condition::wait_await final : public wait_base {
public:
    wait_await(condition& on, mutex::guard& held, Predicate& predicate) noexcept
        : wait_base(on, held), predicate_(predicate) {}
    bool await_ready() {
        require_held();
        if constexpr (std::is_same_v<Predicate, always>)
            return false;
        else
            return predicate_();
    }

private:
    bool satisfied() override { return predicate_(); }
    Predicate& predicate_;
};

template <class Predicate>
class [[nodiscard]] condition::wait_operation {
public:
    wait_operation(condition& on, mutex::guard& held, Predicate predicate)
        : condition_(on), held_(held), predicate_(std::move(predicate)) {}
    wait_await<Predicate> operator co_await() && noexcept {
        return wait_await<Predicate>(condition_, held_, predicate_);
    }
    wait_await<Predicate> operator co_await() & noexcept {
        return wait_await<Predicate>(condition_, held_, predicate_);
    }

private:
    condition& condition_;
    mutex::guard& held_;
    Predicate predicate_;
};

inline void condition::notify_one() noexcept {
    if (!waiting_.empty()) waiting_.pop_front().notified();
}

inline void condition::notify_all() noexcept {
    detail::list<wait_base> all;  // those that wait again are not meant
    all.splice(waiting_);
    while (!all.empty()) all.pop_front().notified();
}

inline auto condition::wait(mutex::guard& held) noexcept {
    return wait_operation<always>(*this, held, always());
}

template <class Predicate>
    requires std::is_invocable_r_v<bool, Predicate&>
auto condition::wait(mutex::guard& held, Predicate predicate) {
    return wait_operation<Predicate>(*this, held, std::move(predicate));
}

}  // namespace runnel

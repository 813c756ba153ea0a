// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <runnel/awaiter.hpp>
#include <runnel/detail/branch.hpp>
#include <runnel/detail/list.hpp>

namespace runnel {

/// A number of permits that the tasks of one loop take and give back.
///
///     semaphore slots(8);
///     auto slot = co_await slots.hold();   // one of eight, until `slot` is dropped
///
/// First come, first served: a task that wants many is not overtaken by those that want few. It
/// belongs to one loop and one thread, allocates nothing, and must outlive permits and waiters.
class semaphore {
public:
    class permit;
    template <class Result>
    class take_operation;
    /// No bound at all.
    static constexpr std::size_t unbounded = std::numeric_limits<std::size_t>::max();

    /// `bound` is the most that may be available: a release above it is a mistake, and throws.
    /// Throws std::invalid_argument if `count` is above it already.
    explicit semaphore(std::size_t count, std::size_t bound = unbounded)
        : available_(count), bound_(bound) {
        if (count > bound) throw std::invalid_argument("semaphore: count is above its bound");
    }
    semaphore(const semaphore&) = delete;
    semaphore& operator=(const semaphore&) = delete;
    ~semaphore() { assert(waiting_.empty()); }

    /// Waits until `n` permits are there, and takes all of them together. Throws
    /// std::invalid_argument if that is above the bound. Cancellation: atomic; permits that were
    /// given already are delivered, or, if nobody takes them, given back.
    [[nodiscard]] take_operation<void> acquire(std::size_t n = 1) noexcept;
    /// The same; gives a `permit` that gives them back when it is dropped.
    [[nodiscard]] take_operation<permit> hold(std::size_t n = 1) noexcept;
    /// Takes `n` permits if they are there and nobody waits. Never suspends.
    [[nodiscard]] bool try_acquire(std::size_t n = 1) noexcept {
        if (!waiting_.empty() || n > available_) return false;
        available_ -= n;
        return true;
    }
    /// Gives back, or adds, `n` permits. Throws std::invalid_argument, and adds none, if more than
    /// the bound were available then.
    void release(std::size_t n = 1) {
        if (n > bound_ - std::min(available_, bound_))
            throw std::invalid_argument("release on semaphore: above its bound");
        give(n);
    }
    /// How many permits can be taken now.
    [[nodiscard]] std::size_t available() const noexcept { return available_; }

private:
    class contender : public detail::list_node {
    public:
        explicit contender(std::size_t n) noexcept : wanted(n) {}
        virtual void granted() noexcept = 0;
        const std::size_t wanted;

    protected:
        ~contender() = default;
    };
    template <class Result>
    class take_await;

    void give(std::size_t n) noexcept {
        available_ += n;
        serve();
    }
    void serve() noexcept {
        while (!waiting_.empty() && waiting_.front().wanted <= available_) {
            contender& next = waiting_.pop_front();
            available_ -= next.wanted;
            next.granted();
        }
    }

    std::size_t available_;
    std::size_t bound_;
    detail::list<contender> waiting_;
};

/// Permits, held: given back when it is dropped. Moves.
class [[nodiscard]] semaphore::permit {
public:
    permit() noexcept = default;
    permit(permit&& other) noexcept
        : of_(std::exchange(other.of_, nullptr)), count_(std::exchange(other.count_, 0)) {}
    permit& operator=(permit&& other) noexcept {
        if (this != &other) {
            release();
            of_ = std::exchange(other.of_, nullptr);
            count_ = std::exchange(other.count_, 0);
        }
        return *this;
    }
    ~permit() { release(); }

    /// Gives them back early; nothing happens when it holds none.
    void release() noexcept {
        if (semaphore* const of = std::exchange(of_, nullptr)) of->give(std::exchange(count_, 0));
    }
    /// How many it holds.
    [[nodiscard]] std::size_t count() const noexcept { return count_; }

private:
    template <class Result>
    friend class semaphore::take_await;
    permit(semaphore& of, std::size_t count) noexcept : of_(&of), count_(count) {}
    semaphore* of_ = nullptr;
    std::size_t count_ = 0;
};

// implementation

template <class Result>
class semaphore::take_await final : private contender {
public:
    static constexpr bool is_atomic = true;
    take_await(semaphore& of, std::size_t n) noexcept : contender(n), semaphore_(of) {}
    take_await(const take_await&) = delete;
    take_await& operator=(const take_await&) = delete;
    ~take_await() {
        if (owns_) semaphore_.give(wanted);  // nobody took the result
    }
    bool await_ready() {
        if (wanted > semaphore_.bound_)
            throw std::invalid_argument("acquire on semaphore: more than its bound");
        return owns_ = semaphore_.try_acquire(wanted);
    }
    bool await_suspend(waiter who) noexcept {
        who_ = who;
        owns_ = semaphore_.try_acquire(wanted);
        if (!owns_) semaphore_.waiting_.push_back(*this);
        return !owns_;
    }
    Result await_resume() noexcept {
        owns_ = false;
        if constexpr (!std::is_void_v<Result>) return Result(semaphore_, wanted);
    }
    cancellation await_cancel() noexcept {
        if (owns_) return cancellation::too_late;
        unlink();
        semaphore_.serve();  // those behind may want less
        return cancellation::now;
    }
    void await_describe(std::string& text) const {
        text.append("semaphore, ").append(std::to_string(wanted)).append(" of ");
        text.append(std::to_string(semaphore_.available_)).append(" available");
    }

private:
    void granted() noexcept override {
        owns_ = true;
        who_.resume();
    }
    semaphore& semaphore_;
    waiter who_;
    bool owns_ = false;
};

template <class Result>
class [[nodiscard]] semaphore::take_operation {
public:
    take_operation(semaphore& of, std::size_t n) noexcept : semaphore_(of), wanted_(n) {}
    take_await<Result> operator co_await() const noexcept {
        return take_await<Result>(semaphore_, wanted_);
    }

private:
    semaphore& semaphore_;
    std::size_t wanted_;
};

inline semaphore::take_operation<void> semaphore::acquire(std::size_t n) noexcept {
    return {*this, n};
}
inline semaphore::take_operation<semaphore::permit> semaphore::hold(std::size_t n) noexcept {
    return {*this, n};
}

}  // namespace runnel

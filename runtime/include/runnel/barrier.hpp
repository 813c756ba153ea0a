// SPDX-License-Identifier: MIT
#pragma once

#include <cassert>
#include <cstddef>
#include <stdexcept>
#include <string>

#include <runnel/awaiter.hpp>
#include <runnel/detail/branch.hpp>
#include <runnel/detail/list.hpp>

namespace runnel {

/// A point where a fixed number of tasks of one loop wait for each other, again and again.
///
///     barrier phase(3);
///     if (auto place = co_await phase.arrive_and_wait(); place == 2) next_phase();
///
/// It belongs to one loop and one thread, allocates nothing, and must outlive its waiters.
class barrier {
public:
    class arrive_operation;

    /// For `parties` tasks. Throws std::invalid_argument for none.
    explicit barrier(std::size_t parties) : parties_(parties) {
        if (parties == 0) throw std::invalid_argument("barrier: for no parties");
    }
    barrier(const barrier&) = delete;
    barrier& operator=(const barrier&) = delete;
    ~barrier() { assert(waiting_.empty()); }

    /// Arrives, and waits until all have; the barrier then stands for the next phase. Gives the
    /// place in the order of arrival: 0 is the first, parties() - 1 the last, which does not wait.
    /// Cancellation: atomic; a task that is cancelled while it waits has not arrived.
    [[nodiscard]] arrive_operation arrive_and_wait() noexcept;
    /// How many wait now.
    [[nodiscard]] std::size_t waiting() const noexcept { return arrived_; }
    /// How many it is for.
    [[nodiscard]] std::size_t parties() const noexcept { return parties_; }

private:
    class arrive_await;
    /// Resumes all others if `who` is the last.
    bool complete() noexcept;

    std::size_t parties_;
    std::size_t arrived_ = 0;
    detail::list<arrive_await> waiting_;
};

// implementation

class barrier::arrive_await final : public detail::list_node {
public:
    static constexpr bool is_atomic = true;
    explicit arrive_await(barrier& of) noexcept : barrier_(of), place_(of.parties_ - 1) {}
    bool await_ready() noexcept { return barrier_.complete(); }
    bool await_suspend(waiter who) noexcept {
        who_ = who;
        if (barrier_.complete()) return false;
        barrier_.waiting_.push_back(*this);
        ++barrier_.arrived_;
        return true;
    }
    [[nodiscard]] std::size_t await_resume() const noexcept { return place_; }
    cancellation await_cancel() noexcept {
        if (!linked()) return cancellation::too_late;
        unlink();
        --barrier_.arrived_;
        return cancellation::now;
    }
    void await_describe(std::string& text) const {
        text.append("barrier, ").append(std::to_string(barrier_.arrived_)).append(" of ");
        text.append(std::to_string(barrier_.parties_)).append(" arrived");
    }

private:
    friend class barrier;
    barrier& barrier_;
    std::size_t place_;
    waiter who_;
};

class [[nodiscard]] barrier::arrive_operation {
public:
    explicit arrive_operation(barrier& of) noexcept : barrier_(of) {}
    arrive_await operator co_await() const noexcept { return arrive_await(barrier_); }

private:
    barrier& barrier_;
};

inline bool barrier::complete() noexcept {
    if (arrived_ + 1 < parties_) return false;
    for (std::size_t place = 0; !waiting_.empty(); ++place) {
        arrive_await& one = waiting_.pop_front();
        one.place_ = place;
        one.who_.resume();
    }
    arrived_ = 0;
    return true;
}

inline barrier::arrive_operation barrier::arrive_and_wait() noexcept {
    return arrive_operation(*this);
}

}  // namespace runnel

// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include <runnel/detail/scheduler.hpp>
#include <runnel/io.hpp>
#include <runnel/loop.hpp>
#include <runnel/nursery.hpp>
#include <runnel/watch.hpp>

#include "driver.hpp"
#include "sigpipe.hpp"

namespace runnel::detail {

/// A nursery without a body, whose children's errors are collected.
class standing_nursery final : public nursery {
public:
    standing_nursery(scheduler& home, loop_core& of) noexcept;
    using nursery::cancel_children;
    using nursery::dump_children;

private:
    void emptied() noexcept override {}
};

/// Writes an error that nobody is left to catch to stderr.
void print_error(const std::exception_ptr& error) noexcept;

/// What a loop is made of.
class loop_core final : private sleeper {
public:
    loop_core(loop& facade, loop_options options);
    ~loop_core();

    /// One turn: what is ready, what is due, what has completed. Sleeps only if `may_block` and
    /// nothing else is to be done.
    void turn(bool may_block);
    /// Runs until `*ended`, or, if that is null, until done(). `stop` is asked after attention();
    /// if it says so, all is cancelled.
    void run(const bool* ended, bool (*stop)(void*), void* context);
    /// For tests: turns until `enough`.
    void run_until(bool (*enough)(void*), void* context);
    /// Has run look up from its turns. Async-signal-safe.
    void attention() noexcept {
        attention_.store(true);
        wake_from_anywhere();
    }
    void poll();
    void bind(const char* operation);
    int host_fd();
    [[nodiscard]] int timeout_ms() const noexcept;
    /// No task is left, and no process to be reaped.
    [[nodiscard]] bool done() const noexcept { return root.size() == 0 && reaper.size() == 0; }
    /// What this thread's frame pool has taken from the heap since the loop is its own.
    [[nodiscard]] std::uint64_t allocations() const noexcept;
    void wake_from_anywhere() noexcept;
    void throw_collected();
    void report(std::exception_ptr error) noexcept;
    void shut_down() noexcept;
    void add_watch(watch& one) { watches_.push_back(one); }
    /// The scope of operations that belong to no task.
    [[nodiscard]] branch& idle() noexcept { return idle_scope_; }

    sigpipe_ignored without_sigpipe;
    scheduler sched;
    io_driver driver{sched};
    standing_nursery root{sched, *this};
    standing_nursery reaper{sched, *this};
    std::function<void(std::exception_ptr)> on_error;
    std::vector<std::exception_ptr> collected;
    loop_options options;
    std::atomic<bool> closing{false};

    static loop_core& of(loop& l) noexcept { return *l.core_; }
    static loop_core*& current() noexcept;

private:
    static void wake(scheduler& s) noexcept;
    class running;
    bool look() noexcept override;
    bool glance() noexcept override;
    bool interrupted() noexcept override;
    bool about_to_sleep() noexcept override;
    void woken() noexcept override;
    void collect(bool may_block);
    void arm_wake();
    void read_coarse_clock() noexcept;
    [[nodiscard]] bool kernel_busy() const noexcept;
    /// Nothing is left to be done, and nothing but the wake-up operation is in the kernel.
    [[nodiscard]] bool nothing_left() const noexcept;

    /// Reads the wake-up descriptor, for ever.
    class wake_op final : public io_op, public await_point {
    public:
        wake_op(loop_core& of) noexcept;
        void arm() noexcept;
        void retire() noexcept;
        /// The ring is about to be closed, and the operation with it.
        void abandon() noexcept;
        [[nodiscard]] bool armed() const noexcept { return armed_; }

    private:
        void run() noexcept override;
        runnel::cancellation cancel() noexcept override { return cancellation::too_late; }
        branch& scope() const noexcept override;
        loop_core& core_;
        bool armed_ = false;
        bool retired_ = false;
    };
    /// The scope that the wake-up operation waits in.
    struct idle_scope final : branch {
        explicit idle_scope(scheduler& home) noexcept : branch(home) {}
        void ended(bool) noexcept override {}
    };

    loop& facade_;
    unique_fd wake_fd_;
    unique_fd host_fd_;
    idle_scope idle_scope_{sched};
    list<watch> watches_;
    std::unique_ptr<wake_op> wake_op_;
    std::atomic<bool> asleep_{false};
    std::atomic<int> wake_through_{-1};  // the descriptor that wakes whoever sleeps
    std::atomic<bool> attention_{false};
    std::uint64_t allocations_before_ = 0;
    unsigned collects_ = 0;
    bool in_turn_ = false;
    bool bound_ = false;
};

}  // namespace runnel::detail

// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include <sys/types.h>

namespace runnel::test {

/// The part of a traced process that is single-stepped lies between these two, which the process
/// calls itself, on its only thread.
void begin_step_window();
void end_step_window();

/// Has the parent trace this process. In a fresh fork.
void let_parent_step();

/// Whether a process sleeps in the kernel; false if it runs, is stopped or is gone.
[[nodiscard]] bool sleeps(::pid_t pid);

/// Single-steps a child of this process. Needs no privileges: the child asked for it.
class stepper {
public:
    enum class state : unsigned char {
        stepped,  // after the instruction wanted
        over,     // the window was shorter
        waits,    // in a system call that does not return
        ended     // the process is gone, or was hit by a signal: see status()
    };

    explicit stepper(::pid_t child);
    ~stepper();  // kills and reaps
    stepper(const stepper&) = delete;
    stepper& operator=(const stepper&) = delete;

    /// Runs the child up to the beginning of its window, with `ticks` of 2 ms of patience.
    bool reach_window(unsigned ticks);
    /// Executes `wanted` instructions. A system call is one; so is an iteration of a repeated
    /// string instruction together with those that follow. What waits is helped on by `nudge`,
    /// unless that returns false.
    state step(std::uint64_t wanted, const std::function<bool()>& nudge);
    /// Notes where the child is after each instruction, to be there again with less effort: each
    /// child of this process has its code at the same addresses.
    using trace = std::span<std::uint64_t>;
    void record(trace into) noexcept { recorded_ = into; }
    /// The same as step, with a breakpoint near the end of the way. Where a child takes another way
    /// than the one that was recorded, the count of instructions is not exact.
    state jump(std::span<const std::uint64_t> way, std::uint64_t wanted,
               const std::function<bool()>& nudge);
    /// Runs the child, not stepped, to the end of its window.
    bool go_on(unsigned ticks);
    /// Kills the child and waits for its end; idempotent.
    void kill();

    /// After jump: the child is not where the recorded one was.
    [[nodiscard]] bool strayed() const noexcept { return strayed_; }
    [[nodiscard]] std::uint64_t steps() const noexcept { return steps_; }
    [[nodiscard]] int status() const noexcept { return status_; }

private:
    bool wait(unsigned ticks);
    state resume(bool one_step, const std::function<bool()>& nudge);
    bool finish_repeated(std::uint64_t at);
    bool set_code(std::uint64_t at, std::uint64_t code);
    bool lift_trap();
    ::pid_t child_;
    int status_ = 0;
    bool gone_ = false;
    bool waits_ = false;  // it was let run, and has not stopped yet
    bool strayed_ = false;
    std::uint64_t steps_ = 0;
    std::uint64_t trapped_at_ = 0;  // while a breakpoint is there, which it may not have come to
    [[maybe_unused]] std::uint64_t code_there_ = 0;
    trace recorded_;
};

}  // namespace runnel::test

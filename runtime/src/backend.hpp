// SPDX-License-Identifier: MIT
#pragma once

#include <cerrno>
#include <cstdint>
#include <memory>

#include <runnel/detail/io_op.hpp>
#include <runnel/loop.hpp>

namespace runnel::detail {

/// Takes the answers.
class completion_sink {
public:
    virtual void completed(io_op& op, int result) noexcept = 0;

protected:
    ~completion_sink() = default;
};

/// The loop, as somebody who has to be told before the thread sleeps.
class sleeper {
public:
    /// Looks at memory that others change; true if somebody can go on.
    virtual bool look() noexcept = 0;
    /// The same, before this thread has let others run.
    virtual bool glance() noexcept = 0;
    /// Something else has come while spinning: go back to the loop.
    virtual bool interrupted() noexcept = 0;
    /// Announces the sleep to those who wake; false if there is something to do after all.
    virtual bool about_to_sleep() noexcept = 0;
    virtual void woken() noexcept = 0;

protected:
    ~sleeper() = default;
};

/// The seam between the loop and whatever does the I/O: try_now, submit, cancel; completions go to
/// the sink, from inside poll and wait only.
class backend {
public:
    virtual ~backend() = default;

    static constexpr int not_now = -EAGAIN;
    // Beyond all errno: what else a direct attempt may answer.
    static constexpr int not_tried = -5000;   // not now, and the file was not asked
    static constexpr int in_worker = -5001;   // it cannot be tried, for it might block
    static constexpr int when_ready = -5002;  // not now, and the ring would not wait for it
    static constexpr bool has_no_answer(int result) noexcept {
        return result == not_now || (result <= not_tried && result >= when_ready);
    }
    /// The plain system call, without blocking; its result or a negative errno. `not_now` if it
    /// would block or cannot be tried.
    virtual int try_now(const io_request& request) noexcept = 0;
    /// Begins `op`: exactly one completion follows.
    virtual void submit(io_op& op) noexcept = 0;
    /// Asks for the end of `op`, which was submitted; its completion says what came of it.
    virtual void cancel(io_op& op) noexcept = 0;

    /// Submits what is pending, to the last request, and delivers nothing.
    virtual void flush() noexcept = 0;
    /// Submits what is pending and delivers what is there.
    virtual void poll() noexcept = 0;
    /// The same, and if nothing was there waits for something, at most until `until` (max: for
    /// ever). Spins briefly first.
    virtual void wait(time_point until, sleeper& who) noexcept = 0;
    /// Could poll deliver or submit something? Looks at memory only.
    [[nodiscard]] virtual bool pending() const noexcept = 0;

    /// Can the kernel do it? What is missing is emulated by the driver or fails with ENOSYS.
    [[nodiscard]] virtual bool supports(io_code code) const noexcept = 0;

    /// Called once, by the thread that is going to use it.
    virtual void enable() = 0;
    /// Has `event_fd` signalled whenever poll would deliver something; may be called again.
    virtual void notify(int event_fd) = 0;

    loop_stats counts;
};

std::unique_ptr<backend> make_uring_backend(completion_sink& sink, unsigned entries);
std::unique_ptr<backend> make_chaos_backend(completion_sink& sink, unsigned entries,
                                            chaos_options chaos);

/// The system call behind a direct attempt.
int call_now(const io_request& request) noexcept;
/// The road of an operation that was not tried.
io_road road_of(const io_request& request) noexcept;

/// Is `feature` (futex, waitid, defer_taskrun) switched off by
/// RUNNEL_DISABLE=a,b,c in the environment?
bool feature_disabled(const char* feature) noexcept;

/// Does the kernel's ring know how to wait for a futex? Asked once a process, of the first ring or,
/// if there has been none, of one made for that; where none can be made, no.
bool kernel_has_futex() noexcept;

}  // namespace runnel::detail

// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <sys/types.h>

#include <runnel/nursery.hpp>
#include <runnel/task.hpp>
#include <runnel/unique_fd.hpp>

namespace runnel {

/// A seeded adversary between the loop and the kernel, for tests: it refuses direct attempts,
/// delays and reorders completions, shortens reads and writes of byte streams (never datagrams),
/// and makes the ring tiny.
struct chaos_options {
    std::uint64_t seed = 0;    ///< 0: no chaos
    unsigned fail_one_in = 0;  ///< one in so many operations fails with EIO instead of being done
};

/// How a loop is made. The defaults suit everything but tests.
struct loop_options {
    /// Submission entries of the ring; also settable by RUNNEL_RING_ENTRIES in the environment.
    unsigned entries = 256;
    /// The clock stands still, and jumps to the next deadline when a turn brought nothing and no
    /// request is in the kernel. So a sleep of hours takes no time, and a timeout never ends a
    /// request that is still going to be answered; but one around a read that nobody answers never
    /// ends, either, unless it is zero. For tests of one process: std::logic_error refuses to spawn
    /// processes, and to wait for the shared objects, queues and channels of ipc.
    bool virtual_time = false;
    chaos_options chaos{};
};

/// What a loop has done since it was made. Counts never go down, but for the last three.
struct loop_stats {
    std::uint64_t resumes = 0;       ///< entries of the ready list that ran
    std::uint64_t direct_calls = 0;  ///< system calls tried without the ring
    std::uint64_t submissions = 0;   ///< requests given to the ring
    std::uint64_t completions = 0;   ///< answers taken from it
    std::uint64_t enters = 0;        ///< io_uring_enter calls
    std::uint64_t sleeps = 0;        ///< those of them that were allowed to block
    std::uint64_t yields = 0;        ///< sched_yield calls while spinning
    /// Frames and records of tasks that the heap was asked for, none being free for reuse. Of the
    /// loop's thread, since it is the loop's, other loops on it included; under AddressSanitizer
    /// every one.
    std::uint64_t allocations = 0;
    std::uint64_t timers = 0;     ///< deadlines that are armed now
    std::uint64_t in_flight = 0;  ///< requests that the ring has not answered yet
    std::uint64_t tasks = 0;      ///< tasks of the root nursery that have not ended
};

namespace detail {
class loop_core;
}

/// An event loop: one thread, one io_uring. It may be made on one thread and run on another; the
/// first that runs it, polls it or asks for its fd() owns it from then on, and others get
/// errc::wrong_thread. Only post, and whatever says so, may be called from any thread.
///
///     loop l;                                   // most programs use run(...) instead
///     l.start(count_words, "words.txt");
///     l.run();
///
/// Making the first loop has the process ignore SIGPIPE, if that had its default disposition, for as
/// long as there is a loop: writing into what nobody reads fails with EPIPE instead.
class loop {
public:
    /// Throws std::system_error when io_uring is not to be had, with what to do about it.
    explicit loop(loop_options options = {});
    /// Cancels all tasks, and waits until they have ended and child processes that are being reaped
    /// are gone. To be called on the thread that owns the loop; once nothing is left (done(), and no
    /// posted function, operation or shared object of its own waits), on any. Anything else ends
    /// the process (SIGABRT), and says why on stderr.
    ~loop();
    loop(const loop&) = delete;
    loop& operator=(const loop&) = delete;

    /// Starts fn(args...), or a task, in the root nursery, which isolates: an error goes to
    /// on_error, or, if none is set, is thrown by run() or poll() at the end of the turn.
    template <class... Args>
    void start(Args&&... args) {
        require_home("start");
        root().start(std::forward<Args>(args)...);
    }
    /// Sets the handler for errors that nobody else can catch.
    void on_error(std::function<void(std::exception_ptr)> handler);
    /// Cancels all tasks of the root nursery. Any thread.
    void cancel();

    /// Runs until done(). Throws what errors of tasks nobody else catches (see start), and
    /// std::logic_error when called from inside one of its own tasks.
    void run();

    /// A descriptor that becomes readable (POLLIN) when the kernel or another thread has work for
    /// poll(): for foreign loops, which ask timeout_ms() for what this thread has made ready. The
    /// same each time, and the loop's own: do not read or close it. The first call makes it: it
    /// binds the loop to this thread, and throws errc::wrong_thread if it has another, or
    /// std::system_error (EMFILE) if there is no descriptor to be had.
    [[nodiscard]] int fd();
    /// Does what is ready and returns; never blocks. Throws std::logic_error when called from
    /// inside one of its own tasks.
    void poll();
    /// How long a foreign loop may sleep in poll(2): milliseconds, rounded up; 0 if there is work
    /// now; -1 for ever.
    [[nodiscard]] int timeout_ms() const noexcept;
    /// The nearest deadline, if there is one.
    [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> next_deadline()
        const noexcept;
    /// No task of the root nursery is left, and no child process that is being reaped.
    [[nodiscard]] bool done() const noexcept;

    /// Has `fn` called on the loop's thread, in a later step, at the latest when the loop is
    /// destroyed. Any thread; wakes the loop. What fn throws goes where task errors go.
    template <std::invocable F>
    void post(F fn) {
        post_node(new posted<F>(std::move(fn)));
    }

    /// The loop's time: the clock, or its virtual time.
    [[nodiscard]] std::chrono::steady_clock::time_point now() const noexcept;
    /// What it has done so far, and what it has to do. A copy: take one before and one after.
    [[nodiscard]] loop_stats stats() const noexcept;
    /// Writes the tree of tasks: for each its name (see name_task), where it waits, for what, and
    /// for how long.
    void dump(std::ostream& out) const;

    /// The loop that is running on this thread, or null.
    [[nodiscard]] static loop* current() noexcept;

    /// Takes over a running child process: `stop` is called once, then, after `grace`, it is
    /// killed; it is reaped in any case, and ~loop and run() wait for that. For process handles
    /// that are dropped.
    void reap_later(unique_fd pidfd, std::function<void()> stop, std::chrono::nanoseconds grace);

private:
    friend class detail::loop_core;
    struct posted_node : detail::ready_node {
        loop* to = nullptr;

    protected:
        ~posted_node() = default;
    };
    template <class F>
    struct posted final : posted_node {
        explicit posted(F f) : fn(std::move(f)) {}
        void run() noexcept override {
            const std::unique_ptr<posted> self(this);
            try {
                fn();
            } catch (...) {
                to->report(std::current_exception());
            }
        }
        F fn;
    };

    nursery& root() noexcept;
    void require_home(const char* operation) const;
    void post_node(posted_node* node);
    void report(std::exception_ptr error) noexcept;

    std::unique_ptr<detail::loop_core> core_;
};

}  // namespace runnel

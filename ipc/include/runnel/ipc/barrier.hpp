// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>
#include <utility>

#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/shared_object.hpp>

namespace runnel::ipc {

namespace detail {
class barrier_state;
class barrier_wait;
}  // namespace detail

/// A point where a fixed number of tasks, of several processes, wait for each other, again and
/// again.
///
///     ipc::barrier step(4);
///     auto child = ipc::spawn(simulate, step.share());
///     auto place = co_await step.arrive_and_wait();   // 0..3; exactly one gets 0
///
/// Whoever has once arrived, or enlisted, takes part until its handles are dropped or its loop
/// ends. When a process that takes part dies, in whatever way, the barrier is broken at once: all
/// who wait, and all who come, are told so by an error until reset(). Nobody waits for the dead.
///
/// A handle of an object without a name, in shared memory; it travels as an argument and through
/// pipes. Tasks of at most 128 loops take part, any number in each. Any number of threads may use a
/// handle at a time. Whoever has a handle can write its memory: he can make others wait, pass too
/// early, or get an error, and harm them in no other way. ipc::mutex says which deaths are noticed
/// only by those who come later.
///
/// Arriving, enlist(), abort() and reset() can hold up the loop for 5 s, and throw
/// std::errc::timed_out then, if a process is stopped in the middle of a change; they throw
/// errc::protocol if the memory of the barrier's lock was overwritten.
class barrier {
public:
    class arrive_operation;

    /// Makes a new one for `parties` tasks. Throws std::invalid_argument for none, or more than
    /// 2^31 - 1, std::system_error (EMFILE, ...).
    explicit barrier(std::uint32_t parties);
    barrier(barrier&&) noexcept = default;
    barrier& operator=(barrier&&) noexcept = default;
    /// Another handle of the same barrier. Throws std::invalid_argument, as all others do, if this
    /// one has been moved from.
    [[nodiscard]] barrier share() const;

    /// Arrives, and waits until all parties have. Gives a number from 0 to parties() - 1, to each
    /// of them another one, in no order. Throws std::system_error if the barrier is broken:
    /// owner_dead if by a death, operation_canceled if by abort() or reset(); EUSERS if too many
    /// loops take part. Cancellation: atomic; who is cancelled while it waits has not arrived.
    [[nodiscard]] arrive_operation arrive_and_wait() const;
    /// Has this loop take part before its first arrival, so that its death is noticed from now on.
    /// Throws std::logic_error without a running loop, std::system_error (EUSERS).
    void enlist() const;

    /// Breaks the barrier: all who wait are told, and all who come, until reset().
    void abort() const;
    /// Makes it whole again, and forgets the dead; who waits is told that it was broken.
    void reset() const;

    /// Has it been broken, by abort() or by a death?
    [[nodiscard]] bool broken() const;
    /// How many wait now.
    [[nodiscard]] std::uint32_t waiting() const;
    /// How many it is for.
    [[nodiscard]] std::uint32_t parties() const;

private:
    friend struct codec<barrier>;
    explicit barrier(detail::object_pointer use) noexcept : use_(std::move(use)) {}
    [[nodiscard]] const detail::object_pointer& use(const char* operation) const;
    detail::object_pointer use_;
};

// implementation

class detail::barrier_wait final : public object_waiter {
public:
    explicit barrier_wait(object_pointer use) noexcept
        : object_waiter(std::move(use), "arrive_and_wait") {}
    bool await_suspend(waiter who);
    [[nodiscard]] std::uint32_t await_resume() const;
    cancellation await_cancel() noexcept;
    void await_describe(std::string& text) const;

private:
    bool serve() noexcept override;
    std::uint32_t round_ = 0;
    std::uint32_t number_ = 0;
    std::error_code error_;
};

class [[nodiscard]] barrier::arrive_operation {
public:
    explicit arrive_operation(detail::object_pointer use) noexcept : use_(std::move(use)) {}
    detail::barrier_wait operator co_await() const { return detail::barrier_wait(use_); }

private:
    detail::object_pointer use_;
};

inline barrier::arrive_operation barrier::arrive_and_wait() const {
    return arrive_operation(use("arrive_and_wait"));
}

template <>
struct codec<barrier> {
    static constexpr std::uint64_t signature = 0x697063626172;
    static constexpr std::size_t min_size = 3;
    static constexpr bool carries_handles = true;
    static void encode(encoder& out, const barrier& b);
    static barrier decode(decoder& in);
};

}  // namespace runnel::ipc

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <optional>
#include <utility>

#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/shared_object.hpp>

namespace runnel::ipc {

namespace detail {
class semaphore_state;
class semaphore_wait;
}  // namespace detail

/// A number of permits that tasks of several processes take and give back.
///
///     ipc::semaphore slots(8);
///     auto child = ipc::spawn(work, slots.share());
///     auto slot = co_await slots.hold();   // one of eight, until `slot` is dropped
///
/// What is held by a `permit` comes back when its process dies, in whatever way, or when the loop
/// that took it ends: nobody waits for the dead. acquire() and release() are for signals: such a
/// permit belongs to nobody, any process may release it, and a process that dies keeps it.
///
/// A handle of an object without a name, in shared memory; it travels as an argument and through
/// pipes. First come, first served within a loop, no order between loops. At most 128 loops hold
/// permits of one semaphore at a time. Any number of threads may use a handle at a time. Whoever has
/// a handle can write its memory: he can make others wait, or get errc::protocol, and harm them in no
/// other way. ipc::mutex says which deaths are noticed only by those who come later.
///
/// Taking and releasing permits can hold up the loop for 5 s, and throw std::errc::timed_out then, if
/// a process is stopped in the middle of a change. Dropping a permit does not throw.
class semaphore {
public:
    class permit;
    class acquire_operation;
    class hold_operation;
    /// The most permits there can be.
    static constexpr std::uint32_t unbounded = std::numeric_limits<std::int32_t>::max();

    /// Makes a new one with `count` permits; `bound` is the most that release() may make of them.
    /// Throws std::invalid_argument if count > bound or bound > unbounded, std::system_error
    /// (EMFILE, ...).
    explicit semaphore(std::uint32_t count, std::uint32_t bound = unbounded);
    semaphore(semaphore&&) noexcept = default;
    semaphore& operator=(semaphore&&) noexcept = default;
    /// Another handle of the same semaphore. Throws std::invalid_argument, as all others do, if
    /// this one has been moved from.
    [[nodiscard]] semaphore share() const;

    /// Waits until `n` permits are there, and gives a guard that holds them. Throws
    /// std::invalid_argument if n is above the bound, std::system_error (EUSERS) if too many loops
    /// hold some. Cancellation: atomic.
    [[nodiscard]] hold_operation hold(std::uint32_t n = 1) const;
    /// The guard, or nothing if not so many are there. Never suspends; needs a running loop, and
    /// throws std::logic_error without one.
    [[nodiscard]] std::optional<permit> try_hold(std::uint32_t n = 1) const;

    /// Waits until `n` permits are there, and takes them away. Throws std::invalid_argument if n is
    /// above the bound. Cancellation: atomic.
    [[nodiscard]] acquire_operation acquire(std::uint32_t n = 1) const;
    /// Takes them if so many are there. Never suspends; any thread.
    [[nodiscard]] bool try_acquire(std::uint32_t n = 1) const;
    /// Adds `n` permits. Throws std::invalid_argument, and adds none, if there were more than the
    /// bound then, held ones included. Any thread.
    void release(std::uint32_t n = 1) const;

    /// How many can be taken now.
    [[nodiscard]] std::uint32_t available() const;

private:
    friend struct codec<semaphore>;
    explicit semaphore(detail::object_pointer use) noexcept : use_(std::move(use)) {}
    [[nodiscard]] const detail::object_pointer& use(const char* operation) const;
    detail::object_pointer use_;
};

/// Permits, held: given back when it is dropped, on any thread of its process. Moves.
class [[nodiscard]] semaphore::permit {
public:
    /// Holds none.
    permit() noexcept = default;
    permit(permit&& other) noexcept
        : use_(std::move(other.use_)),
          place_(other.place_),
          turn_(other.turn_),
          forks_(other.forks_),
          count_(std::exchange(other.count_, 0)) {}
    permit& operator=(permit&& other) noexcept {
        if (this != &other) {
            release();
            use_ = std::move(other.use_);
            place_ = other.place_;
            turn_ = other.turn_;
            forks_ = other.forks_;
            count_ = std::exchange(other.count_, 0);
        }
        return *this;
    }
    ~permit() { release(); }

    /// Gives them back early; nothing happens when it holds none.
    void release() noexcept {
        if (count_ != 0) give_back();
    }
    /// How many it holds.
    [[nodiscard]] std::uint32_t count() const noexcept { return count_; }

private:
    friend class detail::semaphore_state;
    void give_back() noexcept;
    detail::object_pointer use_;
    std::uint32_t place_ = 0;
    std::uint32_t turn_ = 0;
    unsigned forks_ = 0;
    std::uint32_t count_ = 0;
};

// implementation

class detail::semaphore_wait : public object_waiter {
public:
    semaphore_wait(object_pointer use, std::uint32_t n, bool held) noexcept
        : object_waiter(std::move(use), held ? "hold" : "acquire"), wanted_(n), held_(held) {}
    bool await_suspend(waiter who);
    void await_describe(std::string& text) const;

protected:
    ~semaphore_wait();
    bool serve() noexcept override;
    const std::uint32_t wanted_;
    const bool held_;
    void finish();
    bool taken_ = false;  // by an acquire that nobody has been told of
    std::exception_ptr error_;
    semaphore::permit permit_;
};

class [[nodiscard]] semaphore::acquire_operation {
    class acquire_await final : public detail::semaphore_wait {
    public:
        acquire_await(detail::object_pointer use, std::uint32_t n) noexcept
            : semaphore_wait(std::move(use), n, false) {}
        void await_resume() { finish(); }
    };

public:
    acquire_operation(detail::object_pointer use, std::uint32_t n) noexcept
        : use_(std::move(use)), wanted_(n) {}
    acquire_await operator co_await() const { return acquire_await(use_, wanted_); }

private:
    detail::object_pointer use_;
    std::uint32_t wanted_;
};

class [[nodiscard]] semaphore::hold_operation {
    class hold_await final : public detail::semaphore_wait {
    public:
        hold_await(detail::object_pointer use, std::uint32_t n) noexcept
            : semaphore_wait(std::move(use), n, true) {}
        permit await_resume() {
            finish();
            return std::move(permit_);
        }
    };

public:
    hold_operation(detail::object_pointer use, std::uint32_t n) noexcept
        : use_(std::move(use)), wanted_(n) {}
    hold_await operator co_await() const { return hold_await(use_, wanted_); }

private:
    detail::object_pointer use_;
    std::uint32_t wanted_;
};

inline semaphore::acquire_operation semaphore::acquire(std::uint32_t n) const {
    return acquire_operation(use("acquire"), n);
}
inline semaphore::hold_operation semaphore::hold(std::uint32_t n) const {
    return hold_operation(use("hold"), n);
}

template <>
struct codec<semaphore> {
    static constexpr std::uint64_t signature = 0x69706373656d61;
    static constexpr std::size_t min_size = 3;
    static constexpr bool carries_handles = true;
    static void encode(encoder& out, const semaphore& s);
    static semaphore decode(decoder& in);
};

}  // namespace runnel::ipc

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <runnel/awaiter.hpp>
#include <runnel/detail/io_op.hpp>
#include <runnel/error.hpp>
#include <runnel/result.hpp>
#include <runnel/unique_fd.hpp>

/// The system calls, awaitable: what streams, pipes and sockets are made of, for transports of your
/// own. Each is tried as a plain system call first where that can be done without blocking, and
/// goes to the ring if it would block. Files that would block whoever asks, as terminals do (and,
/// before Linux 6.4, pipes), are read and written by workers of the kernel, at most 4 KiB a write.
///
/// Descriptors are borrowed; so are buffers and structures, until the co_await is over, however it
/// ends. All are atomic: cancelled means that nothing was read, written or waited for.
/// For tests of what older kernels do, RUNNEL_DISABLE in the environment takes a list of what to do
/// without: futex, waitid, defer_taskrun.
/// Operations on one descriptor in one direction are done in the order in which they were awaited.
/// Failures throw std::system_error that names the operation and the descriptor; as_result(...)
/// gives them without a throw.
namespace runnel::io {

namespace detail {

using runnel::detail::io_code;
using runnel::detail::io_direction;
using runnel::detail::io_op;
using runnel::detail::io_request;

/// Throws what a failed operation means.
[[noreturn]] void throw_failed(const io_op& op, std::string_view object, int number);
std::error_code code_of(const io_op& op) noexcept;

// How the number that the kernel gives becomes a value.
struct to_size {
    using value = std::size_t;
    static value from(int result, const io_op&) noexcept {
        return static_cast<std::size_t>(result);
    }
};
struct to_nothing {
    using value = void;
    static void from(int, const io_op&) noexcept {}
};
struct to_int {
    using value = int;
    static value from(int result, const io_op&) noexcept { return result; }
};

/// The pinned awaiter of one operation.
template <class To>
class await_op : private io_op {
public:
    static constexpr bool is_atomic = true;
    await_op(const io_request& request, std::string_view object) noexcept
        : io_op(request, false), object_(object) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(waiter who) noexcept { return start(who); }
    typename To::value await_resume() {
        if (result() < 0) [[unlikely]]
            throw_failed(*this, object_, request().fd);
        return To::from(result(), *this);
    }
    runnel::result<typename To::value> await_result() {
        if (result() < 0) return code_of(*this);
        if constexpr (std::is_void_v<typename To::value>)
            return {};
        else
            return To::from(result(), *this);
    }
    cancellation await_cancel() noexcept { return cancel(); }
    void await_describe(std::string& text) const {
        text.append(verb()).append(" on ").append(object_);
        if (request().fd >= 0) text.append(" ").append(std::to_string(request().fd));
    }

private:
    std::string_view object_;
};

}  // namespace detail

/// An operation that has not begun: a small value, begun by co_await.
template <class To>
class [[nodiscard]] operation {
public:
    /// `object` names the kind of descriptor in errors and dumps; it is referred to.
    operation(const detail::io_request& request, std::string_view object) noexcept
        : request_{request.code,    request.direction, request.direct, request.stream,
                   request.apart,   request.fd,        request.length, request.flags,
                   request.address, request.offset,    request.extra},
          object_(object) {}
    detail::await_op<To> operator co_await() const noexcept {
        return detail::await_op<To>(request_, object_);
    }
    /// The same operation with another name for its descriptor.
    operation on(std::string_view object) const noexcept { return operation(request_, object); }

private:
    friend class stepwise;
    friend class standing;
    detail::io_request request_;
    std::string_view object_;
};

/// Gives how many bytes, as std::size_t.
using count_operation = operation<detail::to_size>;
/// Gives nothing: it is done, or throws.
using void_operation = operation<detail::to_nothing>;
/// Gives a number that is no count of bytes: an event mask, how many were woken.
using int_operation = operation<detail::to_int>;

/// What an awaiter of your own derives from if it is more than one system call, or if what it
/// receives must belong to somebody as soon as it has been received: one operation whose results
/// are looked at before the next operation on the descriptor has its turn.
///
///     struct await_message : io::stepwise {                  // derived, so never copied or moved
///         static constexpr bool is_atomic = true;
///         await_message(int fd) : stepwise(io::recvmsg(fd, message_, MSG_PEEK).on("pipe")) {}
///         bool await_suspend(waiter who) { return launch(who); }
///         bool step(int result) noexcept override { return result >= 0 && !take_it(); }
///         message await_resume() { if (result() < 0) throw_failure("recv"); return ...; }
///
/// If step has had an effect it must be delivered: cancelled is only what ended with a failure.
class stepwise : private detail::io_op {
public:
    bool await_ready() const noexcept { return false; }
    cancellation await_cancel() noexcept { return cancel(); }

protected:
    template <class To>
    explicit stepwise(const operation<To>& what) noexcept
        : io_op(what.request_), object_(what.object_) {}
    ~stepwise() = default;

    /// Begins the operation: to be called by await_suspend. False: it is done.
    bool launch(waiter who) noexcept { return start(who); }
    /// Its turn has come, and nothing was asked of the kernel yet: what only the operation whose turn
    /// it is should hold can be got here. True: it is over without a system call, with result 0.
    bool begin() noexcept override { return false; }
    /// Looks at what the system call returned, or at the negative errno; true has it called again.
    /// The descriptor must be left alone if the handle is closed().
    virtual bool step(int result) noexcept = 0;
    /// Another operation in the place of the first, in the same direction of the same descriptor.
    template <class To>
    void change(const operation<To>& what) noexcept {
        request_ = what.request_;
    }
    /// Was the handle closed under the operation?
    using io_op::closed;
    /// What the last system call returned, or the negative errno.
    using io_op::result;
    /// The descriptor that the operation is on.
    [[nodiscard]] int descriptor() const noexcept { return request().fd; }
    /// The error that a negative result() means; errc::closed if the handle was closed.
    [[nodiscard]] std::error_code failure() const noexcept { return detail::code_of(*this); }
    /// Throws failure(), of the operation `verb`.
    [[noreturn]] void throw_failure(std::string_view verb) const {
        throw_error(failure(), verb, object_, descriptor());
    }

private:
    bool again(int result) noexcept final { return step(result); }
    std::string_view object_;
};

namespace detail {
inline std::uint64_t address_of(const void* p) noexcept {
    return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(p));
}
inline std::uint32_t length_of(std::size_t n) noexcept {
    constexpr std::size_t most = 0x7ffff000;  // what read(2) and write(2) transfer at most
    return static_cast<std::uint32_t>(n < most ? n : most);
}
}  // namespace detail

/// Nothing, by way of the kernel: one round trip through the ring.
inline void_operation nop() noexcept {
    return {detail::io_request{.code = detail::io_code::nop}, "ring"};
}

/// read(2): gives the number of bytes, 0 at the end. `offset` -1 is the file's own position.
inline count_operation read(int fd, std::span<std::byte> into, std::int64_t offset = -1) noexcept {
    return {detail::io_request{.code = detail::io_code::read,
                               .direction = detail::io_direction::in,
                               .direct = true,
                               .stream = true,
                               .fd = fd,
                               .length = detail::length_of(into.size()),
                               .address = detail::address_of(into.data()),
                               .offset = static_cast<std::uint64_t>(offset)},
            "descriptor"};
}

/// write(2): gives the number of bytes taken, which can be less than offered.
inline count_operation write(int fd, std::span<const std::byte> from,
                             std::int64_t offset = -1) noexcept {
    return {detail::io_request{.code = detail::io_code::write,
                               .direction = detail::io_direction::out,
                               .direct = true,
                               .stream = true,
                               .fd = fd,
                               .length = detail::length_of(from.size()),
                               .address = detail::address_of(from.data()),
                               .offset = static_cast<std::uint64_t>(offset)},
            "descriptor"};
}

/// recv(2) with MSG_* `flags`: the number of bytes, 0 at the end of a stream.
inline count_operation recv(int fd, std::span<std::byte> into, int flags = 0) noexcept {
    return {detail::io_request{.code = detail::io_code::recv,
                               .direction = detail::io_direction::in,
                               .direct = true,
                               .fd = fd,
                               .length = detail::length_of(into.size()),
                               .flags = static_cast<std::uint32_t>(flags),
                               .address = detail::address_of(into.data())},
            "socket"};
}

/// send(2) with MSG_* `flags`; SIGPIPE is never raised.
inline count_operation send(int fd, std::span<const std::byte> from, int flags = 0) noexcept {
    return {detail::io_request{.code = detail::io_code::send,
                               .direction = detail::io_direction::out,
                               .direct = true,
                               .fd = fd,
                               .length = detail::length_of(from.size()),
                               .flags = static_cast<std::uint32_t>(flags) | MSG_NOSIGNAL,
                               .address = detail::address_of(from.data())},
            "socket"};
}

/// recvmsg(2): `message` and all that it points to are borrowed. Received descriptors are
/// close-on-exec.
inline count_operation recvmsg(int fd, ::msghdr& message, int flags = 0) noexcept {
    return {detail::io_request{.code = detail::io_code::recvmsg,
                               .direction = detail::io_direction::in,
                               .direct = true,
                               .fd = fd,
                               .flags = static_cast<std::uint32_t>(flags) | MSG_CMSG_CLOEXEC,
                               .address = detail::address_of(&message)},
            "socket"};
}

/// sendmsg(2): `message` and all that it points to are borrowed; SIGPIPE is never raised.
inline count_operation sendmsg(int fd, const ::msghdr& message, int flags = 0) noexcept {
    return {detail::io_request{.code = detail::io_code::sendmsg,
                               .direction = detail::io_direction::out,
                               .direct = true,
                               .fd = fd,
                               .flags = static_cast<std::uint32_t>(flags) | MSG_NOSIGNAL,
                               .address = detail::address_of(&message)},
            "socket"};
}

/// poll(2) for one descriptor: gives the POLL* events that are there, errors and hang-up included.
/// The answer was true when the kernel gave it; the runtime has looked twice.
inline int_operation poll(int fd, short events) noexcept {
    return {detail::io_request{.code = detail::io_code::poll,
                               .direct = true,
                               .fd = fd,
                               .flags = static_cast<std::uint16_t>(events)},
            "descriptor"};
}

/// Do futex_wait and futex_wake work here: does the kernel's ring have them, and does the
/// environment, RUNNEL_DISABLE=futex, not forbid them? The kernel is asked once a process; then it
/// costs a look at the environment, and no system call.
[[nodiscard]] bool has_futex_wait() noexcept;

/// Waits while the 32-bit word at `word` has the value `expected`, until a FUTEX_WAKE whose mask
/// meets `mask` (futex(2)); the word may be shared between processes. A word that differs already
/// fails with EAGAIN. Needs Linux 6.7; ENOSYS where has_futex_wait() is false.
inline void_operation futex_wait(const std::uint32_t& word, std::uint32_t expected,
                                 std::uint32_t mask = 0xffffffff) noexcept {
    return {detail::io_request{.code = detail::io_code::futex_wait,
                               .address = detail::address_of(&word),
                               .offset = expected,
                               .extra = mask},
            "futex"};
}

/// Wakes at most `count` waiters of `word`, in this or other processes; gives how many.
inline int_operation futex_wake(const std::uint32_t& word, int count = 0x7fffffff,
                                std::uint32_t mask = 0xffffffff) noexcept {
    return {detail::io_request{.code = detail::io_code::futex_wake,
                               .address = detail::address_of(&word),
                               .offset = static_cast<std::uint64_t>(count),
                               .extra = mask},
            "futex"};
}

/// waitid(2) on a child's pidfd: fills `info` when the child changes state as `options` (WEXITED,
/// WNOWAIT, ...) say. Cancelled means that it was not reaped. Before Linux 6.7 only its end, WEXITED,
/// can be waited for: ENOSYS.
inline void_operation waitid(int pidfd, ::siginfo_t& info, int options = WEXITED) noexcept {
    return {detail::io_request{.code = detail::io_code::waitid,
                               .direct = true,
                               .fd = pidfd,
                               .flags = static_cast<std::uint32_t>(options),
                               .address = detail::address_of(&info)},
            "process descriptor"};
}

/// Ends what waits on `fd` in the loop that runs on this thread, whoever awaits it, with
/// errc::closed: to be called before a descriptor is closed, since the kernel goes on with the
/// operations of a closed one, and its number may soon be another file's. Handles that own a
/// descriptor do so in close().
void cancel_pending(int fd) noexcept;
/// The same for a loop that this thread owns and that need not be running now.
void cancel_pending(loop& on, int fd) noexcept;

}  // namespace runnel::io

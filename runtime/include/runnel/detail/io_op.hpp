// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>

#include <runnel/awaiter.hpp>
#include <runnel/detail/list.hpp>

namespace runnel::detail {

class io_driver;
struct io_gate;

/// What can be asked of the kernel.
enum class io_code : std::uint8_t {
    nop,
    read,
    write,
    recv,
    send,
    recvmsg,
    sendmsg,
    accept,
    connect,
    poll,
    futex_wait,
    futex_wake,
    waitid,
    fsync
};

/// Which queue of a descriptor an operation stands in; operations on none overtake freely.
enum class io_direction : std::uint8_t { none, in, out };

/// How an operation gets to the kernel.
enum class io_road : std::uint8_t {
    unknown,    // the plain system call has not been tried
    ring,       // as it is
    worker,     // of the kernel: the file would block whoever asks it
    readiness,  // its descriptor's is waited for, and then the plain system call is tried again
};

/// One request in the kernel's terms; what addr, off and the others mean depends on `code`.
struct io_request {
    io_code code = io_code::nop;
    io_direction direction = io_direction::none;
    bool direct = false;  // the plain system call is worth a try first
    bool stream = false;  // bytes without boundaries: may be shortened
    bool apart = false;   // by a worker of the kernel, since it may block who does it
    int fd = -1;
    std::uint32_t length = 0;
    std::uint32_t flags = 0;
    std::uint64_t address = 0;
    std::uint64_t offset = 0;
    std::uint64_t extra = 0;
};

/// An operation in flight. It lives in the awaiter, which lives in the frame, and stays there until
/// the kernel has answered: destroying it earlier aborts, since no sanitizer would see the kernel
/// write into freed memory.
class io_op : public list_node {
public:
    /// `steps`: begin() and again() are overridden. Field by field: a block copy of what has just
    /// been written field by field stalls.
    explicit io_op(const io_request& r, bool steps = true) noexcept
        : request_{r.code,   r.direction, r.direct,  r.stream, r.apart, r.fd,
                   r.length, r.flags,     r.address, r.offset, r.extra},
          steps_(steps),
          road_(r.direct ? io_road::unknown : io_road::ring) {}
    ~io_op() {
        if (state_ == state::in_flight || state_ == state::parked || state_ == state::queued)
            abort_destroyed_in_flight();
    }

    /// True if it waits, false if result() is there already.
    bool start(waiter who) noexcept;
    cancellation cancel() noexcept;
    /// What the system call would return, or a negative errno.
    [[nodiscard]] int result() const noexcept { return result_; }
    [[nodiscard]] io_request& request() noexcept { return request_; }
    [[nodiscard]] const io_request& request() const noexcept { return request_; }
    /// The handle was closed under it.
    [[nodiscard]] bool closed() const noexcept { return closed_; }
    [[nodiscard]] bool in_flight() const noexcept { return state_ == state::in_flight; }
    [[nodiscard]] std::string_view verb() const noexcept;

    // For the driver.
    /// Its turn has come, before anything is asked of the kernel; true: it needs nothing from it.
    virtual bool begin() noexcept { return false; }
    /// Looks at a result; true asks for the request, which may have been changed, once more.
    virtual bool again(int result) noexcept { return (void)result, false; }
    std::uint32_t slot = 0;

protected:
    friend class io_driver;
    enum class state : std::uint8_t { idle, queued, parked, in_flight, done };

    [[noreturn]] void abort_destroyed_in_flight() const noexcept;

    io_request request_;
    io_driver* driver_ = nullptr;
    io_gate* gate_ = nullptr;  // the queue it stands in
    waiter who_;
    int result_ = 0;
    state state_ = state::idle;
    bool cancel_asked_ = false;
    bool closed_ = false;
    bool steps_;
    io_road road_;
};

}  // namespace runnel::detail

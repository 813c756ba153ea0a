// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <runnel/unique_fd.hpp>

// Segments: memfds that carry what of a body does not fit into its datagram. A fresh one costs more
// than copying through a socket, for its page faults; one that is used again costs half as much.
//
// Nobody maps them: they are written and read by system calls, whose only cost here is a look-up a
// page. So there is nothing in them that another process could change between a check and its use,
// truncating them is a short read and no SIGBUS, and a hole is zeros and no memory of the reader's.
//
// O_NONBLOCK, which sender and receivers share since the descriptor is one and means nothing to a
// memfd, says that the receiver is through with it. The descriptor goes along with every message,
// since each may go to another receiver, so a sender need not know who has seen which. A receiver
// that is killed before it says so keeps its segment from being used again, no more: the sender
// takes another one.
//
// A hostile peer can hold the write lock of a memfd for as long as it likes: it writes there what it
// makes the kernel wait for. Receivers take that lock nowhere, neither to read nor to say that they
// are through, and senders when they fill a segment: so one that a hostile receiver has had must not
// be used again (pipe_options::reuse_memory). Nor is anything but a memfd asked for more than its
// seals; closing it is all that can still wait for a peer, if it is a file of a file system which
// that peer serves.

namespace runnel::ipc::detail {

class segment_pool;

/// A segment with the bytes of one message, until it is known what became of the message.
class segment_loan {
public:
    segment_loan() noexcept = default;
    segment_loan(segment_loan&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)),
          slot_(other.slot_),
          file_(std::move(other.file_)) {}
    segment_loan& operator=(segment_loan&& other) noexcept;
    /// It may have been sent.
    ~segment_loan() { sent(); }

    /// -1 if there is none.
    [[nodiscard]] int number() const noexcept;
    void sent() noexcept;
    void not_sent() noexcept;

private:
    friend segment_pool;
    segment_loan(segment_pool& pool, std::size_t slot) noexcept : pool_(&pool), slot_(slot) {}
    explicit segment_loan(unique_fd file) noexcept : file_(std::move(file)) {}

    segment_pool* pool_ = nullptr;
    std::size_t slot_ = 0;
    unique_fd file_;  // of a segment for one message
};

/// The segments of one sending handle. As many exist as were needed at a time, at most
/// `most_slots`, and at most `most_kept` bytes of them while no message is under way.
class segment_pool {
public:
    static constexpr std::size_t most_slots = 8;
    static constexpr std::uint64_t most_kept = std::uint64_t{32} << 20;
    /// After so many messages without a segment the pool is not worth its memory.
    static constexpr unsigned idle_limit = 256;

    segment_pool() noexcept;
    segment_pool(const segment_pool&) = delete;
    segment_pool& operator=(const segment_pool&) = delete;

    /// Puts `bytes` into a segment, without `reuse` into one that nobody has seen. Throws
    /// std::system_error (EMFILE, ENOMEM, EFBIG, ...).
    segment_loan put(std::span<const std::byte> bytes, bool reuse = true);
    /// Closes what is not needed for messages under way.
    void clear() noexcept;
    void count_idle() noexcept {
        if (++idle_ == idle_limit) clear();
    }
    [[nodiscard]] std::uint64_t kept() const noexcept;

private:
    friend segment_loan;
    enum class state : std::uint8_t { none, free, lent, out };
    struct slot {
        unique_fd file;
        std::uint64_t size = 0;
        std::uint64_t order = 0;  // when it was sent
        state is = state::none;
        bool drop = false;  // when it comes back
    };

    slot* choose() noexcept;
    void settle(std::size_t index, state now) noexcept;

    std::array<slot, most_slots> slots_;
    std::uint64_t sent_ = 0;
    unsigned idle_ = 0;
    unsigned forks_;  // of which process it is
};

/// Why a descriptor from a peer is no segment with `length` bytes; null if it is. Nothing was read
/// before.
const char* segment_flaw(int fd, std::uint64_t length) noexcept;
/// Copies what lies at `at` of a segment's bytes; false if it was truncated meanwhile.
bool read_segment(int fd, std::span<std::byte> into, std::size_t at) noexcept;
/// Says that the receiver is through with it.
void release_segment(int fd) noexcept;

}  // namespace runnel::ipc::detail

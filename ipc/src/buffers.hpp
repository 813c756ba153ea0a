// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include <sys/socket.h>

#include <runnel/ipc/detail/message.hpp>

#include "segment.hpp"

namespace runnel::ipc::detail {

/// Room for the descriptors of one message, as sendmsg(2) and recvmsg(2) want it.
struct control_block {
    /// For what comes before the descriptors where somebody has set SO_PASSCRED.
    static constexpr std::size_t credentials = CMSG_SPACE(sizeof(::ucred));
    alignas(::cmsghdr)
        std::array<std::byte, credentials + CMSG_SPACE(most_descriptors * sizeof(int))> bytes;

    /// Puts `numbers` and, if it is not negative, `last` into it and into `message`.
    void put(::msghdr& message, std::span<const int> numbers, int last) noexcept;
    /// Offers it to a recvmsg, for `count` descriptors; a few more can come.
    void offer(::msghdr& message, std::size_t count) noexcept {
        message.msg_control = bytes.data();
        message.msg_controllen = credentials + CMSG_SPACE(count * sizeof(int));
    }
    /// Owns what recvmsg has left in it, and closes the descriptor of the sender that comes where
    /// somebody has set SO_PASSPIDFD. `into` has room for all.
    static void collect(::msghdr& message, std::vector<unique_fd>& into) noexcept;
};

/// What a message needs while it is sent.
struct outgoing {
    encoder body;
    segment_loan segment;
    control_block control;

    void reset() noexcept {
        body.clear();
        segment.sent();
    }
};

/// What a message needs from its receipt to its decoding.
struct incoming {
    incoming() {
        handles.reserve(most_descriptors);
        spare.reserve(most_descriptors);
    }
    std::array<std::byte, sizeof(frame_header) + largest_datagram_body> bytes;
    std::size_t size = 0;
    int flags = 0;
    std::vector<unique_fd> handles;
    std::vector<unique_fd> spare;  // duplicates, from the look at the message
    control_block control;
    std::unique_ptr<std::byte[]> whole;  // a large body, put together
    std::size_t capacity = 0;

    /// Room for a large body.
    std::span<std::byte> room(std::size_t size);
    void reset() noexcept {
        handles.clear();
        spare.clear();
        size = 0;
        flags = 0;
    }
};

/// Taken from what this thread has used before, if there is any.
std::unique_ptr<outgoing, give_back> take_outgoing();
std::unique_ptr<incoming, give_back> take_incoming();

/// recvmsg gives 0 at the end, and for an empty datagram, which no sender of ours makes. Whether it
/// was the end: nobody can send any more, and nothing is left.
bool is_end(int fd) noexcept;

}  // namespace runnel::ipc::detail

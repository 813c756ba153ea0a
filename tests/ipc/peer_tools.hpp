// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <sys/socket.h>
#include <sys/stat.h>

#include <runnel/ipc/pipe.hpp>
#include <runnel/runnel.hpp>

#include "message_tools.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"

// For tests of what a peer sends or receives by hand, and of what is said to it.

namespace runnel::test {

/// "" or why recv failed; the code must be `code`.
template <class T>
task<std::string> refusal(ipc::connection<T>& at, std::error_code code = errc::protocol) {
    std::string text = "nothing was refused";
    try {
        auto got = co_await at.recv();
        if (!got) text = "the end";
    } catch (const std::system_error& e) {
        text = e.what();
        if (e.code() != code) text = "another code: " + text;
    }
    co_return text;
}
inline bool says(const std::string& text, const char* what) {
    UNSCOPED_INFO(text);
    return text.starts_with("recv on pipe ") && text.find(what) != std::string::npos;
}

/// What a receiver of T says of `message`, which closes it.
template <class T>
std::string refused(const raw_message& message) {
    std::string text;
    run([&]() -> task<> {
        const descriptor_count before;
        auto ends = ipc::pipe<T>();
        REQUIRE(message.post(ends.first.native_handle()));
        text = co_await refusal(ends.second);
        CHECK(ends.second.closed());
        ends.first.close();
        CHECK(before.unchanged());
    });
    return text;
}

inline raw_message in_segment(const unique_fd& file, std::size_t length) {
    raw_message made;
    made.head.kind = ipc::detail::frame_header::in_segment;
    made.head.length = length;
    made.head.serial = 5;
    made.descriptors = {file.get()};
    return made;
}

inline constexpr std::size_t large = std::size_t{1} << 20;

/// Bytes that are all the same.
inline ipc::bytes filled(std::size_t size, int with) {
    return ipc::bytes(size, static_cast<std::byte>(with));
}
inline bool is_filled(const std::optional<ipc::bytes>& got, std::size_t size, int with) {
    return got && *got == filled(size, with);
}

/// A large message as it lies in the socket: looked at, not taken.
struct looked_at {
    unique_fd segment;
    ipc::detail::frame_header head;
    explicit looked_at(int fd, int flags = MSG_PEEK) {
        ::iovec part{&head, sizeof head};
        ::msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        alignas(::cmsghdr) char control[CMSG_SPACE(sizeof(int))];
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        if (::recvmsg(fd, &message, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0) return;
        if (const ::cmsghdr* c = CMSG_FIRSTHDR(&message)) {
            int number = -1;
            std::memcpy(&number, CMSG_DATA(c), sizeof number);
            segment.reset(number);
        }
    }
    [[nodiscard]] ::ino_t inode() const {
        struct ::stat file{};
        ::fstat(segment.get(), &file);
        return file.st_ino;
    }
};

}  // namespace runnel::test

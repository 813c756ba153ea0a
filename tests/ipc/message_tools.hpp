// SPDX-License-Identifier: MIT
#pragma once

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/message.hpp>

#include "support/environment.hpp"

namespace runnel::test {

inline std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

/// fn in a forked process, which ends with what it returns; killed after 30 seconds.
inline ::pid_t in_child(const std::function<int()>& fn) {
    const ::pid_t child = ::fork();
    if (child != 0) return child;
    ::alarm(30);
    int status = 99;
    try {
        status = fn();
    } catch (const std::exception& e) {
        std::fprintf(stderr, "child: %s\n", e.what());
    }
    ::_exit(status);
}
/// The exit status of a child, or 128 and the signal that killed it.
inline int exit_of(::pid_t child) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Datagrams made by hand.
struct raw_message {
    ipc::detail::frame_header head;
    std::string body;
    std::vector<int> descriptors;

    bool post(int fd) const {
        std::string bytes(reinterpret_cast<const char*>(&head), sizeof head);
        bytes += body;
        return post_bytes(fd, bytes, descriptors);
    }
    static bool post_bytes(int fd, std::string_view bytes, std::span<const int> numbers = {}) {
        ::iovec part{const_cast<char*>(bytes.data()), bytes.size()};
        ::msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        alignas(::cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))];
        if (!numbers.empty()) {
            message.msg_control = control;
            message.msg_controllen = CMSG_SPACE(numbers.size_bytes());
            ::cmsghdr* to = CMSG_FIRSTHDR(&message);
            to->cmsg_level = SOL_SOCKET;
            to->cmsg_type = SCM_RIGHTS;
            to->cmsg_len = CMSG_LEN(numbers.size_bytes());
            std::memcpy(CMSG_DATA(to), numbers.data(), numbers.size_bytes());
        }
        return ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
    }
};

/// A right message with `value`, which has no descriptors.
template <class T>
raw_message message_of(const T& value) {
    ipc::encoder out;
    ipc::encode(out, value);
    raw_message made;
    made.body.assign(reinterpret_cast<const char*>(out.bytes().data()), out.bytes().size());
    made.head.length = made.body.size();
    return made;
}

inline constexpr int all_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
/// A memfd with `body`, grown to `size`.
inline unique_fd memory_file(std::string_view body, std::size_t size, int seals) {
    unique_fd file(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (::write(file.get(), body.data(), body.size()) < 0) std::abort();
    if (::ftruncate(file.get(), static_cast<::off_t>(size)) != 0) std::abort();
    if (seals != 0 && ::fcntl(file.get(), F_ADD_SEALS, seals) != 0) std::abort();
    return file;
}
/// A segment with `body`, as a sender makes it.
inline unique_fd segment_file(std::string_view body) { return memory_file(body, body.size(), 0); }

}  // namespace runnel::test

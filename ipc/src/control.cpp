// SPDX-License-Identifier: MIT
#include "control.hpp"

#include <array>
#include <cerrno>
#include <cstring>

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <runnel/error.hpp>

namespace runnel::ipc::detail::control {
namespace {

struct header {
    std::uint32_t what;
    std::uint32_t in_segment;  // the bytes are in the file that is the first handle
    std::uint64_t size;
};

constexpr std::size_t most_inline = 32 * 1024;  // far below what a socket takes without waiting
constexpr std::size_t most_handles = 250;       // the kernel takes 253 a message

constexpr const char* object = "control socket";

void send_message(int socket, const header& head, std::span<const std::byte> bytes,
                  std::span<const int> handles) {
    std::array<::iovec, 2> parts{{{const_cast<header*>(&head), sizeof head},
                                  {const_cast<std::byte*>(bytes.data()), bytes.size()}}};
    alignas(::cmsghdr) std::array<std::byte, CMSG_SPACE(most_handles * sizeof(int))> control{};
    ::msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    if (!handles.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(handles.size_bytes());
        ::cmsghdr* first = CMSG_FIRSTHDR(&message);
        first->cmsg_level = SOL_SOCKET;
        first->cmsg_type = SCM_RIGHTS;
        first->cmsg_len = CMSG_LEN(handles.size_bytes());
        std::memcpy(CMSG_DATA(first), handles.data(), handles.size_bytes());
    }
    while (::sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
        if (errno != EINTR) throw_errno(errno, "send", object, socket);
}

unique_fd make_segment(std::span<const std::byte> bytes) {
    unique_fd file(::memfd_create("runnel-result", MFD_CLOEXEC));
    if (!file) throw_errno(errno, "memfd_create", "result");
    while (!bytes.empty()) {
        const ::ssize_t n = ::write(file.get(), bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) throw_errno(errno, "write", "result");
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return file;
}

std::vector<std::byte> read_segment(int file, std::uint64_t size) {
    struct ::stat about{};
    if (::fstat(file, &about) != 0) throw_errno(errno, "stat", "result");
    if (!S_ISREG(about.st_mode) || static_cast<std::uint64_t>(about.st_size) != size)
        throw_error(errc::protocol, "recv", object);
    std::vector<std::byte> bytes(size);
    for (std::size_t done = 0; done < bytes.size();) {
        const ::ssize_t n =
            ::pread(file, bytes.data() + done, bytes.size() - done, static_cast<::off_t>(done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) throw_errno(errno, "read", "result");
        if (n == 0) throw_error(errc::protocol, "recv", object);
        done += static_cast<std::size_t>(n);
    }
    return bytes;
}

}  // namespace

void send(int socket, child_report::kind what, std::span<const std::byte> bytes,
          std::span<const int> handles) {
    unique_fd segment;
    std::vector<int> all;
    header head{static_cast<std::uint32_t>(what), 0, bytes.size()};
    if (bytes.size() > most_inline) {
        segment = make_segment(bytes);
        head.in_segment = 1;
        all.push_back(segment.get());
        bytes = {};
    }
    all.insert(all.end(), handles.begin(), handles.end());
    std::span<const int> rest = all;
    const std::size_t with_segment = head.in_segment;
    // Handles beyond the first messageful go ahead, in messages of their own; the message that says
    // what it is all about is the last.
    std::span<const int> last = rest.first(std::min(rest.size(), most_handles));
    rest = rest.subspan(last.size());
    const header more{static_cast<std::uint32_t>(child_report::kind::more_handles), 0, 0};
    if (!rest.empty()) {
        // In order: everything but the segment travels ahead, the segment with the report.
        rest = std::span<const int>(all).subspan(with_segment);
        last = std::span<const int>(all).first(with_segment);
        while (!rest.empty()) {
            const std::size_t n = std::min(rest.size(), most_handles);
            send_message(socket, more, {}, rest.first(n));
            rest = rest.subspan(n);
        }
    }
    send_message(socket, head, bytes, last);
}

std::optional<child_report> receive(int socket) {
    header head{};
    std::vector<std::byte> bytes(most_inline);
    std::array<::iovec, 2> parts{{{&head, sizeof head}, {bytes.data(), bytes.size()}}};
    alignas(::cmsghdr) std::array<std::byte, CMSG_SPACE((most_handles + 1) * sizeof(int))> control;
    ::msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ::ssize_t n;
    do {
        n = ::recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        // Reset: the child has left without reading the request to stop. Its report is behind that.
    } while (n < 0 && (errno == EINTR || errno == ECONNRESET));
    if (n < static_cast<::ssize_t>(sizeof head)) return std::nullopt;

    child_report got;
    for (::cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int number = -1;
            std::memcpy(&number, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            got.handles.emplace_back(number);
        }
    }
    if ((message.msg_flags & MSG_CTRUNC) != 0) throw_errno(EMFILE, "recv", object, socket);
    got.what = static_cast<child_report::kind>(head.what);
    if (head.in_segment != 0) {
        if (got.handles.empty()) throw_error(errc::protocol, "recv", object);
        bytes = read_segment(got.handles.front().get(), head.size);
        got.handles.erase(got.handles.begin());
    } else {
        bytes.resize(static_cast<std::size_t>(n) - sizeof head);
    }
    got.bytes = std::move(bytes);
    // A peek has made duplicates of the descriptors; the message goes with its own.
    std::byte nothing;
    [[maybe_unused]] const auto gone = ::recv(socket, &nothing, 0, MSG_DONTWAIT);
    return got;
}

}  // namespace runnel::ipc::detail::control

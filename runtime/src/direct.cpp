// SPDX-License-Identifier: MIT
// Direct attempts: the system call that an operation stands for, without blocking. They leave the
// descriptor's O_NONBLOCK alone, which belongs to everybody who shares the open file.
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/io.hpp>

#include "backend.hpp"

namespace runnel::detail {

namespace {

bool is_nonblocking(int fd) noexcept {
    const int flags = ::fcntl(fd, F_GETFL);
    return flags != -1 && (flags & O_NONBLOCK) != 0;
}

/// Terminals, and before Linux 6.4 pipes and 6.5 sockets, know no NOWAIT. Sockets have flags for it.
/// The others are asked if somebody has made them O_NONBLOCK, for which the ring would not wait.
int call_without_nowait(const io_request& r) noexcept {
    auto* const at = reinterpret_cast<void*>(r.address);
    const bool reads = r.code == io_code::read;
    const bool nonblocking = is_nonblocking(r.fd);
    const bool anywhere = r.offset == static_cast<std::uint64_t>(-1);
    bool socket = anywhere;
    long n = -1;
    do {
        if (socket)
            n = reads ? ::recv(r.fd, at, r.length, MSG_DONTWAIT)
                      : ::send(r.fd, at, r.length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (socket && n < 0 && errno == ENOTSOCK) socket = false;
        if (!socket && (!nonblocking || !anywhere)) return backend::in_worker;
        if (!socket) n = reads ? ::read(r.fd, at, r.length) : ::write(r.fd, at, r.length);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) return static_cast<int>(n);
    if (errno != EWOULDBLOCK) return -errno;
    return nonblocking ? backend::when_ready : backend::not_now;
}

}  // namespace

int call_now(const io_request& r) noexcept {
    long n = -1;
    do {
        switch (r.code) {
            case io_code::read:
            case io_code::write: {
                const ::iovec part{reinterpret_cast<void*>(r.address), r.length};
                const auto at = static_cast<::off_t>(r.offset);
                n = r.code == io_code::read ? ::preadv2(r.fd, &part, 1, at, RWF_NOWAIT)
                                            : ::pwritev2(r.fd, &part, 1, at, RWF_NOWAIT);
                break;
            }
            case io_code::recv:
                n = ::recv(r.fd, reinterpret_cast<void*>(r.address), r.length,
                           static_cast<int>(r.flags) | MSG_DONTWAIT);
                break;
            case io_code::send:
                n = ::send(r.fd, reinterpret_cast<const void*>(r.address), r.length,
                           static_cast<int>(r.flags) | MSG_DONTWAIT);
                break;
            case io_code::recvmsg:
                n = ::recvmsg(r.fd, reinterpret_cast<::msghdr*>(r.address),
                              static_cast<int>(r.flags) | MSG_DONTWAIT);
                break;
            case io_code::sendmsg:
                n = ::sendmsg(r.fd, reinterpret_cast<const ::msghdr*>(r.address),
                              static_cast<int>(r.flags) | MSG_DONTWAIT);
                break;
            case io_code::poll: {
                ::pollfd one{r.fd, static_cast<short>(r.flags), 0};
                n = ::poll(&one, 1, 0);
                if (n == 0) return backend::not_now;
                if (n > 0) return one.revents & POLLNVAL ? -EBADF : one.revents;
                break;
            }
            case io_code::waitid: {
                auto* info = reinterpret_cast<::siginfo_t*>(r.address);
                info->si_pid = 0;
                n = ::waitid(P_PIDFD, static_cast<::id_t>(r.fd), info,
                             static_cast<int>(r.flags) | WNOHANG);
                if (n == 0 && info->si_pid == 0) return backend::not_now;
                break;
            }
            default: return backend::not_now;
        }
    } while (n < 0 && errno == EINTR);
    if (n >= 0) return static_cast<int>(n);
    if (errno == EOPNOTSUPP && (r.code == io_code::read || r.code == io_code::write))
        return call_without_nowait(r);
    return errno == EWOULDBLOCK ? backend::not_now : -errno;
}

io_road road_of(const io_request& r) noexcept {
    struct ::stat found{};
    if ((r.code != io_code::read && r.code != io_code::write) || ::fstat(r.fd, &found) != 0 ||
        !S_ISCHR(found.st_mode))
        return io_road::ring;
    return is_nonblocking(r.fd) ? io_road::readiness : io_road::worker;
}

bool feature_disabled(const char* feature) noexcept {
    const char* list = std::getenv("RUNNEL_DISABLE");
    if (list == nullptr) return false;
    std::string_view left(list);
    while (!left.empty()) {
        const auto comma = left.find(',');
        if (left.substr(0, comma) == feature) return true;
        if (comma == std::string_view::npos) break;
        left.remove_prefix(comma + 1);
    }
    return false;
}

}  // namespace runnel::detail

bool runnel::io::has_futex_wait() noexcept {
    return !runnel::detail::feature_disabled("futex") && runnel::detail::kernel_has_futex();
}

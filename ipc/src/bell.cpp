// SPDX-License-Identifier: MIT
#include <runnel/ipc/detail/bell.hpp>

#include <array>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <runnel/error.hpp>
#include <runnel/io.hpp>

namespace runnel::ipc::detail {

void ring_sleepers(bell& one, const bell_register& registered) noexcept {
    const std::uint32_t told = one.sleepers.load();
    one.rung.fetch_add(1);
    ::syscall(SYS_futex, &one.rung, FUTEX_WAKE, 0x7fffffff, nullptr, nullptr, 0);
    if (registered.used()) registered.ring_all();
    // Last: until then others ring as well, for this one may die. Not what was said since.
    one.all_awake(told);
}

bell_register bell_register::make() {
    bell_register made;
    if (io::has_futex_wait()) return made;
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
        throw_errno(errno, "socketpair", "ipc object");
    made.out_.reset(ends[0]);
    made.in_.reset(ends[1]);
    return made;
}

void bell_register::ring_all() const noexcept {
    // Without room for control data the kernel drops the descriptors that come along.
    char byte;
    for (;;) {
        const ::ssize_t n = ::recv(out_.get(), &byte, 1, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
    }
}

unique_fd bell_register::enter() const noexcept {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {};
    unique_fd watched(ends[0]);
    const unique_fd left(ends[1]);
    char byte = 'w';
    ::iovec part{&byte, 1};
    const int number = left.get();
    alignas(::cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof number)> control{};
    ::msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ::cmsghdr* first = CMSG_FIRSTHDR(&message);
    first->cmsg_level = SOL_SOCKET;
    first->cmsg_type = SCM_RIGHTS;
    first->cmsg_len = CMSG_LEN(sizeof number);
    std::memcpy(CMSG_DATA(first), &number, sizeof number);
    for (bool again = true;;) {
        if (::sendmsg(in_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return watched;
        if (errno == EINTR) continue;
        if ((errno != EAGAIN && errno != ETOOMANYREFS) || !again) return {};
        // Full, of sleepers who may be dead or gone: those who live come again. Too many of this
        // user's descriptors can be under way elsewhere, too.
        ring_all();
        again = false;
    }
}

void bell_register::write(encoder& out) const {
    out.write_handle(out_.get());
    out.write_handle(in_.get());
}

bell_register bell_register::read(decoder& in) {
    bell_register made;
    made.out_ = in.read_handle();
    made.in_ = in.read_handle();
    if (bool(made.in_) != bool(made.out_)) in.fail("half a register of sleepers");
    if (!made.used() && !io::has_futex_wait())
        throw_errno(ENOSYS, "attach", "ipc object: it waits with io_uring's futex operations");
    return made;
}

}  // namespace runnel::ipc::detail

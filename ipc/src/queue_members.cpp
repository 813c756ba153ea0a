// SPDX-License-Identifier: MIT
#include "queue_members.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "owner.hpp"

namespace runnel::ipc::detail {
namespace {

/// When a process was started, in ticks since the machine was (proc(5), field 22); 0 if there is
/// none. With its pid it names a process for ever.
std::uint64_t start_of(std::uint32_t pid) noexcept {
    char path[40];
    std::snprintf(path, sizeof path, "/proc/%u/stat", pid);
    const unique_fd file(::open(path, O_RDONLY | O_CLOEXEC));
    char text[1024];
    const ::ssize_t n = file ? ::read(file.get(), text, sizeof text - 1) : -1;
    if (n <= 0) return 0;
    text[n] = '\0';
    const char* at = std::strrchr(text, ')');  // names can hold anything
    for (int field = 2; at != nullptr && field < 22; ++field) at = std::strchr(at + 1, ' ');
    return at != nullptr ? std::strtoull(at + 1, nullptr, 10) : 0;
}

}  // namespace

bool queue_members::valid() const noexcept {
    return mine_ != nullptr && mine_->who.load(std::memory_order_relaxed) == own_who_ &&
           forks_ == fork_count();
}

std::size_t queue_members::own(bool& fresh) noexcept {
    fresh = false;
    if (valid()) return own_;
    own_ = none;
    mine_ = nullptr;
    for (std::size_t i = 0; i < most; ++i) {
        member& place = at(i);
        const std::uint64_t before = place.who.load();
        if (pid_of(before) != 0) continue;
        const auto pid = static_cast<std::uint32_t>(::getpid());
        place.started = start_of(pid);
        place.taken.store(0);
        place.finished.store(0);
        own_who_ = ((before >> 32) + 1) << 32 | pid;
        place.who.store(own_who_);
        own_ = i;
        mine_ = &place;
        forks_ = fork_count();
        fresh = true;
        break;
    }
    return own_;
}

void queue_members::leave() noexcept {
    if (valid()) free(own_);
    own_ = none;
    mine_ = nullptr;
}

unique_fd queue_members::watch(const member& one) noexcept {
    const std::uint32_t pid = pid_of(one.who.load());
    const std::uint64_t started = one.started;
    unique_fd fd(pid != 0 ? static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)) : -1);
    // Its number may be that of a thread meanwhile, or never have been one.
    if (pid == 0 || (!fd && (errno == ENOENT || errno == EINVAL))) errno = ESRCH;
    if (!fd) return fd;
    if (const std::uint64_t now = start_of(pid); now != 0 && started != 0 && now != started) {
        fd.reset();  // its number is another's now
        errno = ESRCH;
    }
    return fd;
}

bool queue_members::dead(const member& one) noexcept {
    const unique_fd fd = watch(one);
    if (!fd) return errno == ESRCH;
    ::pollfd ended{fd.get(), POLLIN, 0};
    return ::poll(&ended, 1, 0) == 1;
}

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
#include "owner.hpp"

#include <atomic>
#include <cerrno>
#include <fstream>
#include <string>

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace runnel::ipc::detail {
namespace {

std::atomic<unsigned> forks{0};
const int fork_counter = ::pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });

}  // namespace

unsigned fork_count() noexcept { return forks.load(std::memory_order_relaxed); }

std::uint32_t own_tid() noexcept {
    struct known {
        std::uint32_t tid;
        unsigned forks;
    };
    static constinit thread_local known me{0, 0};
    if (me.tid == 0 || me.forks != fork_count()) [[unlikely]]
        me = {static_cast<std::uint32_t>(::gettid()), fork_count()};
    return me.tid;
}

unique_fd open_pidfd(std::uint32_t tid) {
    constexpr unsigned pidfd_thread = O_EXCL;
    const auto open = [](std::uint32_t id, unsigned flags) {
        return unique_fd(static_cast<int>(::syscall(SYS_pidfd_open, id, flags)));
    };
    unique_fd fd = open(tid, pidfd_thread);
    if (fd || errno != EINVAL) return fd;
    fd = open(tid, 0);
    if (fd || (errno != EINVAL && errno != ENOENT)) return fd;
    std::ifstream status("/proc/" + std::to_string(tid) + "/status");
    for (std::string field; status >> field;) {
        std::uint32_t process = 0;
        if (field == "Tgid:" && status >> process) return open(process, 0);
    }
    errno = ESRCH;
    return {};
}

}  // namespace runnel::ipc::detail

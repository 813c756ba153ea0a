// SPDX-License-Identifier: MIT
#include <runnel/ipc/spawn.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/error.hpp>
#include <runnel/fork.hpp>

#include "child_main.hpp"
#include "control.hpp"
#include "identity.hpp"
#include "threads.hpp"

namespace runnel::ipc::detail {
namespace {

/// Above 0, 1 and 2, which a child keeps, even where the host has closed one of these.
unique_fd above_stdio(int number, const char* operation) {
    if (number < 0) throw_errno(errno, operation, "process");
    unique_fd fd(number);
    if (number > 2) return fd;
    unique_fd moved(::fcntl(number, F_DUPFD_CLOEXEC, 3));
    if (!moved) throw_errno(errno, operation, "process");
    return moved;
}

void require_one_thread() {
    const unsigned threads = count_threads();
    if (threads <= 1) return;
    throw std::system_error(
        std::make_error_code(std::errc::operation_not_permitted),
        "spawn on process: this process has " + std::to_string(threads) +
            " threads, and a fork would copy one of them with the locks of all; spawn before "
            "threads are started, or from a child that was spawned before");
}

void flush_streams() {
    std::cout.flush();
    std::clog.flush();
    std::wcout.flush();
    std::wclog.flush();
    std::fflush(nullptr);
}

/// No handler of the parent may run in the child, so no signal is taken around the fork.
class signals_blocked {
public:
    signals_blocked() noexcept {
        ::sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~signals_blocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    signals_blocked(const signals_blocked&) = delete;
    signals_blocked& operator=(const signals_blocked&) = delete;

private:
    ::sigset_t before_;
};

}  // namespace

std::shared_ptr<child> start_child(std::string_view name, std::chrono::nanoseconds grace,
                                   const encoder& args, child_body body, const void* fn) {
    if (in_virtual_time())
        throw std::logic_error("spawn on process: refused on a loop with virtual time");
    require_one_thread();

    std::array<int, 2> ends{-1, -1};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
        throw_errno(errno, "socketpair", "process");
    unique_fd child_end(ends[1]);
    unique_fd parent_end = above_stdio(ends[0], "socketpair");
    child_end = above_stdio(child_end.release(), "socketpair");
    // On the root directory and of no use but to occupy numbers: reading, writing and all the
    // others fail with EBADF.
    const unique_fd filler = above_stdio(::open("/", O_PATH | O_CLOEXEC), "open");

    // Taken here, where it can be told if there are no more: the child has no more room than its
    // parent, since the numbers of the parent's descriptors stay occupied in it.
    std::vector<unique_fd> handles;
    handles.reserve(args.handles().size());
    for (const int number : args.handles())
        handles.push_back(above_stdio(::fcntl(number, F_DUPFD_CLOEXEC, 3), "duplicate a handle"));
    std::array<unique_fd, 3> room;  // a loop's two, and one to look with
    for (unique_fd& each : room)
        each = above_stdio(::fcntl(filler.get(), F_DUPFD_CLOEXEC, 3), "make room");

    const std::string automatic = identity::own().next_child();
    const auto made = std::make_shared<child>(name.empty() ? automatic : std::string(name), grace);
    child_start start{made->name(), automatic, args, body,        fn,
                      child_end,    handles,   room, filler.get()};
    flush_streams();
    ::pid_t pid;
    unique_fd pidfd;
    int why;
    {
        // Until there is a pidfd, since a handler of the host may wait for any child.
        const signals_blocked around;
        pid = ::fork();
        if (pid == 0) child_main(start);
        why = errno;
        child_end.reset();
        handles.clear();
        room = {};  // for the pidfd, too
        if (pid > 0) {
            pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
            why = errno;
        }
    }
    if (pid < 0) throw_errno(why, "fork", "process");
    if (!pidfd && why == ESRCH) {
        // The host ignores SIGCHLD, and the kernel has reaped the child already: the number is
        // nobody's now, or somebody else's.
        made->gone(pid, std::move(parent_end));
        return made;
    }
    if (!pidfd) {
        ::kill(pid, SIGKILL);
        while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
        }
        throw_errno(why, "pidfd_open", "process", pid);
    }
    made->started(pid, std::move(pidfd), std::move(parent_end));
    return made;
}

}  // namespace runnel::ipc::detail

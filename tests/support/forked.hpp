// SPDX-License-Identifier: MIT
#pragma once

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <system_error>
#include <utility>

#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/fork.hpp>
#include <runnel/run.hpp>

namespace runnel::test {

/// Forks a process that lives no longer than this one, dies of signals as any other, and has none
/// of its loops: in it calls fn(), a status, and ends. Gives its id.
template <class F>
::pid_t forked(F fn) {
    std::fflush(nullptr);
    const ::pid_t parent = ::getpid();
    const ::pid_t child = ::fork();
    if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (child != 0) return child;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(0);
    for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTERM, SIGINT})
        ::signal(number, SIG_DFL);
    reset_after_fork();
    ::_exit(fn());
}

/// The same for a task, which `make` gives, on a loop of its own. The status is 1, and the reason
/// on stderr, if it throws.
template <class Make>
::pid_t forked_task(const char* role, Make make) {
    return forked([&] {
        try {
            run(make());
            return 0;
        } catch (const std::exception& e) {
            std::fprintf(stderr, "%s: %s\n", role, e.what());
            return 1;
        }
    });
}

/// Waits for the end of a child; its status.
inline int reaped(::pid_t child) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

}  // namespace runnel::test

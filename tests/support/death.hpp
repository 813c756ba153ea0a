// SPDX-License-Identifier: MIT
#pragma once

#include <cerrno>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/forked.hpp"

namespace runnel::test {

/// How a process ended: by which signal, or 0, and what it had to say on stderr.
struct death {
    int signal = 0;
    std::string text;
    [[nodiscard]] bool says(const std::string& part) const {
        return text.find(part) != std::string::npos;
    }
};

/// Calls fn() in a forked process, which is to die of it; one that hangs dies of SIGALRM.
template <class F>
death death_of(F fn) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
        throw std::system_error(errno, std::generic_category(), "pipe");
    const ::pid_t child = forked([&] {
        const ::rlimit no_core{};
        ::setrlimit(RLIMIT_CORE, &no_core);
        ::dup2(ends[1], STDERR_FILENO);
        ::close(ends[1]);
        ::alarm(30);
        fn();
        return 0;
    });
    ::close(ends[1]);
    death end;
    char part[1024];
    for (;;) {
        const auto n = ::read(ends[0], part, sizeof part);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        end.text.append(part, static_cast<std::size_t>(n));
    }
    ::close(ends[0]);
    const int status = reaped(child);
    if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
    return end;
}

}  // namespace runnel::test

// SPDX-License-Identifier: MIT
#include <runnel/fork.hpp>

#include <cerrno>
#include <csignal>
#include <span>

#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

struct socket_pair {
    socket_pair() {
        int fds[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        mine.reset(fds[0]);
        other.reset(fds[1]);
    }
    unique_fd mine, other;
};

bool becomes(int fd, short event, int milliseconds) {
    ::pollfd one{fd, event, 0};
    return ::poll(&one, 1, milliseconds) == 1 && (one.revents & event) != 0;
}

/// Holds nothing but its memory.
[[noreturn]] void stay_without_descriptors() {
    ::alarm(60);
    ::syscall(SYS_close_range, 0U, ~0U, 0U);
    for (;;) ::pause();
}

}  // namespace

TEST_CASE(
    "what a killed process waited for hangs up at once, though a child that it forked lives") {
    // The orphan becomes a child of this process, which can wait for it.
    REQUIRE(::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    socket_pair watched;
    socket_pair report;
    const ::pid_t parent = ::fork();
    if (parent == 0) {
        ::alarm(60);
        reset_after_fork();
        watched.mine.reset();
        report.mine.reset();
        loop l;
        l.start([&]() -> task<> {
            char c;
            co_await io::recv(watched.other.get(), std::as_writable_bytes(std::span(&c, 1)));
        });
        l.start([&]() -> task<> {
            for (int i = 0; i < 3; ++i) co_await io::nop();  // the receive is armed in the ring
            const ::pid_t child = ::fork();
            if (child == 0) stay_without_descriptors();
            if (::send(report.other.get(), &child, sizeof child, 0) != sizeof child) ::_exit(1);
            co_await sleep_for(1h);
        });
        l.run();
        ::_exit(2);
    }
    REQUIRE(parent > 0);
    watched.other.reset();
    report.other.reset();
    ::pid_t child = -1;
    REQUIRE(becomes(report.mine.get(), POLLIN, 20'000));
    REQUIRE(::recv(report.mine.get(), &child, sizeof child, 0) == sizeof child);
    REQUIRE(child > 0);
    CHECK(!becomes(watched.mine.get(), POLLHUP, 0));

    ::kill(parent, SIGKILL);
    int status = 0;
    CHECK(::waitpid(parent, &status, 0) == parent);
    CHECK(WIFSIGNALED(status));
    CHECK(becomes(watched.mine.get(), POLLHUP, 2'000));

    CHECK(::kill(child, 0) == 0);
    CHECK(::waitpid(child, &status, WNOHANG) == 0);  // it lives
    ::kill(child, SIGKILL);
    CHECK(::waitpid(child, &status, 0) == child);
}

// SPDX-License-Identifier: MIT
// When io_uring is not to be had, the message says why, and what to do.
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <string>
#include <system_error>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <diagnosis.hpp>
#include <runnel/loop.hpp>

#include "support/catch.hpp"

using namespace runnel;

namespace {

/// Lets io_uring_setup fail with `error` in this process, as a container's filter does.
bool forbid_io_uring(int error) {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{sizeof program / sizeof *program, program};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/// What making a loop throws in a process under such a filter.
std::string message_under_filter(int error) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        std::string text = "no filter";
        if (forbid_io_uring(error)) {
            try {
                const loop l;
                text = "no error";
            } catch (const std::system_error& e) {
                text = e.what();
            }
        }
        const auto n = ::write(ends[1], text.data(), text.size());
        ::_exit(n < 0);
    }
    ::close(ends[1]);
    std::string text(1024, '\0');
    const auto n = ::read(ends[0], text.data(), text.size());
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
    return text;
}

bool contains(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a kernel without io_uring is named as such") {
    const std::string text = detail::explain_no_io_uring(ENOSYS, -1, false);
    INFO(text);
    CHECK(contains(text, "no io_uring"));
    CHECK(contains(text, "Linux 6.1"));
}

TEST_CASE("a seccomp filter is named, with the system calls to allow") {
    for (const int error : {EPERM, ENOSYS}) {  // Docker's says the one, Podman's the other
        const std::string text = message_under_filter(error);
        INFO(text);
        CHECK(contains(text, "seccomp"));
        CHECK(contains(text, "io_uring_enter"));
        CHECK(!contains(text, "no io_uring"));
    }
}

TEST_CASE("a kernel that has io_uring, or a filter before it, is not said to have none") {
    const std::string with_sysctl = detail::explain_no_io_uring(ENOSYS, 0, false);
    const std::string filtered = detail::explain_no_io_uring(ENOSYS, -1, true);
    CHECK(contains(with_sysctl, "seccomp"));
    CHECK(filtered == with_sysctl);
}

TEST_CASE("the sysctl that forbids io_uring is named, with the command that allows it") {
    for (const int value : {1, 2}) {
        const std::string text = detail::explain_no_io_uring(EPERM, value, false);
        INFO(text);
        CHECK(contains(text, "kernel.io_uring_disabled"));
        CHECK(contains(text, "sysctl -w"));
        CHECK(!contains(text, "seccomp"));
    }
}

TEST_CASE("the three reasons have three messages") {
    const std::string kernel = detail::explain_no_io_uring(ENOSYS, -1, false);
    const std::string sysctl = detail::explain_no_io_uring(EPERM, 2, false);
    const std::string seccomp = detail::explain_no_io_uring(EPERM, 0, false);
    CHECK(kernel != sysctl);
    CHECK(sysctl != seccomp);
    CHECK(seccomp != kernel);
}

// SPDX-License-Identifier: MIT
#include <runnel/stdio.hpp>

#include <cstdlib>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

// Each test is a child process with descriptors 0-2 of its own; it exits with 0 if all is well.

namespace {

struct child_process {
    ::pid_t pid;
    unique_fd in;         // what it reads
    unique_fd out;        // what it writes
    unique_fd in_inside;  // the child's own end, held open here
};

std::pair<unique_fd, unique_fd> new_pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    return {unique_fd(ends[0]), unique_fd(ends[1])};
}

/// A terminal: the controlling end, and the one for a program.
std::pair<unique_fd, unique_fd> new_terminal() {
    unique_fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(master);
    REQUIRE(::grantpt(master.get()) == 0);
    REQUIRE(::unlockpt(master.get()) == 0);
    unique_fd terminal(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(terminal);
    return {std::move(master), std::move(terminal)};
}

template <class F>
child_process start_child(F body, unique_fd inside, unique_fd outside) {
    auto out = new_pipe();
    const ::pid_t pid = ::fork();
    if (pid == 0) {
        ::dup2(inside.get(), 0);
        ::dup2(out.second.get(), 1);
        for (unique_fd* end : {&inside, &outside, &out.first, &out.second}) end->reset();
        int code = 99;
        try {
            code = body();
        } catch (...) {
        }
        ::_exit(code);
    }
    return {pid, std::move(outside), std::move(out.first), std::move(inside)};
}

template <class F>
child_process start_child(F body) {
    auto in = new_pipe();
    return start_child(body, std::move(in.first), std::move(in.second));
}

/// The exit status of a child that ends by itself in time; -1 and a kill otherwise.
int exit_status_of(const child_process& child) {
    const unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0)));
    ::pollfd ends{pidfd.get(), POLLIN, 0};
    const bool in_time = ::poll(&ends, 1, 20'000) == 1;
    if (!in_time) ::kill(child.pid, SIGKILL);
    int status = 0;
    ::waitpid(child.pid, &status, 0);
    return in_time && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void put(int fd, std::string_view text) {
    CHECK(::write(fd, text.data(), text.size()) == static_cast<::ssize_t>(text.size()));
}

std::string take(int fd, std::size_t length) {
    std::string text(length, '\0');
    std::size_t got = 0;
    while (got < length) {
        const auto n = ::read(fd, text.data() + got, length - got);
        if (n <= 0) break;
        got += static_cast<std::size_t>(n);
    }
    text.resize(got);
    return text;
}

/// Echoes lines until the end.
int echo() {
    return run([]() -> task<int> {
        auto in = standard_input();
        auto out = standard_output();
        while (auto line = co_await in.read_until('\n')) {
            const std::string answer = "<" + *line + ">";
            co_await out.write_all(answer);
        }
        co_return 0;
    });
}

/// Ends while a read of standard input is pending.
int end_while_reading() {
    return run([]() -> task<int> {
        auto in = standard_input();
        auto out = standard_output();
        const auto line = co_await with_timeout(in.read_until('\n'), 20ms);
        co_await out.write_all(line ? "line" : "none");
        co_return line ? 1 : 0;
    });
}

/// The same, but it is the end of the loop that stops the read.
int exit_while_reading() {
    loop l;
    l.start([]() -> task<> {
        auto in = standard_input();
        co_await in.read_until('\n');
    });
    for (int i = 0; i < 10; ++i) l.poll();
    return 0;
}

}  // namespace

TEST_CASE("standard input that is a pipe is read to its end") {
    auto child = start_child(echo);
    put(child.in.get(), "one\ntwo");
    child.in.reset();
    CHECK(take(child.out.get(), 10) == "<one><two>");
    CHECK(exit_status_of(child) == 0);
}

TEST_CASE("standard input that is a terminal is read line by line") {
    auto terminal = new_terminal();
    auto child = start_child(echo, std::move(terminal.second), std::move(terminal.first));
    put(child.in.get(), "one\n");
    CHECK(take(child.out.get(), 5) == "<one>");
    put(child.in.get(), "two\n");
    CHECK(take(child.out.get(), 5) == "<two>");
    put(child.in.get(), "\x04");
    CHECK(exit_status_of(child) == 0);
}

TEST_CASE("standard input that is a regular file is read to its end") {
    char name[] = "/tmp/runnel-stdio-XXXXXX";
    unique_fd file(::mkostemp(name, O_CLOEXEC));
    ::unlink(name);
    put(file.get(), "one\ntwo\n");
    ::lseek(file.get(), 0, SEEK_SET);
    auto child = start_child(echo, std::move(file), {});
    CHECK(take(child.out.get(), 10) == "<one><two>");
    CHECK(exit_status_of(child) == 0);
}

TEST_CASE("standard input that is /dev/null ends at once") {
    auto child =
        start_child(echo, unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)), unique_fd());
    CHECK(exit_status_of(child) == 0);
}

TEST_CASE("a pending read of a pipe held open keeps no program from ending") {
    auto child = start_child(end_while_reading);
    CHECK(take(child.out.get(), 4) == "none");
    CHECK(exit_status_of(child) == 0);
    auto other = start_child(exit_while_reading);
    CHECK(exit_status_of(other) == 0);
}

TEST_CASE("a pending read of a terminal keeps no program from ending") {
    auto terminal = new_terminal();
    auto child =
        start_child(end_while_reading, std::move(terminal.second), std::move(terminal.first));
    CHECK(take(child.out.get(), 4) == "none");
    CHECK(exit_status_of(child) == 0);
    auto second = new_terminal();
    auto other = start_child(exit_while_reading, std::move(second.second), std::move(second.first));
    CHECK(exit_status_of(other) == 0);
}

TEST_CASE("standard streams neither close their descriptors nor change them") {
    auto child = start_child([] {
        const auto flags = [](int fd) { return ::fcntl(fd, F_GETFL); };
        const int before[] = {flags(0), flags(1), flags(2)};
        run([]() -> task<> {
            auto in = standard_input();
            auto out = standard_output();
            auto error = standard_error();
            co_await with_timeout(in.read_until('\n'), 1ms);
            co_await out.write_all("x");
            const bool nonblocking = ((::fcntl(0, F_GETFL) | ::fcntl(1, F_GETFL)) & O_NONBLOCK);
            if (nonblocking) std::abort();
            in.close();
            out.close();
            error.close();
        });
        for (int fd : {0, 1, 2})
            if (flags(fd) != before[fd]) return 1;
        return 0;
    });
    CHECK(take(child.out.get(), 1) == "x");
    CHECK(exit_status_of(child) == 0);
}

TEST_CASE("writes through several handles of standard output are not torn") {
    constexpr std::size_t size = 300'000;
    auto child = start_child([] {
        const auto writes = [](char c) -> task<> {
            auto out = standard_output();
            const std::string block(size, c);
            co_await out.write_all(block);
        };
        return run([&]() -> task<int> {
            co_await when_all(writes('a'), writes('b'), writes('c'));
            co_return 0;
        });
    });
    const std::string all = take(child.out.get(), 3 * size);
    CHECK(exit_status_of(child) == 0);
    const std::string expected =
        std::string(size, 'a') + std::string(size, 'b') + std::string(size, 'c');
    CHECK((all == expected));
}

TEST_CASE("an error of a standard stream names it") {
    auto child = start_child([] {
        ::close(1);
        return run([]() -> task<int> {
            auto out = standard_output();
            std::string text;
            try {
                co_await out.write_all("x");
            } catch (const std::system_error& error) {
                text = error.what();
            }
            co_return text.find("write_all on standard output: ") == 0 ? 0 : 1;
        });
    });
    CHECK(exit_status_of(child) == 0);
}

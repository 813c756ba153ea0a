// SPDX-License-Identifier: MIT
#include <array>
#include <coroutine>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/death.hpp"
#include "support/environment.hpp"
#include "support/forked.hpp"
#include "support/witness.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {
struct os_pipe {
    os_pipe() {
        int fds[2];
        REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
        out.reset(fds[0]);
        in.reset(fds[1]);
    }
    unique_fd out, in;
};
std::span<std::byte> bytes(char& c) { return std::as_writable_bytes(std::span(&c, 1)); }

task<> read_one(int fd, std::string& into) {
    char c = 0;
    const std::size_t n = co_await io::read(fd, bytes(c));
    into += n == 1 ? c : '0';
}
/// Gives the handle of the coroutine that awaits it, which no user should want.
struct own_handle {
    explicit own_handle(std::coroutine_handle<>& to) : into(to) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> self) noexcept {
        into = self;
        return false;
    }
    void await_resume() const noexcept {}
    std::coroutine_handle<>& into;
};

/// Destroys the frame of a task that `waits` in the kernel.
template <class F>
test::death death_of_frame_in(F waits) {
    return test::death_of([&] {
        run([&]() -> task<> {
            std::coroutine_handle<> frame;
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start([&]() -> task<> {
                    co_await own_handle(frame);
                    co_await waits();
                });
                for (int i = 0; i < 5; ++i) co_await io::nop();
                frame.destroy();
            });
        });
    });
}
}  // namespace

TEST_CASE("a frame that is destroyed under an operation in the kernel aborts, and says where") {
    const os_pipe p;
    char c = 0;
    const std::string on = "read on descriptor " + std::to_string(p.out.get());
    // In the frame that is destroyed, and in one below it.
    const int line = __LINE__ + 1;
    const auto reads = [&]() -> task<> { co_await io::read(p.out.get(), bytes(c)); };
    const auto races = [&]() -> task<> {
        co_await race(io::read(p.out.get(), bytes(c)), sleep_for(1h));
    };
    for (const bool in_race : {false, true}) {
        const test::death end = in_race ? death_of_frame_in(races) : death_of_frame_in(reads);
        const std::string place = "io_test.cpp:" + std::to_string(in_race ? line + 2 : line);
        INFO(end.text);
        CHECK(end.signal == SIGABRT);
        CHECK(end.says("runnel: fatal: a " + on + ", awaited at " + place + " in "));
        CHECK(end.says("was destroyed while the kernel works on it"));
    }
}

TEST_CASE("reads of one descriptor are done in the order in which they were awaited") {
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
        loop_options options;
        options.chaos.seed = seed;
        os_pipe p;
        std::string log[4];
        loop l(options);
        for (std::string& each : log) l.start(read_one, p.out.get(), std::ref(each));
        l.poll();
        REQUIRE(::write(p.in.get(), "abcd", 4) == 4);
        l.run();
        CHECK(log[0] + log[1] + log[2] + log[3] == "abcd");
    }
}

TEST_CASE("a read that comes later does not overtake one that waits, though data is there") {
    os_pipe p;
    std::string first, second;
    loop l;
    l.start(read_one, p.out.get(), std::ref(first));
    l.poll();
    REQUIRE(::write(p.in.get(), "ab", 2) == 2);
    l.start(read_one, p.out.get(), std::ref(second));  // both bytes are there by now
    l.run();
    CHECK(first == "a");
    CHECK(second == "b");
}

TEST_CASE("writes of one descriptor do not overtake each other") {
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
        loop_options options;
        options.chaos.seed = seed;
        os_pipe p;
        const int size = ::fcntl(p.in.get(), F_SETPIPE_SZ, 4096);
        std::string all;
        run(
            [&]() -> task<> {
                co_await open_nursery([&](nursery& n) -> task<> {
                    for (char c = 'a'; c < 'a' + 16; ++c)
                        n.start(
                            [](int fd, std::string text) -> task<> {
                                const auto from = std::as_bytes(std::span(text));
                                const std::size_t done = co_await io::write(fd, from.first(1));
                                CHECK(done == 1);
                            },
                            p.in.get(), std::string(1, c));
                    std::string part(std::size_t(size), '\0');
                    while (all.size() < 16) {
                        const std::size_t n_read =
                            co_await io::read(p.out.get(), std::as_writable_bytes(std::span(part)));
                        all += part.substr(0, n_read);
                    }
                });
            },
            options);
        CHECK(all == "abcdefghijklmnop");
    }
}

TEST_CASE("a write takes what fits, and a read gives zero bytes at the end") {
    os_pipe p;
    ::fcntl(p.in.get(), F_SETPIPE_SZ, 4096);
    run([&]() -> task<> {
        const std::string much(100'000, 'x');
        const std::size_t taken = co_await io::write(p.in.get(), std::as_bytes(std::span(much)));
        CHECK(taken > 0);
        CHECK(taken < much.size());
        p.in.reset();
        std::size_t total = 0;
        std::string part(1000, '\0');
        std::size_t n = 1;
        while (n != 0) {
            n = co_await io::read(p.out.get(), std::as_writable_bytes(std::span(part)));
            total += n;
        }
        CHECK(total == taken);
    });
}

TEST_CASE("a failure names the operation and the descriptor") {
    run([]() -> task<> {
        os_pipe p;
        char c = 'x';
        std::string text[3];
        try {
            co_await io::read(p.in.get(), bytes(c));  // the wrong end
        } catch (const std::system_error& e) {
            text[0] = e.what();
            CHECK(e.code() == std::errc::bad_file_descriptor);
        }
        CHECK(text[0] ==
              "read on descriptor " + std::to_string(p.in.get()) + ": Bad file descriptor");
        p.out.reset();
        try {
            co_await io::write(p.in.get(), bytes(c)).on("pipe");
        } catch (const std::system_error& e) {
            text[1] = e.what();
            CHECK(e.code() == std::errc::broken_pipe);  // and no SIGPIPE
        }
        CHECK(text[1] == "write on pipe " + std::to_string(p.in.get()) + ": Broken pipe");
        try {
            co_await io::recv(p.in.get(), bytes(c));
        } catch (const std::system_error& e) {
            text[2] = e.what();
        }
        CHECK(text[2].find("recv on socket") == 0);
    });
}

TEST_CASE("an invalid descriptor is an error of each operation, not a hang") {
    run([]() -> task<> {
        for (const int fd : {-1, 1'000'000}) {
            char c = 'x';
            ::msghdr m{};
            ::siginfo_t info{};
            auto results = co_await when_all(
                as_result(io::read(fd, bytes(c))), as_result(io::write(fd, bytes(c))),
                as_result(io::recv(fd, bytes(c))), as_result(io::send(fd, bytes(c))),
                as_result(io::recvmsg(fd, m)), as_result(io::sendmsg(fd, m)),
                as_result(io::waitid(fd, info)));
            std::apply([](auto&... each) { CHECK((!each && ...)); }, results);
            auto polled = co_await as_result(io::poll(fd, POLLIN));
            CHECK(polled.error() == std::errc::bad_file_descriptor);
        }
    });
}

TEST_CASE("what waits on a descriptor that is closed ends with errc::closed") {
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
        loop_options options;
        options.chaos.seed = seed;
        os_pipe p;
        int closed = 0;
        run(
            [&]() -> task<> {
                co_await open_nursery([&](nursery& n) -> task<> {
                    for (int i = 0; i < 3; ++i)
                        n.start(
                            [](int fd, int& count) -> task<> {
                                char c = 0;
                                auto got = co_await as_result(io::read(fd, bytes(c)));
                                if (got.error() == errc::closed) ++count;
                            },
                            p.out.get(), std::ref(closed));
                    n.start(
                        [](int fd, int& count) -> task<> {
                            auto got = co_await as_result(io::poll(fd, POLLIN));
                            if (got.error() == errc::closed) ++count;
                        },
                        p.out.get(), std::ref(closed));
                    for (int i = 0; i < 4; ++i) co_await io::nop();
                    io::cancel_pending(p.out.get());
                    p.out.reset();
                });
            },
            options);
        CHECK(closed == 4);
    }
}

TEST_CASE("poll gives the events that are there") {
    os_pipe p;
    run([&]() -> task<> {
        const int writable = co_await io::poll(p.in.get(), POLLOUT);
        CHECK(writable == POLLOUT);
        p.in.reset();
        const int hung_up = co_await io::poll(p.out.get(), POLLIN);
        CHECK((hung_up & POLLHUP) != 0);
    });
}

TEST_CASE("read and write at an offset leave the position of the file alone") {
    char name[] = "/tmp/runnel-io-test-XXXXXX";
    const unique_fd file(::mkstemp(name));
    REQUIRE(file);
    ::unlink(name);
    run([&]() -> task<> {
        const std::string text = "0123456789";
        const std::size_t n = co_await io::write(file.get(), std::as_bytes(std::span(text)), 100);
        CHECK(n == 10);
        std::string part(4, ' ');
        const std::size_t got =
            co_await io::read(file.get(), std::as_writable_bytes(std::span(part)), 103);
        CHECK(got == 4);
        CHECK(part == "3456");
        CHECK(::lseek(file.get(), 0, SEEK_CUR) == 0);
    });
}

TEST_CASE("a futex wait ends when the word is woken, and at once when it differs") {
    run([]() -> task<> {
        std::uint32_t word = 0;
        auto differs = co_await as_result(io::futex_wait(word, 1));
        const bool missing = differs.error() == std::errc::function_not_supported;
        CHECK(missing == !io::has_futex_wait());
        if (missing) co_return;  // below Linux 6.7
        CHECK(differs.error() == std::errc::resource_unavailable_try_again);
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(
                [](std::uint32_t& w) -> task<> {
                    int woken = 0;
                    while (woken == 0) woken = co_await io::futex_wake(w, 1);
                },
                std::ref(word));
            co_await io::futex_wait(word, 0);
        });
    });
}

TEST_CASE("whether there are futex operations is known without a loop") {
    const bool before = io::has_futex_wait();
    const int child = ::fork();
    if (child == 0) {
        ::setenv("RUNNEL_DISABLE", "waitid,futex", 1);
        const bool disabled = !io::has_futex_wait();
        ::unsetenv("RUNNEL_DISABLE");
        const ::rlimit none{0, 0};  // known by now: no descriptor is needed to say it again
        ::setrlimit(RLIMIT_NOFILE, &none);
        ::_exit(disabled && (io::has_futex_wait() || !before) ? 0 : 1);
    }
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
}

TEST_CASE("a kernel without waitid in its rings waits for the end of a process, and for no more") {
    const test::environment as_before("RUNNEL_DISABLE", "waitid");
    const ::pid_t child = test::forked([] { return ::pause(); });
    const unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
    REQUIRE(pidfd);
    run([&]() -> task<> {
        ::siginfo_t info{};
        const auto stopped = co_await as_result(io::waitid(pidfd.get(), info, WSTOPPED | WEXITED));
        CHECK(stopped.error() == std::errc::function_not_supported);
        const auto none = co_await as_result(io::waitid(pidfd.get(), info, WCONTINUED));
        CHECK(none.error() == std::errc::function_not_supported);
        ::kill(child, SIGKILL);
        co_await io::waitid(pidfd.get(), info);
        CHECK(info.si_pid == child);
        CHECK(info.si_status == SIGKILL);
    });
}

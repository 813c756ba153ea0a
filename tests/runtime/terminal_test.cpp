// SPDX-License-Identifier: MIT
// Terminals: files that know no NOWAIT, and block whoever reads or writes them.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/environment.hpp"
#include "support/forked.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

/// The controlling end, and the one for programs, which passes bytes on as they are.
struct terminal {
    terminal() : terminal(unique_fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC))) {}
    void be_nonblocking() const {
        REQUIRE(::fcntl(program.native_handle(), F_SETFL, O_NONBLOCK) == 0);
    }
    /// What comes at the controlling end, until there has been nothing for a while.
    std::string drained() const {
        std::string all;
        char some[4096];
        ::pollfd one{master.get(), POLLIN, 0};
        while (::poll(&one, 1, 200) == 1) {
            const ::ssize_t n = ::read(master.get(), some, sizeof some);
            if (n <= 0) break;
            all.append(some, static_cast<std::size_t>(n));
        }
        return all;
    }
    void type(std::string_view text) const {
        REQUIRE(::write(master.get(), text.data(), text.size()) == ::ssize_t(text.size()));
    }

    unique_fd master;
    byte_stream program;

private:
    explicit terminal(unique_fd controlling) : master(std::move(controlling)) {
        REQUIRE(::grantpt(master.get()) == 0);
        REQUIRE(::unlockpt(master.get()) == 0);
        unique_fd other(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
        REQUIRE(other);
        ::termios how{};
        REQUIRE(::tcgetattr(other.get(), &how) == 0);
        ::cfmakeraw(&how);
        REQUIRE(::tcsetattr(other.get(), TCSANOW, &how) == 0);
        program = byte_stream(std::move(other), "terminal");
    }
};

std::string numbered(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += std::to_string(i) + ' ';
    return text;
}

/// Reads all of `wanted` at the controlling end while `work` writes it.
task<> pass_on(terminal& t, std::size_t wanted, std::string& got) {
    byte_stream controlling(unique_fd(::fcntl(t.master.get(), F_DUPFD_CLOEXEC, 0)), "terminal");
    std::vector<std::byte> some(3000);
    while (got.size() < wanted) {
        const std::size_t n = co_await controlling.read(some);
        got.append(reinterpret_cast<const char*>(some.data()), n);
    }
}

}  // namespace

TEST_CASE("a terminal that takes no more does not hold up the loop, and what it took is told") {
    const bool nonblocking = GENERATE(false, true);
    terminal t;
    if (nonblocking) t.be_nonblocking();
    const std::string text = numbered(100'000);
    std::size_t written = 0;
    run([&]() -> task<> {
        const bool all = co_await with_timeout(t.program.write_all(text, &written), 50ms);
        CHECK_FALSE(all);
    });
    CHECK(written > 0);
    CHECK(t.drained() == text.substr(0, written));
}

TEST_CASE("a terminal that is read takes all, in order") {
    const bool nonblocking = GENERATE(false, true);
    const std::uint64_t chaos = GENERATE(0, 1, 2, 3);
    terminal t;
    if (nonblocking) t.be_nonblocking();
    const std::string text = numbered(20'000);
    std::string got;
    run(
        [&]() -> task<> {
            co_await when_all(pass_on(t, text.size(), got), t.program.write_all(text));
        },
        {.chaos = {.seed = chaos}});
    CHECK(got == text);
}

TEST_CASE("of two who read a terminal each byte goes to one, and the loop goes on") {
    const std::uint64_t chaos = GENERATE(0, 1, 2, 3);
    terminal t;
    byte_stream again(unique_fd(::fcntl(t.program.native_handle(), F_DUPFD_CLOEXEC, 0)));
    run(
        [&]() -> task<> {
            std::size_t got = 0;
            const auto reads = [&](byte_stream& from) -> task<> {
                char place[16];
                const auto n = co_await with_timeout(
                    from.read(std::as_writable_bytes(std::span(place))), 300ms);
                if (n) got += *n;
            };
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start(reads, std::ref(t.program));
                n.start(reads, std::ref(again));
                co_await sleep_for(20ms);  // both wait
                t.type("line");
            });
            CHECK(got == 4);
        },
        {.chaos = {.seed = chaos}});
}

TEST_CASE("reads of a terminal that are cancelled at random lose nothing") {
    const bool nonblocking = GENERATE(false, true);
    std::mt19937_64 random(announced_seed("reads of a terminal"));
    terminal t;
    if (nonblocking) t.be_nonblocking();
    const std::string text = numbered(300);
    std::string got;
    run([&]() -> task<> {
        std::size_t typed = 0;
        while (got.size() < text.size()) {
            if (typed < text.size() && random() % 2 == 0) {
                const std::size_t n = std::min<std::size_t>(1 + random() % 9, text.size() - typed);
                t.type(std::string_view(text).substr(typed, n));
                typed += n;
            }
            char place[7];
            const auto limit = std::chrono::microseconds(random() % 400);
            const auto n = co_await with_timeout(
                t.program.read(std::as_writable_bytes(std::span(place))), limit);
            if (n) got.append(place, *n);
        }
    });
    CHECK(got == text);
}

TEST_CASE("a process that was stopped while it waited for a terminal waits on") {
    terminal t;
    const ::pid_t child = forked_task("reader", [&]() -> task<> {
        co_await t.program.write("ready");
        const auto line = co_await with_timeout(t.program.read_until('.'), 20s);
        if (!line || *line != "go") throw std::runtime_error("it is not told to go");
    });
    std::string said;
    char some[16];
    while (said.size() < 5) {
        const ::ssize_t n = ::read(t.master.get(), some, sizeof some);
        if (n <= 0) break;
        said.append(some, std::size_t(n));
    }
    CHECK(said == "ready");
    int status = 0;
    for (int i = 0; i < 3; ++i) {
        CHECK(::kill(child, SIGSTOP) == 0);
        CHECK(::waitpid(child, &status, WUNTRACED) == child);
        CHECK(::kill(child, SIGCONT) == 0);
        CHECK(::waitpid(child, &status, WCONTINUED) == child);
    }
    t.type("go.");
    CHECK(reaped(child) == 0);
}

TEST_CASE("a terminal that is closed, or whose loop is destroyed, lets go of who waits for it") {
    const bool nonblocking = GENERATE(false, true);
    terminal t;
    if (nonblocking) t.be_nonblocking();
    byte_stream other(unique_fd(::fcntl(t.program.native_handle(), F_DUPFD_CLOEXEC, 0)));
    const auto reads = [](byte_stream& from, result<std::size_t>& end) -> task<> {
        char place[4];
        end = co_await as_result(from.read(std::as_writable_bytes(std::span(place))));
    };
    result<std::size_t> closed = 0;
    result<std::size_t> destroyed = 77;
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(reads, std::ref(t.program), std::ref(closed));
            co_await sleep_for(10ms);
            t.program.close();
        });
    });
    CHECK(closed.error() == errc::closed);
    {
        loop l;
        l.start(reads, std::ref(other), std::ref(destroyed));
        for (int i = 0; i < 5; ++i) l.poll();
    }
    CHECK((destroyed.has_value() && *destroyed == 77));
    t.type("left");
    std::string left;
    run([&]() -> task<> {
        char place[8];
        co_await other.read_exactly(std::as_writable_bytes(std::span(place).first(4)));
        left.assign(place, 4);
    });
    CHECK(left == "left");
}

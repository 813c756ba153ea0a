// SPDX-License-Identifier: MIT
#include <runnel/ipc/process.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/ipc/spawn.hpp>
#include <runnel/loop.hpp>
#include <runnel/nursery.hpp>
#include <runnel/race.hpp>
#include <runnel/run.hpp>
#include <runnel/sleep.hpp>
#include <runnel/when_all.hpp>
#include <runnel/with_timeout.hpp>

#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;
using ipc::exit_status;

namespace {

struct told_failure {
    bool thrown = false;
    exit_status status;
    std::string type;
    std::string text;
    std::string said;  // in the child
};
template <class R>
task<told_failure> failure_of(const ipc::process<R>& child) {
    told_failure told;
    try {
        co_await child.join();
    } catch (const ipc::child_failed& e) {
        told.thrown = true;
        told.status = e.status();
        told.type = e.type_name();
        told.text = e.what();
        told.said = e.text();
    }
    co_return told;
}

struct odd_error {};
task<> sleep_long() { co_await sleep_for(1h); }
void block_long() { ::sleep(3600); }
int answer() { return 42; }
/// Tells that it runs by a byte, then waits.
task<> tell_and_sleep(unique_fd out) {
    const char up = 'u';
    [[maybe_unused]] auto n = ::write(out.get(), &up, 1);
    co_await sleep_for(1h);
}
void tell_and_block(unique_fd out) {
    const char up = 'u';
    [[maybe_unused]] auto n = ::write(out.get(), &up, 1);
    for (;;) ::pause();
}
std::pair<unique_fd, unique_fd> descriptors() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
    return {unique_fd(ends[0]), unique_fd(ends[1])};
}
task<> byte_from(const unique_fd& from) {
    std::array<std::byte, 1> one{};
    co_await io::read(from.get(), one);
}

}  // namespace

TEST_CASE("join throws what the child threw: type, text and status") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn([]() -> task<int> {
            co_await sleep_for(1ms);
            throw std::invalid_argument("no such thing");
        });
        const auto told = co_await failure_of(child);
        CHECK(told.thrown);
        CHECK(told.type == "std::invalid_argument");
        CHECK(told.said == "no such thing");
        CHECK(told.text.find("std::invalid_argument: no such thing") != std::string::npos);
        CHECK(told.text.find(child.name()) != std::string::npos);
        CHECK(told.status == exit_status::exited(1));
    });
}

TEST_CASE("an exception that is no std::exception is told by its type") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn([] { throw odd_error{}; });
        const auto told = co_await failure_of(child);
        CHECK(told.type.find("odd_error") != std::string::npos);
        CHECK(told.status == exit_status::exited(1));
    });
}

TEST_CASE("join throws with the signal when the child was killed") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn(sleep_long);
        child.kill();
        const auto told = co_await failure_of(child);
        CHECK(told.thrown);
        CHECK(told.type.empty());
        CHECK(told.said.empty());
        CHECK(told.status == exit_status::signalled(SIGKILL));
        CHECK(told.text.find("killed by signal 9") != std::string::npos);
    });
}

TEST_CASE("wait gives how the child ended and never throws for it") {
    on_a_loop([]() -> task<> {
        auto fine = ipc::spawn(answer);
        auto leaving = ipc::spawn([] { ::_exit(7); });
        auto throwing = ipc::spawn([] { throw std::runtime_error("x"); });
        auto aborting = ipc::spawn([] {
            ::signal(SIGABRT, SIG_DFL);
            std::abort();
        });
        const auto a = co_await fine.wait();
        const auto b = co_await leaving.wait();
        const auto c = co_await throwing.wait();
        const auto d = co_await aborting.wait();
        CHECK(a.success());
        CHECK(b == exit_status::exited(7));
        CHECK(c == exit_status::exited(1));
        CHECK(d == exit_status::signalled(SIGABRT));
    });
}

TEST_CASE("a child that leaves by _exit has no value for join") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn([]() -> int { ::_exit(0); });
        const auto told = co_await failure_of(child);
        CHECK(told.thrown);
        CHECK(told.status == exit_status::exited(0));
    });
}

TEST_CASE("join and wait may be awaited again, in any order") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn(answer);
        const int first = co_await child.join();
        const auto status = co_await child.wait();
        const int second = co_await child.join();
        CHECK(first == 42);
        CHECK(second == 42);
        CHECK(status.success());
    });
}

TEST_CASE("a failure is thrown to everybody who joins") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn([] { throw std::runtime_error("for all"); });
        const auto first = co_await failure_of(child);
        const auto second = co_await failure_of(child);
        CHECK(first.text == second.text);
        CHECK(second.thrown);
    });
}

TEST_CASE("several tasks wait for one child") {
    on_a_loop([]() -> task<> {
        auto pipe = descriptors();
        auto child = ipc::spawn(tell_and_sleep, std::move(pipe.second));
        int seen = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 3; ++i)
                n.start([&]() -> task<> {
                    const auto status = co_await child.wait();
                    if (status == exit_status::signalled(SIGTERM)) ++seen;
                });
            co_await byte_from(pipe.first);
            child.terminate();
        });
        CHECK(seen == 3);
    });
}

TEST_CASE("the handles of a result are given to the first join alone") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn([] { return std::move(descriptors().first); });
        const unique_fd got = co_await child.join();
        CHECK(bool(got));
        bool refused = false;
        try {
            co_await child.join();
        } catch (const std::invalid_argument&) {
            refused = true;
        }
        CHECK(refused);
    });
}

TEST_CASE("a deadline on join or wait leaves the child alone") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn(sleep_long);
        bool joined = co_await with_timeout(child.join(), 5ms);
        auto status = co_await with_timeout(child.wait(), 5ms);
        CHECK(!joined);
        CHECK(!status);
        CHECK(child.alive());
        child.kill();
        const auto end = co_await child.wait();
        CHECK(end == exit_status::signalled(SIGKILL));
    });
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::process<int>>().join())>);
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::process<int>>().wait())>);
}

TEST_CASE("children are raced and joined together") {
    on_a_loop([]() -> task<> {
        auto slow = ipc::spawn(sleep_long);
        auto fast = ipc::spawn(answer);
        auto ends = co_await race(slow.join(), fast.join());
        CHECK(!std::get<0>(ends));
        CHECK(*std::get<1>(ends) == 42);
        auto other = ipc::spawn(answer);
        auto both = co_await when_all(fast.join(), other.join());
        CHECK(std::get<1>(both) == 42);
    });
}

TEST_CASE("stop cancels the child's function where it waits") {
    on_a_loop([]() -> task<> {
        auto pipe = descriptors();
        auto child = ipc::spawn(
            [](unique_fd out) -> task<> {
                struct unwound {
                    int fd;
                    ~unwound() { [[maybe_unused]] auto n = ::write(fd, "d", 1); }
                };
                const unwound at_end{out.get()};
                [[maybe_unused]] auto n = ::write(out.get(), "u", 1);
                co_await sleep_for(1h);
            },
            std::move(pipe.second));
        co_await byte_from(pipe.first);
        child.stop();
        const auto status = co_await child.wait();
        const auto told = co_await failure_of(child);
        CHECK(status == exit_status::exited(0));
        CHECK(told.thrown);
        CHECK(told.text.find("stopped") != std::string::npos);
        char byte = 0;
        CHECK(::read(pipe.first.get(), &byte, 1) == 1);
        CHECK(byte == 'd');
    });
}

TEST_CASE("stop before the function begins is not lost") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn(sleep_long);
        child.stop();
        const auto status = co_await child.wait();
        CHECK(status == exit_status::exited(0));
    });
}

TEST_CASE("terminate sends SIGTERM") {
    on_a_loop([]() -> task<> {
        auto pipe = descriptors();
        auto child = ipc::spawn(tell_and_block, std::move(pipe.second));
        co_await byte_from(pipe.first);
        child.terminate();
        const auto status = co_await child.wait();
        CHECK(status == exit_status::signalled(SIGTERM));
    });
}

TEST_CASE("a signal to a child that has ended is nothing") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn(answer);
        co_await child.wait();
        child.terminate();
        child.kill();
        child.stop();
        const int value = co_await child.join();
        CHECK(value == 42);
        CHECK(!child.alive());
    });
}

TEST_CASE("the sentinel is readable when the child has ended") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn(sleep_long);
        ::pollfd sentinel{child.sentinel(), POLLIN, 0};
        CHECK(::poll(&sentinel, 1, 0) == 0);
        child.kill();
        CHECK(::poll(&sentinel, 1, 30'000) == 1);
        co_await child.wait();
    });
}

TEST_CASE("a status that the host has taken is unknown, and a value is still given") {
    on_a_loop([]() -> task<> {
        auto valued = ipc::spawn(answer);
        auto killed = ipc::spawn(sleep_long);
        killed.kill();
        ::waitpid(valued.pid(), nullptr, 0);
        ::waitpid(killed.pid(), nullptr, 0);
        const auto a = co_await valued.wait();
        const int value = co_await valued.join();
        const auto b = co_await killed.wait();
        const auto told = co_await failure_of(killed);
        CHECK(a.unknown());
        CHECK(value == 42);
        CHECK(b.unknown());
        CHECK(told.thrown);
    });
}

TEST_CASE("a status stolen while somebody waits is unknown, never a hang") {
    on_a_loop([]() -> task<> {
        auto pipe = descriptors();
        auto child = ipc::spawn(tell_and_sleep, std::move(pipe.second));
        auto thief = [&]() -> task<> {
            co_await byte_from(pipe.first);
            child.kill();
            ::waitpid(child.pid(), nullptr, 0);
        };
        auto ends = co_await when_all(child.wait(), thief());
        CHECK(std::get<0>(ends).unknown());
    });
}

TEST_CASE("a dropped child is asked to stop, and run waits for that") {
    const support::no_leaks leaks;
    auto pipe = descriptors();
    const auto begun = std::chrono::steady_clock::now();
    run([&]() -> task<> {
        auto child = ipc::spawn(tell_and_sleep, std::move(pipe.second));
        co_await byte_from(pipe.first);
    });
    CHECK(std::chrono::steady_clock::now() - begun < 4s);  // less than the grace
    pipe.first.reset();
}

TEST_CASE("a dropped child that does not stop is killed when its grace is over") {
    const support::no_leaks leaks;
    auto pipe = descriptors();
    const auto begun = std::chrono::steady_clock::now();
    run([&]() -> task<> {
        auto child = ipc::spawn({.grace = 50ms}, tell_and_block, std::move(pipe.second));
        co_await byte_from(pipe.first);
    });
    CHECK(std::chrono::steady_clock::now() - begun < 4s);
    char byte = 0;
    CHECK(::read(pipe.first.get(), &byte, 1) == 0);  // it is gone
}

TEST_CASE("a child dropped where no loop runs is waited for") {
    const support::no_leaks leaks;
    ipc::process<> kept;
    run([&]() -> task<> {
        kept = ipc::spawn({.grace = 50ms}, block_long);
        co_return;
    });
    CHECK(kept.alive());
    const int pid = kept.pid();
    kept = ipc::process<>();
    CHECK(::kill(pid, 0) != 0);
}

TEST_CASE("a dropped child that has ended is only reaped") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn(answer);
        ::pollfd sentinel{child.sentinel(), POLLIN, 0};
        CHECK(::poll(&sentinel, 1, 30'000) == 1);
        co_return;
    });
}

TEST_CASE("a waiter outlives the handle that it waits on") {
    on_a_loop([]() -> task<> {
        std::optional<ipc::process<>> child(ipc::spawn(sleep_long));
        auto waiting = child->wait();
        child->kill();
        child.reset();
        const auto status = co_await std::move(waiting);
        CHECK(status == exit_status::signalled(SIGKILL));
    });
}

TEST_CASE("a child killed at any moment of its life is an end like others") {
    on_a_loop([]() -> task<> {
        for (int i = 0; i < 40; ++i) {
            auto child = ipc::spawn([]() -> task<std::string> {
                co_await sleep_for(1ms);
                co_return std::string(100'000, 'x');
            });
            co_await sleep_for(std::chrono::microseconds(150 * i));
            child.kill();
            const auto status = co_await child.wait();
            if (status.success()) {
                const std::string value = co_await child.join();
                CHECK(value.size() == 100'000);
            } else {
                CHECK(status == exit_status::signalled(SIGKILL));
            }
        }
    });
}

TEST_CASE("many children live at once") {
    on_a_loop([]() -> task<> {
        std::vector<ipc::process<int>> all;
        for (int i = 0; i < 50; ++i) all.push_back(ipc::spawn([](int n) { return n; }, i));
        int sum = 0;
        for (const auto& each : all) sum += co_await each.join();
        CHECK(sum == 49 * 50 / 2);
    });
}

TEST_CASE("a handle that was moved from says so") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn(answer);
        auto moved = std::move(child);
        CHECK(!child);
        CHECK_THROWS_AS(child.wait(), std::invalid_argument);
        CHECK_THROWS_AS(child.kill(), std::invalid_argument);
        co_await moved.wait();
    });
}

TEST_CASE("an exit status says in words what it is") {
    CHECK(to_string(exit_status::exited(3)) == "exited with code 3");
    CHECK(to_string(exit_status::signalled(9)) == "killed by signal 9 (Killed)");
    CHECK(to_string(exit_status()) == "ended, its status is unknown");
    CHECK(exit_status() != exit_status::exited(0));
    CHECK(exit_status::exited(0).success());
    CHECK(!exit_status::signalled(9).code());
}

// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <runnel/ipc/spawn.hpp>
#include <runnel/runnel.hpp>

#include "support/both_ways.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"
#include "support/leaks.hpp"

// What the tests of objects between processes have in common.

namespace runnel::test {

using namespace std::chrono_literals;

/// An item for an operation that is made here and awaited elsewhere, and borrows it.
template <int Number>
inline constexpr int borrowed = Number;

/// A pipe by which one process tells another that something has happened, with a byte.
struct signal_pipe {
    signal_pipe() {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
        hear.reset(ends[0]);
        say.reset(ends[1]);
    }
    unique_fd hear;
    unique_fd say;
};
inline void tell(const unique_fd& to) {
    const char byte = 't';
    if (::write(to.get(), &byte, 1) != 1) std::abort();
}
inline task<bool> told(const unique_fd& from) {
    std::array<std::byte, 1> one{};
    const auto n = co_await io::read(from.get(), one);
    co_return n == 1;
}

/// Runs a test's body on a loop of its own, not longer than is good.
template <class F>
void on_a_loop(F body) {
    const support::no_leaks leaks;
    bool in_time = false;
    run([&]() -> task<> {
        bool done = co_await with_timeout(body(), 30s);
        in_time = done;
    });
    CHECK(in_time);
}

/// Does `body` on a loop that has something to do all the time, and never sleeps.
inline task<> never_asleep(task<> body) {
    co_await open_nursery([&](nursery& n) -> task<> {
        n.start([]() -> task<> {
            for (;;) co_await yield();
        });
        co_await std::move(body);
        n.cancel();
    });
}

/// Until a process sleeps in the kernel: for what it waits it has been waiting then.
inline task<> until_asleep(::pid_t pid) {
    for (;;) {
        std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
        std::string all;
        std::getline(file, all);
        const auto at = all.rfind(')');
        if (at != std::string::npos && all.substr(at + 2, 1) == "S") co_return;
        co_await sleep_for(std::chrono::microseconds(100));
    }
}

/// The code of the std::system_error that f throws; none if it throws nothing.
template <class F>
std::error_code code_of(F f) {
    try {
        f();
    } catch (const std::system_error& error) {
        return error.code();
    }
    return {};
}
/// The same of what is awaited: `what`, or what it returns.
template <class A>
task<std::error_code> error_of(A what) {
    std::error_code code;
    try {
        if constexpr (std::invocable<A&>)
            co_await what();
        else
            co_await std::move(what);
    } catch (const std::system_error& error) {
        code = error.code();
    }
    co_return code;
}

/// Lets other tasks of the loop have their turns; what waits for another process goes on waiting.
inline task<> turns(int n = 8) {
    for (int i = 0; i < n; ++i) co_await yield();
}

/// The bytes of memory that the memfds of the objects of this process take.
inline std::uint64_t bytes_in_memory() {
    std::uint64_t all = 0;
    for (int fd = 3; fd < 256; ++fd) {
        std::array<char, 64> name{};
        const std::string link = "/proc/self/fd/" + std::to_string(fd);
        if (::readlink(link.c_str(), name.data(), name.size() - 1) <= 0) continue;
        if (std::string(name.data()).rfind("/memfd:runnel", 0) != 0) continue;
        struct ::stat file{};
        if (::fstat(fd, &file) == 0) all += static_cast<std::uint64_t>(file.st_blocks) * 512;
    }
    return all;
}

}  // namespace runnel::test

// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <runnel/error.hpp>
#include <runnel/ipc/queue.hpp>
#include <runnel/ipc/spawn.hpp>
#include <runnel/nursery.hpp>
#include <runnel/run.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_timeout.hpp>
#include <runnel/yield.hpp>

#include "support/catch.hpp"
#include "support/leaks.hpp"

// What the tests of queues have in common.
namespace runnel::test {

using namespace std::chrono_literals;

/// A variable of the environment has another value for a while.
class environment {
public:
    environment(const char* name, const char* value) : name_(name) {
        if (const char* before = std::getenv(name)) before_ = before;
        ::setenv(name, value, 1);
    }
    ~environment() {
        if (before_)
            ::setenv(name_, before_->c_str(), 1);
        else
            ::unsetenv(name_);
    }
    environment(const environment&) = delete;
    environment& operator=(const environment&) = delete;

private:
    const char* name_;
    std::optional<std::string> before_;
};

/// The number of mappings of this process.
inline std::size_t mappings() {
    std::ifstream file("/proc/self/maps");
    std::size_t found = 0;
    for (std::string line; std::getline(file, line);)
        if (line.find("memfd:runnel") != std::string::npos) ++found;
    return found;
}

/// Runs a test's body on a loop of its own, not longer than is good; twice: with futexes in the
/// kernel's ring, and without. Nothing may be left behind.
template <class F>
void both_ways(F body) {
    for (const bool futex : {true, false}) {
        INFO((futex ? "with futex operations" : "without futex operations"));
        std::optional<environment> without;
        if (!futex) without.emplace("RUNNEL_DISABLE", "futex");
        const std::size_t mapped = mappings();
        {
            const support::no_leaks leaks;
            bool in_time = false;
            run([&]() -> task<> {
                bool done = co_await with_timeout(body(), 25s);
                in_time = done;
            });
            CHECK(in_time);
        }
        CHECK(mappings() == mapped);
    }
}

/// A byte from one process to another: something has happened.
class signal_pipe {
public:
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

/// Until a process sleeps in the kernel: for what it waits it has been waiting then.
inline task<> until_asleep(::pid_t pid) {
    for (;;) {
        std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
        std::string all;
        std::getline(file, all);
        const auto at = all.rfind(')');
        if (at != std::string::npos && all.substr(at + 2, 1) == "S") co_return;
        co_await sleep_for(100us);
    }
}

/// The error that an operation ends with; none if it ends well.
template <class Make>
task<std::error_code> error_of(Make make) {
    std::error_code code;
    try {
        co_await make();
    } catch (const std::system_error& error) {
        code = error.code();
    }
    co_return code;
}
template <class F>
std::error_code code_of(F f) {
    try {
        f();
    } catch (const std::system_error& error) {
        return error.code();
    }
    return {};
}

/// Lets other tasks of the loop have their turns.
inline task<> some_turns() {
    for (int i = 0; i < 8; ++i) co_await yield();
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

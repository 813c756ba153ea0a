// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <runnel/io.hpp>
#include <runnel/ipc/spawn.hpp>
#include <runnel/nursery.hpp>
#include <runnel/race.hpp>
#include <runnel/run.hpp>
#include <runnel/sleep.hpp>
#include <runnel/when_all.hpp>
#include <runnel/with_timeout.hpp>
#include <runnel/yield.hpp>

#include "support/catch.hpp"
#include "support/leaks.hpp"

// What the tests of shared objects have in common.

namespace runnel::test {

/// As before Linux 6.7, while it lives.
class without_futex {
public:
    explicit without_futex(bool really = true) : really_(really) {
        if (!really_) return;
        if (const char* before = std::getenv("RUNNEL_DISABLE")) kept_ = before;
        ::setenv("RUNNEL_DISABLE", "futex", 1);
    }
    ~without_futex() {
        if (!really_) return;
        if (kept_)
            ::setenv("RUNNEL_DISABLE", kept_->c_str(), 1);
        else
            ::unsetenv("RUNNEL_DISABLE");
    }
    without_futex(const without_futex&) = delete;
    without_futex& operator=(const without_futex&) = delete;

private:
    bool really_;
    std::optional<std::string> kept_;
};

/// Runs a test's body twice: with futexes in the kernel's ring, and without. It leaves nothing
/// behind, and ends in time.
template <class F>
void both_ways(F body) {
    for (const bool futex : {true, false}) {
        INFO((futex ? "with futex operations" : "without futex operations"));
        const without_futex choice(!futex);
        const support::no_leaks leaks;
        bool in_time = false;
        run([&]() -> task<> {
            bool done = co_await with_timeout(body(), std::chrono::seconds(50));
            in_time = done;
        });
        CHECK(in_time);
    }
}

inline std::pair<unique_fd, unique_fd> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
    return {unique_fd(ends[0]), unique_fd(ends[1])};
}
inline void tell(const unique_fd& to) {
    const char byte = 't';
    [[maybe_unused]] const auto n = ::write(to.get(), &byte, 1);
}
inline task<bool> told(const unique_fd& from) {
    std::array<std::byte, 1> one{};
    const auto n = co_await io::read(from.get(), one);
    co_return n == 1;
}

/// The seed of a random test: RUNNEL_SEED, or another one each time; printed.
inline std::uint64_t printed_seed(const char* test) {
    const char* text = std::getenv("RUNNEL_SEED");
    const std::uint64_t value =
        text != nullptr ? std::strtoull(text, nullptr, 0) : std::random_device{}();
    std::printf("%s: RUNNEL_SEED=%llu\n", test, static_cast<unsigned long long>(value));
    return value;
}

/// The code of what `aw` throws; no error if it throws none.
template <class A>
task<std::error_code> error_of(A awaited) {
    std::error_code code;
    try {
        co_await std::move(awaited);
    } catch (const std::system_error& error) {
        code = error.code();
    }
    co_return code;
}

/// A turn or two of the loop: what is ready runs, what waits for another process does not.
inline task<> turns(int n = 5) {
    for (int i = 0; i < n; ++i) co_await yield();
}

}  // namespace runnel::test

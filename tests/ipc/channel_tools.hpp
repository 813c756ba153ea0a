// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>
#include <system_error>

#include <runnel/run.hpp>
#include <runnel/task.hpp>
#include <runnel/with_timeout.hpp>

#include "support/catch.hpp"
#include "support/leaks.hpp"

namespace runnel::test {

/// As on a kernel before 6.7, while it lives.
class without_futex {
public:
    explicit without_futex(bool really = true) : really_(really) {
        if (!really) return;
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

/// Runs a test's body twice: with futexes in the kernel's ring, and without; each within a minute,
/// and so that nothing is left behind.
template <class F>
void both_ways(F body) {
    for (const bool futex : {true, false}) {
        INFO((futex ? "with futex operations" : "without futex operations"));
        const without_futex as_before(!futex);
        const support::no_leaks leaks;
        bool in_time = false;
        run([&]() -> task<> {
            bool done = co_await with_timeout(body(), std::chrono::seconds(50));
            in_time = done;
        });
        CHECK(in_time);
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
/// The same of what a task throws.
template <class F>
task<std::error_code> code_of_task(F f) {
    std::error_code code;
    try {
        co_await f();
    } catch (const std::system_error& error) {
        code = error.code();
    }
    co_return code;
}

inline std::uint64_t seed_of(const char* test) {
    const char* text = std::getenv("RUNNEL_SEED");
    const std::uint64_t value =
        text != nullptr ? std::strtoull(text, nullptr, 0) : std::random_device{}();
    std::printf("%s: RUNNEL_SEED=%llu\n", test, static_cast<unsigned long long>(value));
    return value;
}

}  // namespace runnel::test

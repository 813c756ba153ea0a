// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstddef>
#include <fstream>
#include <string>

#include <runnel/run.hpp>
#include <runnel/task.hpp>
#include <runnel/with_timeout.hpp>

#include "catch.hpp"
#include "environment.hpp"
#include "leaks.hpp"

namespace runnel::test {

/// How often the memory of shared objects is mapped in this process.
inline std::size_t mappings() {
    std::ifstream file("/proc/self/maps");
    std::size_t found = 0;
    for (std::string line; std::getline(file, line);)
        if (line.find("memfd:runnel") != std::string::npos) ++found;
    return found;
}

/// Runs a test's body on a loop of its own, with futexes in the kernel's ring or without; within a
/// minute, and so that nothing is left behind.
template <class F>
void one_way(bool futex, F body) {
    INFO((futex ? "with futex operations" : "without futex operations"));
    const without_futex as_before(!futex);
    const std::size_t mapped = mappings();
    {
        const support::no_leaks leaks;
        bool in_time = false;
        run([&]() -> task<> {
            bool done = co_await with_timeout(body(), std::chrono::seconds(50));
            in_time = done;
        });
        CHECK(in_time);
    }
    CHECK(mappings() == mapped);
}
template <class F>
void both_ways(F body) {
    one_way(true, body);
    one_way(false, body);
}

}  // namespace runnel::test

// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include <unistd.h>

#include "catch.hpp"

namespace support {

/// What a process holds that a test must give back: descriptors, children, names in /dev/shm.
struct holdings {
    std::size_t descriptors = 0;
    std::size_t children = 0;
    std::set<std::string> shared_names;

    static holdings now() {
        const auto entries = [](const char* folder) {
            std::error_code failed;
            std::filesystem::directory_iterator all(folder, failed);
            return failed ? std::size_t{0}
                          : static_cast<std::size_t>(std::distance(begin(all), end(all)));
        };
        holdings h;
        h.descriptors = entries("/proc/self/fd");
        h.shared_names = names();
        // Of all threads, and of the dead, whose children are this process's: see untouched.cpp.
        std::error_code failed;
        for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task", failed)) {
            std::ifstream file(thread.path() / "children");
            for (std::string pid; file >> pid;) ++h.children;
        }
        return h;
    }
    /// Which names have come since and stay: other programs that run at the same time have theirs,
    /// and take them away.
    [[nodiscard]] std::set<std::string> names_left() const {
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
        for (;;) {
            const std::set<std::string> there = names();
            std::set<std::string> left;
            std::set_difference(there.begin(), there.end(), shared_names.begin(),
                                shared_names.end(), std::inserter(left, left.end()));
            if (left.empty() || std::chrono::steady_clock::now() > until) return left;
            ::usleep(1000);
        }
    }

private:
    static std::set<std::string> names() {
        std::error_code failed;
        std::set<std::string> all;
        for (const auto& each : std::filesystem::directory_iterator("/dev/shm", failed))
            all.insert(each.path().filename());
        return all;
    }
};

/// Checks at its end that the process holds what it held at its beginning.
class no_leaks {
public:
    no_leaks() : before_(holdings::now()) {}
    ~no_leaks() {
        const holdings after = holdings::now();
        CHECK(after.descriptors == before_.descriptors);
        CHECK(after.children == before_.children);
        CHECK(before_.names_left().empty());
    }
    no_leaks(const no_leaks&) = delete;
    no_leaks& operator=(const no_leaks&) = delete;

private:
    holdings before_;
};

}  // namespace support

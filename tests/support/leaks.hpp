// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <unistd.h>

#include "catch.hpp"

namespace support {

/// What a process holds that a test must give back: descriptors, children, names in /dev/shm.
struct holdings {
    std::size_t descriptors = 0;
    std::size_t children = 0;
    std::size_t shared_names = 0;

    static holdings now() {
        const auto entries = [](const char* folder) {
            std::error_code failed;
            std::filesystem::directory_iterator all(folder, failed);
            return failed ? std::size_t{0}
                          : static_cast<std::size_t>(std::distance(begin(all), end(all)));
        };
        holdings h;
        h.descriptors = entries("/proc/self/fd");
        h.shared_names = entries("/dev/shm");
        const std::string self = std::to_string(::getpid());
        std::ifstream file("/proc/self/task/" + self + "/children");
        for (std::string pid; file >> pid;) ++h.children;
        return h;
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
        CHECK(after.shared_names == before_.shared_names);
    }
    no_leaks(const no_leaks&) = delete;
    no_leaks& operator=(const no_leaks&) = delete;

private:
    holdings before_;
};

}  // namespace support

// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace runnel::test {

/// A record that shows whether it has been seen half written.
struct stamped {
    std::uint64_t number;
    std::uint64_t copies[7];
};
inline void stamp(stamped& into, std::uint64_t number) {
    into.number = number;
    for (std::uint64_t& each : into.copies) each = number;
}
inline bool is_whole(const stamped& one) {
    for (std::uint64_t each : one.copies)
        if (each != one.number) return false;
    return true;
}

}  // namespace runnel::test

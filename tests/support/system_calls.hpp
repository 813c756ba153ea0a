// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <optional>

namespace support {

/// A system call of this program, before it is made and after.
struct system_call {
    long number;
    std::array<long, 6> arguments;
    std::optional<long> result;  // -1: errno says why
};

/// Told of every call of ::syscall, ::recv, ::read and ::write in the program, the library's included; for tests
/// that need a process to stall, or to die, at one of them. Null: nobody is told.
extern void (*on_system_call)(const system_call& call);

}  // namespace support

// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace runnel::detail {

/// Why io_uring_setup failed with `error`, given the sysctl kernel.io_uring_disabled (-1: there is
/// none) and whether a seccomp filter is in force, and what to do about it.
std::string explain_no_io_uring(int error, int sysctl, bool filtered);

/// Throws std::system_error that says why io_uring_setup failed with `error` and what to do: the
/// kernel lacks it, a sysctl forbids it, or a seccomp filter (a container) does.
[[noreturn]] void throw_no_io_uring(int error);

}  // namespace runnel::detail

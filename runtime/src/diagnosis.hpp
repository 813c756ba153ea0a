// SPDX-License-Identifier: MIT
#pragma once

namespace runnel::detail {

/// Throws std::system_error that says why io_uring_setup failed with `error` and what to do: the
/// kernel lacks it, a sysctl forbids it, or a seccomp filter (a container) does.
[[noreturn]] void throw_no_io_uring(int error);

}  // namespace runnel::detail

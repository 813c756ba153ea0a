// SPDX-License-Identifier: MIT
#pragma once

// Constants of the kernel interface that the headers of Debian 12 (Linux 6.1, liburing 2.3) lack.

namespace runnel::detail::kernel {

inline constexpr unsigned op_waitid = 50;                // Linux 6.7
inline constexpr unsigned op_futex_wait = 51;            // Linux 6.7
inline constexpr unsigned op_futex_wake = 52;            // Linux 6.7
inline constexpr unsigned feature_no_iowait = 1u << 17;  // Linux 6.15
inline constexpr unsigned enter_no_iowait = 1u << 7;     // Linux 6.15
inline constexpr unsigned futex2_size_u32 = 2;

}  // namespace runnel::detail::kernel

// SPDX-License-Identifier: MIT
#pragma once

#include <cerrno>
#include <cstddef>

#include <sys/syscall.h>
#include <unistd.h>

// What of the kernel's interface the headers of Debian 12 (Linux 6.1, liburing 2.3) lack.

namespace runnel::detail::kernel {

inline constexpr unsigned op_waitid = 50;                // Linux 6.7
inline constexpr unsigned op_futex_wait = 51;            // Linux 6.7
inline constexpr unsigned op_futex_wake = 52;            // Linux 6.7
inline constexpr unsigned feature_no_iowait = 1u << 17;  // Linux 6.15
inline constexpr unsigned enter_no_iowait = 1u << 7;     // Linux 6.15
inline constexpr unsigned futex2_size_u32 = 2;

/// io_uring_enter(2); a negative errno on failure. Inline, since every function that returns after
/// a system call costs a mispredicted return.
inline long enter(int fd, unsigned submit, unsigned wait_for, unsigned flags, const void* argument,
                  std::size_t size) noexcept {
#if defined(__x86_64__)
    register const void* r8 asm("r8") = argument;
    register std::size_t r9 asm("r9") = size;
    register unsigned long r10 asm("r10") = flags;
    long result = __NR_io_uring_enter;
    asm volatile("syscall"
                 : "+a"(result)
                 : "D"(static_cast<long>(fd)), "S"(static_cast<unsigned long>(submit)),
                   "d"(static_cast<unsigned long>(wait_for)), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
#else
    const long result = ::syscall(__NR_io_uring_enter, fd, submit, wait_for, flags, argument, size);
    return result < 0 ? -errno : result;
#endif
}

}  // namespace runnel::detail::kernel

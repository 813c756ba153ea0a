// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <linux/futex.h>
#include <pthread.h>

#include <runnel/unique_fd.hpp>

// The thread that holds a robust pthread mutex: who it is, and a descriptor of its end.

namespace runnel::ipc::detail {

/// The word of a robust mutex as glibc and the kernel know it: thread id, FUTEX_OWNER_DIED.
inline std::uint32_t word_of(const ::pthread_mutex_t& lock) noexcept {
    return static_cast<std::uint32_t>(__atomic_load_n(&lock.__data.__lock, __ATOMIC_ACQUIRE));
}

/// A pidfd of the thread, or, before Linux 6.9, of its process; -1 and errno.
unique_fd open_pidfd(std::uint32_t tid);

/// The calling thread's id, without a call into the kernel each time.
[[nodiscard]] std::uint32_t own_tid() noexcept;

/// How often this process has been forked: guards of before belong to the parent.
[[nodiscard]] unsigned fork_count() noexcept;

}  // namespace runnel::ipc::detail

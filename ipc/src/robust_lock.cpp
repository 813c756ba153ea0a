// SPDX-License-Identifier: MIT
#include <runnel/ipc/detail/robust_lock.hpp>

#include <cerrno>
#include <csignal>

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <runnel/error.hpp>

namespace runnel::ipc::detail {
namespace {

::robust_list_head* robust_head() noexcept {
    ::robust_list_head* head = nullptr;
    std::size_t size = 0;
    ::syscall(SYS_get_robust_list, 0, &head, &size);
    return head;
}

void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb");  // yield does not wait
#endif
}

}  // namespace

const int robust_lock::forget_in_child_ =
    ::pthread_atfork(nullptr, nullptr, [] { own_ = {nullptr, 0}; });

void robust_lock::find_self() noexcept {
    own_ = {robust_head(), static_cast<std::uint32_t>(::gettid())};
}

std::size_t robust_lock::node_distance() {
    if (distance_ == 0) {
        // A list entry plus this offset is its word: negative in glibc, where the entry comes later.
        const ::robust_list_head* head = robust_head();
        if (head == nullptr || head->futex_offset >= 0)
            throw_errno(ENOSYS, "find the robust list of", "thread");
        distance_ = static_cast<std::size_t>(-head->futex_offset);
    }
    return distance_;
}

robust_lock::got robust_lock::insist() noexcept {
    constexpr int bursts = 32;
    constexpr int tries = 12;
    for (int i = 0; i < bursts; ++i) {
        for (int k = 0; k < tries; ++k) {
            if (const got now = try_lock(); now != got::no) return now;
            pause();
        }
        ::sched_yield();
    }
    return got::no;
}

robust_lock::got robust_lock::lock_within(std::chrono::milliseconds patience) noexcept {
    got now = lock();
    if (now != got::no) return now;
    const auto until = std::chrono::steady_clock::now() + patience;
    while (now == got::no && !forged() && std::chrono::steady_clock::now() < until) now = lock();
    return now;
}

bool robust_lock::forged() const noexcept {
    const std::uint32_t seen = word_->load() & FUTEX_TID_MASK;
    return seen != 0 && ::kill(static_cast<::pid_t>(seen), 0) != 0 && errno == ESRCH &&
           (word_->load() & FUTEX_TID_MASK) == seen;
}

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
#include "interrupt.hpp"

#include <atomic>
#include <cstdio>

#include <unistd.h>

#include <runnel/run.hpp>

#include "loop_core.hpp"

namespace runnel::detail {
namespace {

std::atomic<loop_core*> watcher{nullptr};
std::atomic<bool> struck{false};

// Async-signal-safe: two atomics and a write(2). SA_RESETHAND makes the second SIGINT deadly.
void on_interrupt(int) {
    struck.store(true);
    if (loop_core* core = watcher.load()) core->attention();
}

}  // namespace

interrupt_watch::interrupt_watch(loop& l) noexcept {
    if (::sigaction(SIGINT, nullptr, &before_) != 0 || before_.sa_handler != SIG_DFL) return;
    loop_core* nobody = nullptr;
    if (!watcher.compare_exchange_strong(nobody, &loop_core::of(l))) return;
    struck.store(false);
    struct sigaction mine{};
    mine.sa_handler = on_interrupt;
    mine.sa_flags = static_cast<int>(SA_RESETHAND);
    installed_ = ::sigaction(SIGINT, &mine, nullptr) == 0;
}

interrupt_watch::~interrupt_watch() {
    if (!installed_) return;
    // Somebody may have set a handler meanwhile; struck, ours has reset itself.
    struct sigaction now{};
    ::sigaction(SIGINT, nullptr, &now);
    if (now.sa_handler == on_interrupt || now.sa_handler == SIG_DFL)
        ::sigaction(SIGINT, &before_, nullptr);
    watcher.store(nullptr);
}

bool interrupt_watch::taken() noexcept {
    if (!installed_ || !struck.load(std::memory_order_relaxed) || !struck.exchange(false))
        return false;
    seen_ = true;
    return true;
}

void forget_interrupt() noexcept {
    watcher.store(nullptr);
    struck.store(false);
}

void die_of_interrupt() noexcept {
    std::fflush(nullptr);
    ::signal(SIGINT, SIG_DFL);
    ::sigset_t only{};
    ::sigemptyset(&only);
    ::sigaddset(&only, SIGINT);
    ::raise(SIGINT);
    ::pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
    ::_exit(128 + SIGINT);
}

}  // namespace runnel::detail

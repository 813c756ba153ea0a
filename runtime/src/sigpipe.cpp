// SPDX-License-Identifier: MIT
#include "sigpipe.hpp"

#include <csignal>
#include <mutex>

namespace runnel::detail {
namespace {

std::mutex guard;
unsigned loops = 0;
bool ignored_by_us = false;

}  // namespace

void ignore_sigpipe() noexcept {
    const std::lock_guard lock(guard);
    if (loops++ != 0) return;
    struct sigaction now{};
    if (::sigaction(SIGPIPE, nullptr, &now) != 0 || now.sa_handler != SIG_DFL) return;
    now.sa_handler = SIG_IGN;
    ignored_by_us = ::sigaction(SIGPIPE, &now, nullptr) == 0;
}

void restore_sigpipe() noexcept {
    const std::lock_guard lock(guard);
    if (--loops != 0 || !ignored_by_us) return;
    ignored_by_us = false;
    struct sigaction now{};
    if (::sigaction(SIGPIPE, nullptr, &now) != 0 || now.sa_handler != SIG_IGN) return;
    now.sa_handler = SIG_DFL;
    ::sigaction(SIGPIPE, &now, nullptr);
}

void forget_sigpipe() noexcept {
    loops = 0;
    ignored_by_us = false;
}

}  // namespace runnel::detail

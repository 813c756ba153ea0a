// SPDX-License-Identifier: MIT
#pragma once

#include <csignal>

#include <runnel/loop.hpp>

namespace runnel::detail {

/// While it lives, and if SIGINT had its default disposition, the first SIGINT wakes `l`; the
/// second one kills. One at a time in a process: others watch nothing.
class interrupt_watch {
public:
    explicit interrupt_watch(loop& l) noexcept;
    ~interrupt_watch();
    interrupt_watch(const interrupt_watch&) = delete;
    interrupt_watch& operator=(const interrupt_watch&) = delete;

    /// A SIGINT has come since it was asked last.
    [[nodiscard]] bool taken() noexcept;
    /// A SIGINT has come at all.
    [[nodiscard]] bool seen() const noexcept { return seen_; }

private:
    bool installed_ = false;
    bool seen_ = false;
    struct sigaction before_{};
};

/// In a forked child: nothing is watched, the dispositions are the child's own affair.
void forget_interrupt() noexcept;

}  // namespace runnel::detail

// SPDX-License-Identifier: MIT
#pragma once

namespace runnel::detail {

/// SIGPIPE is ignored while a loop lives, if nobody has set a handler: a write to a closed pipe is
/// an error of that write, not the end of the process. The last loop restores the disposition.
void ignore_sigpipe() noexcept;
void restore_sigpipe() noexcept;

struct sigpipe_ignored {
    sigpipe_ignored() noexcept { ignore_sigpipe(); }
    ~sigpipe_ignored() { restore_sigpipe(); }
    sigpipe_ignored(const sigpipe_ignored&) = delete;
    sigpipe_ignored& operator=(const sigpipe_ignored&) = delete;
};

/// In a forked child: there are no loops, and the disposition is the child's own affair.
void forget_sigpipe() noexcept;

}  // namespace runnel::detail

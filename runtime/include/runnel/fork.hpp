// SPDX-License-Identifier: MIT
#pragma once

namespace runnel {

/// For a process that forks without exec: the child calls this first, before it makes a loop of its
/// own. Afterwards nothing in the library refers to the loops of the parent any more; they must not
/// be used or destroyed in the child, since their rings stay the parent's.
void reset_after_fork() noexcept;

/// Whether the loop that runs on this thread has virtual time, under which other processes and what
/// is shared with them are refused.
[[nodiscard]] bool in_virtual_time() noexcept;

}  // namespace runnel

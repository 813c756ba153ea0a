// SPDX-License-Identifier: MIT
#pragma once

namespace runnel::ipc::detail {

/// How many threads this process has, without the kernel's own that serve io_uring and without
/// those that are ending.
unsigned count_threads();

}  // namespace runnel::ipc::detail

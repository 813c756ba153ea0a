// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <sys/types.h>

/// What a process knows of itself.
namespace runnel::ipc::this_process {

/// "MainProcess"; in a child that was spawned the name that spawn was given, or "Process-1",
/// "Process-2" and so on in the order of spawning; "Process-2:1" is the first child of the second.
/// The kernel's name of the process (ps, top) is the same in a child, cut to 15 characters.
[[nodiscard]] const std::string& name() noexcept;

/// The process id.
[[nodiscard]] ::pid_t id() noexcept;

}  // namespace runnel::ipc::this_process

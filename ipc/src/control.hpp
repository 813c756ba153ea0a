// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <runnel/ipc/detail/child.hpp>
#include <runnel/unique_fd.hpp>

/// The control socket between a parent and its child: a SEQPACKET pair. From the parent: one byte
/// asks to stop, and a hang-up means the same. From the child: one report, as few messages as it
/// takes. The child never waits for its parent to read: what is large goes into a memfd.
namespace runnel::ipc::detail::control {

/// Sends a report; `handles` are borrowed. Throws std::system_error.
void send(int socket, child_report::kind what, std::span<const std::byte> bytes,
          std::span<const int> handles);

/// Takes the next message, if there is one. Its handles come without loss or not at all: when there
/// is no room for them, it throws std::system_error and leaves the message where it is.
std::optional<child_report> receive(int socket);

}  // namespace runnel::ipc::detail::control

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <runnel/unique_fd.hpp>

namespace runnel::ipc::detail {

/// A memfd that holds `body` and can be changed by nobody any more. Throws std::system_error.
unique_fd make_segment(std::span<const std::byte> body);

/// Why a descriptor from a peer is not such a memfd of `length` bytes; null if it is. Nothing was
/// mapped or read before.
const char* segment_flaw(int fd, std::uint64_t length) noexcept;

}  // namespace runnel::ipc::detail

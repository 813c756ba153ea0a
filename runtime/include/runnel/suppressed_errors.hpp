// SPDX-License-Identifier: MIT
#pragma once

#include <exception>
#include <span>

namespace runnel {

/// The errors that came after the one which a nursery, when_all or race of this thread has rethrown
/// last: only the first is thrown, and this is where the others are. Valid until the next.
[[nodiscard]] std::span<const std::exception_ptr> suppressed_errors() noexcept;

}  // namespace runnel

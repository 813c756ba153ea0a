// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

namespace runnel::test {

/// How often this program has called operator new. A program that asks gets a counting one;
/// under a sanitizer nothing is counted.
[[nodiscard]] std::size_t allocations() noexcept;

}  // namespace runnel::test

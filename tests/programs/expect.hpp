// SPDX-License-Identifier: MIT
#pragma once

#include "support/catch.hpp"

// CHECK for what awaits: with g++ 12 Catch2's macros evaluate a co_await more than once.
inline void expect(bool ok) { CHECK(ok); }

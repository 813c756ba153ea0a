// SPDX-License-Identifier: MIT
#pragma once

// The one place that names Catch2's headers, so that the same tests build with versions 2 and 3.
// Keep to what both have: no Approx, no matchers, no generators.
#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/catch_tostring.hpp>
#else
#include <catch2/catch.hpp>
#endif

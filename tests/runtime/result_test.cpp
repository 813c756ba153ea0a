// SPDX-License-Identifier: MIT
#include <memory>
#include <system_error>

#include <runnel/result.hpp>

#include "support/catch.hpp"

using namespace runnel;

TEST_CASE("a result is a value") {
    result<int> four = 4;
    CHECK(four);
    CHECK(*four == 4);
    CHECK(!four.error());
    result<std::unique_ptr<int>> owner = std::make_unique<int>(5);
    const std::unique_ptr<int> taken = *std::move(owner);
    CHECK(*taken == 5);
    CHECK(result<void>());
}

TEST_CASE("a result is an error code, which value() throws") {
    const result<int> bad = std::make_error_code(std::errc::io_error);
    CHECK(!bad);
    CHECK(bad.error() == std::errc::io_error);
    CHECK_THROWS_AS(bad.value(), std::system_error);
    const result<void> worse = std::make_error_code(std::errc::io_error);
    CHECK_THROWS_AS(worse.value(), std::system_error);
}

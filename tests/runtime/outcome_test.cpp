// SPDX-License-Identifier: MIT
#include <memory>
#include <stdexcept>
#include <string>

#include <runnel/outcome.hpp>

#include "support/catch.hpp"

using namespace runnel;

TEST_CASE("an empty outcome is false and throws logic_error") {
    outcome<int> none;
    outcome<void> nothing;
    CHECK(!none);
    CHECK(!nothing);
    CHECK_THROWS_AS(*none, std::logic_error);
    CHECK_THROWS_AS(*nothing, std::logic_error);
}

TEST_CASE("an outcome with an error is true and throws it") {
    outcome<int> failed(std::make_exception_ptr(std::runtime_error("x")));
    CHECK(failed);
    CHECK(!failed.has_value());
    CHECK(failed.error() != nullptr);
    CHECK_THROWS_AS(*failed, std::runtime_error);
}

TEST_CASE("an outcome holds values, moved or copied in, and references") {
    std::string text(100, 'x');
    const outcome<std::string> copied(std::in_place, text);
    CHECK(text.size() == 100);
    CHECK(*copied == text);
    outcome<std::string> moved(std::in_place, std::move(text));
    CHECK(moved->size() == 100);
    outcome<std::unique_ptr<int>> owner(std::in_place, std::make_unique<int>(3));
    const std::unique_ptr<int> taken = *std::move(owner);
    CHECK(*taken == 3);
    int n = 1;
    outcome<int&> same(std::in_place, n);
    CHECK(&*same == &n);
}

// SPDX-License-Identifier: MIT
#include <stdexcept>

#include <runnel/runnel.hpp>

#include "support/after.hpp"
#include "support/catch.hpp"
#include "support/witness.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {
// Fails while it is being cancelled: its clean-up does.
task<int> fails_when_cancelled(const char* text) {
    struct cleanup {
        static task<> fail(const char* t) {
            co_await yield();
            throw std::runtime_error(t);
        }
    };
    co_await finally(sleep_for(1h), cleanup::fail(text));
    co_return 0;
}
}  // namespace

TEST_CASE("when_all gives all values, and monostate for none") {
    run(
        []() -> task<> {
            auto got = co_await when_all(after(5ms, 1), sleep_for(1ms), after(2ms, 3));
            CHECK(std::get<0>(got) == 1);
            CHECK(std::get<1>(got) == std::monostate());
            CHECK(std::get<2>(got) == 3);
            auto nothing = co_await when_all();
            CHECK(std::tuple_size_v<decltype(nothing)> == 0);
        },
        virtual_time);
}

TEST_CASE("the operands of when_all run side by side") {
    run(
        []() -> task<> {
            const auto begun = loop::current()->now();
            co_await when_all(sleep_for(1h), sleep_for(2h), sleep_for(3h));
            CHECK(loop::current()->now() - begun == 3h);
        },
        virtual_time);
}

TEST_CASE("the first error cancels the others, and later ones are suppressed") {
    run(
        []() -> task<> {
            std::string first, second;
            const auto begun = loop::current()->now();
            try {
                co_await when_all(fails_after(2ms, "first"), fails_when_cancelled("second"),
                                  after(1h, 1));
            } catch (const std::runtime_error& e) {
                first = e.what();
                const auto others = suppressed_errors();
                REQUIRE(others.size() == 1);
                try {
                    std::rethrow_exception(others[0]);
                } catch (const std::runtime_error& later) {
                    second = later.what();
                }
            }
            CHECK(first == "first");
            CHECK(second == "second");
            CHECK(loop::current()->now() - begun < 1s);
        },
        virtual_time);
}

TEST_CASE("when_all_settled waits for all and throws nothing") {
    run(
        []() -> task<> {
            auto got =
                co_await when_all_settled(fails_after(1ms, "no"), after(5ms, 2), sleep_for(1ms));
            CHECK(std::get<0>(got).error() != nullptr);
            CHECK(*std::get<1>(got) == 2);
            CHECK(std::get<2>(got).has_value());
        },
        virtual_time);
}

TEST_CASE("when_all takes a vector") {
    run(
        []() -> task<> {
            std::vector<task<int>> all;
            for (int i = 0; i < 100; ++i)
                all.push_back(after(std::chrono::milliseconds(100 - i), i));
            auto got = co_await when_all(std::move(all));
            REQUIRE(got.size() == 100);
            for (int i = 0; i < 100; ++i) CHECK(got[std::size_t(i)] == i);
            auto none = co_await when_all(std::vector<task<int>>());
            CHECK(none.empty());
        },
        virtual_time);
}

TEST_CASE("a cancelled when_all cancels all of its operands") {
    std::string log;
    auto waits = [](std::string& l, char name) -> task<> {
        const witness w(l, name);
        co_await sleep_for(1h);
    };
    run(
        [&]() -> task<> {
            const bool done = co_await with_timeout(
                [](auto& make, std::string& l) -> task<> {
                    co_await when_all(make(l, 'a'), make(l, 'b'));
                }(waits, log),
                1ms);
            CHECK(!done);
            CHECK(log == "ab");
        },
        virtual_time);
}

// SPDX-License-Identifier: MIT
#include <stdexcept>
#include <system_error>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"

using namespace runnel;

TEST_CASE("as_result gives the value or the error of an operation") {
    run([]() -> task<> {
        char c = 0;
        auto into = std::as_writable_bytes(std::span(&c, 1));
        auto bad = co_await as_result(io::read(-1, into));
        CHECK(!bad);
        CHECK(bad.error() == std::errc::bad_file_descriptor);
        auto good = co_await as_result(io::nop());
        CHECK(good);
    });
}

TEST_CASE("as_result of a task catches system_error, and nothing else") {
    run([]() -> task<> {
        auto refused = []() -> task<int> {
            co_await yield();
            throw std::system_error(std::make_error_code(std::errc::timed_out));
        };
        auto worse = []() -> task<int> {
            co_await yield();
            throw std::logic_error("worse");
        };
        auto fine = []() -> task<int> { co_return 4; };
        auto got = co_await as_result(refused());
        CHECK(got.error() == std::errc::timed_out);
        auto value = co_await as_result(fine());
        CHECK(*value == 4);
        bool thrown = false;
        try {
            auto never = co_await as_result(worse());
            CHECK(!never);
        } catch (const std::logic_error&) {
            thrown = true;
        }
        CHECK(thrown);
    });
}

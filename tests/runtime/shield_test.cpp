// SPDX-License-Identifier: MIT
#include <stdexcept>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/witness.hpp"

using namespace runnel;
using namespace std::chrono_literals;

TEST_CASE("what is shielded runs to its end, the request is met at the next await") {
    std::string log;
    run(
        [&]() -> task<> {
            auto work = [&]() -> task<> {
                const witness w(log, '.');
                co_await shield(sleep_for(1h));
                log += "done";
                co_await yield();
                log += "never";
            };
            const auto begun = loop::current()->now();
            const bool finished = co_await with_timeout(work(), 1ms);
            CHECK(!finished);
            CHECK(loop::current()->now() - begun == 1h);
        },
        virtual_time);
    CHECK(log == "done.");
}

TEST_CASE("what is shielded runs even if cancellation was requested before") {
    std::string log;
    run(
        [&]() -> task<> {
            co_await open_nursery([&](nursery& n) -> task<> {
                n.cancel();
                co_await shield(sleep_for(1s));
                log += "shield ";
                auto slept = co_await as_result(shield(sleep_for(1s)));
                CHECK(slept);
                log += "as_result";
                co_await yield();
                log += "never";
            });
        },
        virtual_time);
    CHECK(log == "shield as_result");
}

TEST_CASE("a shielded error is thrown, a shielded value given") {
    run([]() -> task<> {
        auto fails = []() -> task<int> {
            co_await yield();
            throw std::runtime_error("no");
        };
        auto gives = []() -> task<int> { co_return 3; };
        bool thrown = false;
        try {
            co_await shield(fails());
        } catch (const std::runtime_error&) {
            thrown = true;
        }
        CHECK(thrown);
        const int three = co_await shield(gives());
        CHECK(three == 3);
    });
}

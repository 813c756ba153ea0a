// SPDX-License-Identifier: MIT
#include <stdexcept>

#include <runnel/runnel.hpp>

#include "support/after.hpp"
#include "support/catch.hpp"
#include "support/witness.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

TEST_CASE("a race gives the first that completes and cancels the others") {
    std::string log;
    auto loser = [](std::string& l) -> task<> {
        const witness w(l, 'x');
        co_await sleep_for(1h);
        l += '!';
    };
    run(
        [&]() -> task<> {
            auto got = co_await race(after(5ms, 1), loser(log), after(10ms, 2));
            CHECK(std::get<0>(got).has_value());
            CHECK(*std::get<0>(got) == 1);
            CHECK(!std::get<1>(got));
            CHECK(!std::get<2>(got));
            CHECK(log == "x");
        },
        virtual_time);
}

TEST_CASE("a race keeps every result that came") {
    run(
        []() -> task<> {
            event a, b;
            a.set();
            b.set();
            auto got = co_await race(a.wait(), b.wait());
            CHECK(std::get<0>(got).has_value());
            CHECK(std::get<1>(got).has_value());
            auto tasks = co_await race(after(5ms, 1), after(5ms, 2));
            CHECK((std::get<0>(tasks) || std::get<1>(tasks)));
        },
        virtual_time);
}

TEST_CASE("an error wins a race as an outcome beside a value, and is thrown alone") {
    run(
        []() -> task<> {
            auto cleanup_value = [](event& e) -> task<int> {
                auto both = co_await as_result(shield(e.wait()));
                co_return both ? 3 : 0;
            };
            event e;
            e.set();
            bool thrown = false;
            try {
                auto got = co_await race(fails_after(1ms, "first"), after(1h, 1));
                CHECK(!std::get<0>(got));
            } catch (const std::runtime_error& error) {
                thrown = std::string(error.what()) == "first";
            }
            CHECK(thrown);
            auto got = co_await race(cleanup_value(e), fails_after(1h, "late"));
            CHECK(*std::get<0>(got) == 3);
        },
        virtual_time);
}

TEST_CASE("when all that completed has failed, the first is thrown and the others are kept") {
    run(
        []() -> task<> {
            bool thrown = false;
            auto also = []() -> task<int> {
                const int unused = 0;
                auto done = co_await with_timeout(shield(sleep_for(10ms)), 1h);
                if (done) throw std::logic_error("second");
                co_return unused;
            };
            try {
                co_await race(fails_after(1ms, "first"), also());
            } catch (const std::runtime_error&) {
                thrown = true;
            }
            CHECK(thrown);
        },
        virtual_time);
}

TEST_CASE("a race of a vector gives an outcome for each, none for none") {
    run(
        []() -> task<> {
            std::vector<task<int>> all;
            for (int i = 0; i < 5; ++i) all.push_back(after(std::chrono::milliseconds(10 - i), i));
            auto got = co_await race(std::move(all));
            CHECK(got.size() == 5);
            CHECK(got[4].has_value());
            CHECK(!got[0]);
            auto none = co_await race(std::vector<task<int>>());
            CHECK(none.empty());
        },
        virtual_time);
}

TEST_CASE("an operand that is always ready does not keep the others from being looked at") {
    run([]() -> task<> {
        event always, sometimes;
        always.set();
        int seen = 0;
        for (int i = 0; i < 100; ++i) {
            sometimes.set();
            auto got = co_await race(always.wait(), sometimes.wait());
            if (std::get<1>(got)) ++seen;
            sometimes.clear();
        }
        CHECK(seen == 100);
    });
}

TEST_CASE("an operand may be a named task, which is used up") {
    run(
        []() -> task<> {
            auto work = after(1ms, 4);
            auto got = co_await race(work, sleep_for(1h));
            CHECK(*std::get<0>(got) == 4);
            CHECK(!work);
        },
        virtual_time);
}

// SPDX-License-Identifier: MIT
// Programs as users write them: several things at once.
#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include <runnel/runnel.hpp>

#include "programs/expect.hpp"
#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

task<int> after(std::chrono::milliseconds t, int n) {
    co_await sleep_for(t);
    co_return n;
}
task<std::string> word(std::string w) {
    co_await yield();
    co_return w + std::string(40, '.');
}
task<int> fail(const char* why) {
    co_await yield();
    throw std::runtime_error(why);
}
task<> nothing() { co_return; }

}  // namespace

TEST_CASE("fetch two things at once") {
    run([]() -> task<> {
        auto [n, w] = co_await when_all(after(1ms, 5), word("w"));
        CHECK(n == 5);
        CHECK(w.size() == 41);
    });
}

TEST_CASE("add the results of when_all in one expression") {
    const int sum = run([]() -> task<int> {
        auto got = co_await when_all(after(2ms, 1), after(1ms, 2), nothing(), sleep_for(1ms));
        co_return std::get<0>(got) + std::get<1>(got);
    });
    CHECK(sum == 3);
}

TEST_CASE("download everything in a list") {
    const int total = run([]() -> task<int> {
        std::vector<task<int>> all;
        for (int i = 1; i <= 10; ++i) all.push_back(after(1ms, i));
        auto values = co_await when_all(std::move(all));
        co_return std::accumulate(values.begin(), values.end(), 0);
    });
    CHECK(total == 55);
}

TEST_CASE("loop over awaited results in a range for") {
    std::string joined;
    run([&]() -> task<> {
        std::vector<task<std::string>> all;
        all.push_back(word("a"));
        all.push_back(word("b"));
        for (auto& w : co_await when_all(std::move(all))) joined += w[0];
    });
    CHECK(joined == "ab");
}

TEST_CASE("the first mirror wins") {
    run([]() -> task<> {
        auto got = co_await race(after(1h, 1), after(1ms, 2), sleep_for(1h));
        CHECK_FALSE(std::get<0>(got));
        CHECK(std::get<1>(got));
        if (auto& second = std::get<1>(got)) CHECK(*second == 2);
        CHECK_FALSE(std::get<2>(got));
    });
}

TEST_CASE("race a list of tasks and find the winner") {
    const int winner = run([]() -> task<int> {
        std::vector<task<int>> all;
        for (int i = 0; i < 5; ++i) all.push_back(after(i == 3 ? 1ms : 3600'000ms, i));
        auto got = co_await race(std::move(all));
        for (auto& one : got)
            if (one) co_return *one;
        co_return -1;
    });
    CHECK(winner == 3);
}

TEST_CASE("race a task, an operation, an event and a lock") {
    event e;
    mutex m;
    run([&]() -> task<> {
        auto held = co_await m.lock();
        auto got = co_await race(after(1h, 1), e.wait(), m.lock(), sleep_for(1ms));
        CHECK(std::get<3>(got));
        CHECK_FALSE(std::get<2>(got));
    });
    CHECK_FALSE(m.is_locked());
}

TEST_CASE("a deadline for a call") {
    run([]() -> task<> {
        auto in_time = co_await with_timeout(after(1ms, 4), 1min);
        CHECK(in_time.value() == 4);
        auto late = co_await with_timeout(after(1h, 4), 1ms);
        CHECK_FALSE(late);
        expect(co_await with_timeout(nothing(), 1s));
        int n = (co_await with_timeout(after(1h, 4), 1ms)).value_or(9);
        CHECK(n == 9);
    });
}

TEST_CASE("retry with timeouts that grow") {
    int tries = 0;
    auto server = [&]() -> task<std::string> {
        if (++tries < 3) co_await sleep_for(1h);
        co_return "pong";
    };
    auto ask = [&]() -> task<std::string> {
        for (auto limit = 1ms; limit < 1s; limit *= 2)
            if (auto answer = co_await with_timeout(server(), limit)) co_return *answer;
        throw std::runtime_error("no answer");
    };
    CHECK(run(ask) == "pong");
    CHECK(tries == 3);
}

TEST_CASE("an error in when_all cancels the rest") {
    bool finished = false;
    auto slow = [&]() -> task<> {
        co_await sleep_for(1h);
        finished = true;
    };
    run([&]() -> task<> {
        std::string why;
        try {
            co_await when_all(slow(), fail("this one"), fail("and this"));
        } catch (const std::runtime_error& e) {
            why = e.what();
        }
        CHECK(why == "this one");
        CHECK(suppressed_errors().size() == 1);
    });
    CHECK_FALSE(finished);
}

TEST_CASE("settle everything and count the failures") {
    run([]() -> task<> {
        auto got = co_await when_all_settled(after(1ms, 1), fail("x"), nothing());
        CHECK(*std::get<0>(got) == 1);
        CHECK(std::get<1>(got).error());
        CHECK(std::get<2>(got).has_value());
        std::vector<task<int>> all;
        all.push_back(fail("1"));
        all.push_back(after(1ms, 1));
        all.push_back(fail("2"));
        auto each = co_await when_all_settled(std::move(all));
        CHECK(std::count_if(each.begin(), each.end(),
                            [](auto& o) { return o.error() != nullptr; }) == 2);
    });
}

TEST_CASE("combinators inside combinators") {
    run([]() -> task<> {
        auto got = co_await with_timeout(
            when_all(race(after(1ms, 1), after(1h, 2)), with_timeout(after(1h, 3), 1ms),
                     with_timeout(race(sleep_for(1h), word("w")), 1min)),
            1min);
        REQUIRE(got);
        auto& [raced, late, in_time] = *got;
        CHECK(*std::get<0>(raced) == 1);
        CHECK_FALSE(late);
        CHECK(std::get<1>(*in_time)->size() == 41);
    });
}

TEST_CASE("name the operations first and race them by name") {
    run([]() -> task<> {
        event e;
        auto slow = after(1h, 1);
        auto waiting = e.wait();
        e.set();
        auto got = co_await race(slow, waiting);
        CHECK(std::get<1>(got));
        auto again = co_await race(e.wait(), after(1h, 1));
        CHECK(std::get<0>(again));
    });
}

TEST_CASE("race in a loop until something stops it") {
    event stop;
    int ticks = 0;
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                for (;;) {
                    auto got = co_await race(sleep_for(1ms), stop.wait());
                    if (std::get<1>(got)) co_return;
                    if (++ticks == 3) stop.set();
                }
            });
            co_return;
        });
    });
    CHECK(ticks == 3);
}

TEST_CASE("if the winner is in the condition") {
    event e;
    e.set();
    auto body = [&]() -> task<int> {
        if (std::get<0>(co_await race(e.wait(), sleep_for(1h)))) co_return 1;
        co_return 2;
    };
    CHECK(run(body) == 1);
}

TEST_CASE("move-only values come out of all combinators") {
    auto make = [](int n) -> task<std::unique_ptr<int>> {
        co_await yield();
        co_return std::make_unique<int>(n);
    };
    run([&]() -> task<> {
        auto all = co_await when_all(make(1), make(2));
        CHECK(*std::get<0>(all) + *std::get<1>(all) == 3);
        auto raced = co_await race(make(3), sleep_for(1h));
        std::unique_ptr<int> three = std::move(*std::get<0>(raced));
        CHECK(*three == 3);
        auto timed = co_await with_timeout(make(4), 1min);
        CHECK(**timed == 4);
        auto guarded = co_await shield(make(5));
        CHECK(*guarded == 5);
        auto cleaned = co_await finally(make(6), nothing());
        CHECK(*cleaned == 6);
    });
}

TEST_CASE("references come out of all combinators") {
    int value = 7;
    auto give = [&]() -> task<int&> { co_return value; };
    run([&]() -> task<> {
        auto all = co_await when_all(give(), after(1ms, 1));
        CHECK(&std::get<0>(all) == &value);
        auto raced = co_await race(give(), sleep_for(1h));
        CHECK(&*std::get<0>(raced) == &value);
        auto timed = co_await with_timeout(give(), 1min);
        CHECK(&timed->get() == &value);
        int& guarded = co_await shield(give());
        CHECK(&guarded == &value);
    });
}

TEST_CASE("an operation that fails, as a result") {
    run([]() -> task<> {
        std::array<std::byte, 8> buffer;
        auto got = co_await as_result(io::read(-1, buffer));
        CHECK_FALSE(got);
        CHECK(got.error() == std::errc::bad_file_descriptor);
        if (auto n = co_await as_result(io::read(-1, buffer)); !n)
            CHECK(n.error().value() == EBADF);
        auto fine = co_await as_result(after(1ms, 3));
        CHECK(*fine == 3);
        expect((co_await as_result(io::read(-1, buffer))).error() ==
               std::errc::bad_file_descriptor);
        auto timed = co_await with_timeout(as_result(io::read(-1, buffer)), 1s);
        CHECK_FALSE(*timed);
    });
}

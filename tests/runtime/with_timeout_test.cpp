// SPDX-License-Identifier: MIT
#include <stdexcept>

#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/after.hpp"
#include "support/catch.hpp"
#include "support/witness.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

TEST_CASE("with_timeout gives the value in time, and nothing when late") {
    run(
        []() -> task<> {
            auto in_time = co_await with_timeout(after(5ms, 1), 10ms);
            CHECK(in_time == 1);
            auto late = co_await with_timeout(after(15ms, 1), 10ms);
            CHECK(!late);
            const bool slept = co_await with_timeout(sleep_for(1ms), 1h);
            CHECK(slept);
        },
        virtual_time);
}

TEST_CASE("timeouts that are armed and cancelled cost the kernel nothing") {
    run([]() -> task<> {
        loop& l = *loop::current();
        for (int i = 0; i < 10; ++i)
            co_await io::nop();  // the loop's own requests are on their way
        event done;
        int in_time = 0;
        const auto waits = [&]() -> task<> { in_time += co_await with_timeout(done.wait(), 1h); };
        const loop_stats before = l.stats();
        loop_stats armed, after;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 1000; ++i) n.start(waits);
            for (int i = 0; i < 100 && l.stats().timers < 1000; ++i) co_await yield();
            armed = l.stats();
            done.set();
            for (int i = 0; i < 100 && n.size() != 0; ++i) co_await yield();
            after = l.stats();
        });
        CHECK(armed.timers == 1000);
        CHECK(in_time == 1000);
        CHECK(after.timers == 0);
        CHECK(after.submissions == before.submissions);
        CHECK(after.enters == before.enters);
    });
}

TEST_CASE("a timeout of zero takes what is there") {
    run([]() -> task<> {
        event set, unset;
        set.set();
        const bool there = co_await with_timeout(set.wait(), 0s);
        const bool absent = co_await with_timeout(unset.wait(), 0s);
        const bool negative = co_await with_timeout(unset.wait(), -5s);
        CHECK(there);
        CHECK(!absent);
        CHECK(!negative);
    });
}

TEST_CASE("the longest timeout never ends") {
    run(
        []() -> task<> {
            auto got = co_await with_timeout(after(5ms, 1), std::chrono::hours::max());
            CHECK(got == 1);
        },
        virtual_time);
}

TEST_CASE("the nearer of two nested deadlines ends the wait, and only its own") {
    run(
        []() -> task<> {
            event never;
            const auto begun = loop::current()->now();
            auto inner = co_await with_timeout(with_timeout(never.wait(), 1h), 2h);
            REQUIRE(inner.has_value());
            CHECK(*inner == false);
            CHECK(loop::current()->now() - begun == 1h);
            auto outer = co_await with_timeout(with_timeout(never.wait(), 2h), 1h);
            CHECK(!outer.has_value());
            CHECK(loop::current()->now() - begun == 2h);
        },
        virtual_time);
}

TEST_CASE("with_deadline ends at a point of time") {
    run(
        []() -> task<> {
            event never;
            const auto when = loop::current()->now() + 90min;
            const bool got = co_await with_deadline(never.wait(), when);
            CHECK(!got);
            CHECK(loop::current()->now() == when);
            const bool past = co_await with_deadline(never.wait(), when - 1h);
            CHECK(!past);
            CHECK(loop::current()->now() == when);
        },
        virtual_time);
}

TEST_CASE("an error within the timeout is thrown") {
    run(
        []() -> task<> {
            auto fails = []() -> task<> {
                co_await sleep_for(1ms);
                throw std::runtime_error("no");
            };
            bool thrown = false;
            try {
                co_await with_timeout(fails(), 1h);
            } catch (const std::runtime_error&) {
                thrown = true;
            }
            CHECK(thrown);
        },
        virtual_time);
}

TEST_CASE("a read that timed out has read nothing") {
    int fds[2];
    REQUIRE(::pipe(fds) == 0);
    const unique_fd out(fds[0]), in(fds[1]);
    run([&]() -> task<> {
        char c = 0;
        auto into = std::as_writable_bytes(std::span(&c, 1));
        auto late = co_await with_timeout(io::read(out.get(), into), 1ms);
        CHECK(!late);
        REQUIRE(::write(in.get(), "x", 1) == 1);
        auto got = co_await with_timeout(io::read(out.get(), into), 1h);
        CHECK(got == 1u);
        CHECK(c == 'x');
    });
}

TEST_CASE("a late task is unwound before with_timeout returns") {
    std::string log;
    run(
        [&]() -> task<> {
            auto slow = [](std::string& l) -> task<> {
                const witness w(l, 'w');
                co_await sleep_for(1h);
            };
            const bool got = co_await with_timeout(slow(log), 1ms);
            CHECK(!got);
            CHECK(log == "w");
        },
        virtual_time);
}

TEST_CASE("a task that was used up is refused, whatever it is put into") {
    int refused = 0;
    run([&]() -> task<> {
        auto used = []() -> task<> { co_return; }();
        co_await std::move(used);
        const auto count = [&](auto attempt) -> task<> {
            try {
                co_await attempt();
            } catch (const std::invalid_argument&) {
                ++refused;
            }
        };
        co_await count([&]() -> task<> { co_await std::move(used); });
        co_await count([&]() -> task<> { co_await with_timeout(used, std::chrono::seconds(1)); });
        co_await count([&]() -> task<> { co_await race(used, yield()); });
        co_await count([&]() -> task<> { co_await when_all(used, yield()); });
        co_await count([&]() -> task<> { co_await when_all_settled(used, yield()); });
        co_await count([&]() -> task<> { co_await shield(used); });
        co_await count([&]() -> task<> { co_await finally(used, yield()); });
        co_await count([&]() -> task<> { co_await cancel_on(std::stop_token(), used); });
    });
    CHECK(refused == 8);
}

// SPDX-License-Identifier: MIT
#include <runnel/semaphore.hpp>

#include <chrono>
#include <stdexcept>
#include <vector>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

static_assert(atomic_awaitable<decltype(std::declval<semaphore&>().acquire())>);

namespace {

task<> take(semaphore& s, std::size_t n, std::vector<std::size_t>& log) {
    co_await s.acquire(n);
    log.push_back(n);
}

}  // namespace

TEST_CASE("a semaphore gives what is there at once") {
    run([]() -> task<> {
        semaphore s(3);
        co_await s.acquire();
        CHECK(s.available() == 2);
        co_await s.acquire(2);
        CHECK(s.available() == 0);
        CHECK_FALSE(s.try_acquire());
        s.release(3);
        CHECK(s.try_acquire(3));
    });
}

TEST_CASE("a permit gives back what it holds, once") {
    run([]() -> task<> {
        semaphore s(4);
        {
            auto two = co_await s.hold(2);
            auto one = co_await s.hold();
            CHECK(two.count() == 2);
            CHECK(s.available() == 1);
            two = std::move(one);
            CHECK(s.available() == 3);
            two.release();
            two.release();
            CHECK(s.available() == 4);
        }
        CHECK(s.available() == 4);
    });
}

TEST_CASE("who wants many permits is not overtaken by who wants few") {
    run([]() -> task<> {
        semaphore s(2);
        std::vector<std::size_t> log;
        co_await s.acquire();
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(take(s, 3, log));
            n.start(take(s, 1, log));
            co_await yield();
            CHECK(log.empty());
            CHECK_FALSE(s.try_acquire());
            s.release(2);
            co_await yield();
            CHECK(log == std::vector<std::size_t>{3});
            s.release();
        });
        CHECK(log == std::vector<std::size_t>{3, 1});
    });
}

TEST_CASE("when who wants many is cancelled, those behind get their permits") {
    run([]() -> task<> {
        semaphore s(1);
        std::vector<std::size_t> log;
        co_await open_nursery([&](nursery& n) -> task<> {
            co_await open_nursery([&](nursery& inner) -> task<> {
                inner.start(take(s, 5, log));
                co_await yield();
                n.start(take(s, 1, log));
                co_await yield();
                CHECK(log.empty());
                inner.cancel();
            });
        });
        CHECK(log == std::vector<std::size_t>{1});
        CHECK(s.available() == 0);
    });
}

TEST_CASE("permits that were given before the cancellation are delivered") {
    run([]() -> task<> {
        semaphore s(0);
        std::vector<std::size_t> log;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(take(s, 2, log));
            co_await yield();
            s.release(2);
            n.cancel();
        });
        CHECK(log == std::vector<std::size_t>{2});
        CHECK(s.available() == 0);
    });
}

TEST_CASE("permits that were given to what fails otherwise are given back") {
    run([]() -> task<> {
        semaphore s(0);
        const auto fails = [&]() -> task<> {
            co_await yield();
            s.release(2);
            throw std::runtime_error("on purpose");
        };
        bool thrown = false;
        try {
            co_await when_all(s.hold(2), fails());
        } catch (const std::runtime_error&) {
            thrown = true;
        }
        CHECK(thrown);
        CHECK(s.available() == 2);
    });
}

TEST_CASE("an acquire that times out takes nothing") {
    run(
        []() -> task<> {
            semaphore s(1);
            const bool late = co_await with_timeout(s.acquire(2), 10ms);
            CHECK_FALSE(late);
            CHECK(s.available() == 1);
            const bool in_time = co_await with_timeout(s.acquire(1), 10ms);
            CHECK(in_time);
        },
        {.virtual_time = true});
}

TEST_CASE("a bounded semaphore refuses what would never fit") {
    run([]() -> task<> {
        semaphore s(1, 2);
        CHECK_THROWS_AS(semaphore(3, 2), std::invalid_argument);
        CHECK_THROWS_AS(s.release(2), std::invalid_argument);
        CHECK(s.available() == 1);
        s.release();
        bool refused = false;
        try {
            co_await s.acquire(3);
        } catch (const std::invalid_argument&) {
            refused = true;
        }
        CHECK(refused);
    });
}

TEST_CASE("a loop that is destroyed ends those who wait for a semaphore") {
    semaphore s(0);
    std::vector<std::size_t> log;
    {
        loop l;
        l.start(take, std::ref(s), 1u, std::ref(log));
        l.poll();
    }
    CHECK(log.empty());
    s.release();
    CHECK(s.available() == 1);
}

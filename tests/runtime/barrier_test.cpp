// SPDX-License-Identifier: MIT
#include <runnel/barrier.hpp>

#include <chrono>
#include <stdexcept>
#include <vector>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

static_assert(atomic_awaitable<barrier::arrive_operation>);

namespace {

task<> pass(barrier& b, std::vector<std::size_t>& places) {
    const std::size_t place = co_await b.arrive_and_wait();
    places.push_back(place);
}

}  // namespace

TEST_CASE("the last to arrive at a barrier lets all go, and each knows its place") {
    run([]() -> task<> {
        barrier b(3);
        std::vector<std::size_t> places;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(pass(b, places));
            n.start(pass(b, places));
            co_await yield();
            CHECK(b.waiting() == 2);
            CHECK(places.empty());
            const auto mine = co_await b.arrive_and_wait();
            CHECK(mine == 2);
        });
        CHECK(places == std::vector<std::size_t>{0, 1});
        CHECK(b.waiting() == 0);
    });
}

TEST_CASE("a barrier stands again for the next phase") {
    run([]() -> task<> {
        barrier b(2);
        std::vector<int> log;
        const auto worker = [&](int id) -> task<> {
            for (int phase = 0; phase < 100; ++phase) {
                log.push_back(phase);
                co_await b.arrive_and_wait();
                if (id == 1 && phase % 3 == 0) co_await yield();
            }
        };
        co_await when_all(worker(0), worker(1));
        for (int i = 0; i < 200; ++i)
            if (log[static_cast<std::size_t>(i)] != i / 2) FAIL("phases were mixed");
    });
}

TEST_CASE("a task that is cancelled at a barrier has not arrived") {
    run([]() -> task<> {
        barrier b(2);
        std::vector<std::size_t> places;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(pass(b, places));
            co_await yield();
            n.cancel();
        });
        CHECK(places.empty());
        CHECK(b.waiting() == 0);
        co_await when_all(pass(b, places), pass(b, places));
        CHECK(places.size() == 2);
    });
}

TEST_CASE("a barrier that was passed before the cancellation is delivered") {
    run([]() -> task<> {
        barrier b(2);
        std::vector<std::size_t> places;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(pass(b, places));
            co_await yield();
            co_await b.arrive_and_wait();
            n.cancel();
        });
        CHECK(places == std::vector<std::size_t>{0});
    });
}

TEST_CASE("a wait at a barrier that times out has not arrived") {
    run(
        []() -> task<> {
            barrier b(2);
            const auto late = co_await with_timeout(b.arrive_and_wait(), 10ms);
            CHECK_FALSE(late);
            CHECK(b.waiting() == 0);
        },
        {.virtual_time = true});
}

TEST_CASE("a barrier for one lets everybody pass, one for nobody is refused") {
    run([]() -> task<> {
        barrier b(1);
        const auto place = co_await b.arrive_and_wait();
        CHECK(place == 0);
        CHECK_THROWS_AS(barrier(0), std::invalid_argument);
    });
}

TEST_CASE("a loop that is destroyed ends those who wait at a barrier") {
    barrier b(2);
    std::vector<std::size_t> places;
    {
        loop l;
        l.start(pass, std::ref(b), std::ref(places));
        l.poll();
        CHECK(b.waiting() == 1);
    }
    CHECK(b.waiting() == 0);
    CHECK(places.empty());
}

// SPDX-License-Identifier: MIT
#include <runnel/event.hpp>

#include <chrono>
#include <functional>
#include <thread>
#include <utility>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

static_assert(atomic_awaitable<event::wait_operation>);

namespace {

task<> count_wake(event& e, int& woken) {
    co_await e.wait();
    ++woken;
}

}  // namespace

TEST_CASE("an event that is set lets everybody pass until it is cleared") {
    run(
        []() -> task<> {
            event e;
            e.set();
            co_await e.wait();
            co_await e.wait();
            CHECK(e.is_set());
            e.clear();
            const bool passed = co_await with_timeout(e.wait(), 10ms);
            CHECK_FALSE(passed);
        },
        {.virtual_time = true});
}

TEST_CASE("setting an event resumes all who wait") {
    run([]() -> task<> {
        event e;
        int woken = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 10; ++i) n.start(count_wake(e, woken));
            co_await yield();
            CHECK(woken == 0);
            e.set();
            e.clear();  // they were resumed all the same
        });
        CHECK(woken == 10);
    });
}

TEST_CASE("a wait for an event that is cancelled is not resumed") {
    run([]() -> task<> {
        event e;
        int woken = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(count_wake(e, woken));
            co_await yield();
            n.cancel();
            e.set();
        });
        CHECK(woken == 0);
    });
}

TEST_CASE("an event that was set before the cancellation is delivered") {
    run([]() -> task<> {
        event e;
        int woken = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(count_wake(e, woken));
            co_await yield();
            e.set();
            n.cancel();
        });
        CHECK(woken == 1);
    });
}

TEST_CASE("a loop that is destroyed ends those who wait for an event") {
    event e;
    int woken = 0;
    {
        loop l;
        l.start(count_wake, std::ref(e), std::ref(woken));
        l.poll();
    }
    e.set();
    CHECK(woken == 0);
}

TEST_CASE("an event that is set on another thread wakes the loop") {
    for (int round = 0; round < 20; ++round) {
        event ready;
        std::thread other;
        run([&]() -> task<> {
            other = std::thread([&] { ready.set(); });
            co_await ready.wait();
        });
        other.join();
    }
}

TEST_CASE("two loops on two threads play ping-pong with events") {
    constexpr int rounds = 1000;
    event ping;
    event pong;
    const auto player = [](event& mine, event& theirs, bool begins) -> task<> {
        for (int i = 0; i < rounds; ++i) {
            if (begins) theirs.set();
            co_await mine.wait();
            mine.clear();
            if (!begins) theirs.set();
        }
    };
    std::thread other([&] { run(player(pong, ping, false)); });
    run(player(ping, pong, true));
    other.join();
    CHECK_FALSE(pong.is_set());
}

// SPDX-License-Identifier: MIT
#include <runnel/mutex.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <vector>

#include <runnel/run.hpp>
#include <runnel/runnel.hpp>

#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

static_assert(atomic_awaitable<mutex::lock_operation>);

namespace {

task<> hold_for_turns(mutex& m, int turns, std::vector<int>& log, int id) {
    const auto held = co_await m.lock();
    log.push_back(id);
    for (int i = 0; i < turns; ++i) co_await yield();
}

task<> give_up_while_waiting(mutex& m, bool& got) {
    const auto held = co_await m.lock();
    got = true;
}

}  // namespace

TEST_CASE("a mutex that is free is locked at once") {
    run([]() -> task<> {
        mutex m;
        const auto held = co_await m.lock();
        CHECK(m.is_locked());
        CHECK(held);
    });
}

TEST_CASE("a mutex is free again when its guard is dropped, moved over or unlocked") {
    mutex m;
    auto first = m.try_lock();
    REQUIRE(first);
    CHECK_FALSE(m.try_lock());
    mutex::guard moved = std::move(*first);
    CHECK(m.is_locked());
    moved.unlock();
    CHECK_FALSE(m.is_locked());
    moved.unlock();
    moved = std::move(*m.try_lock());
    CHECK(m.is_locked());
    moved = mutex::guard();
    CHECK_FALSE(m.is_locked());
}

TEST_CASE("tasks get a mutex in the order in which they asked") {
    mutex m;
    std::vector<int> log;
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 5; ++i) n.start(hold_for_turns(m, i % 3, log, i));
            co_return;
        });
    });
    CHECK(log == std::vector<int>{0, 1, 2, 3, 4});
    CHECK_FALSE(m.is_locked());
}

TEST_CASE("a newcomer does not overtake the one that a mutex was handed to") {
    run([]() -> task<> {
        mutex m;
        std::vector<int> log;
        auto held = co_await m.lock();
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(hold_for_turns(m, 0, log, 1));
            co_await yield();
            held.unlock();
            CHECK_FALSE(m.try_lock());
            log.push_back(0);
        });
        CHECK(log == std::vector<int>{0, 1});
    });
}

TEST_CASE("a task that is cancelled while it waits never gets the mutex") {
    run([]() -> task<> {
        mutex m;
        bool got = false;
        std::vector<int> log;
        auto held = co_await m.lock();
        co_await open_nursery([&](nursery& n) -> task<> {
            co_await open_nursery([&](nursery& inner) -> task<> {
                inner.start(give_up_while_waiting(m, got));
                n.start(hold_for_turns(m, 0, log, 1));
                co_await yield();
                inner.cancel();
            });
            held.unlock();
        });
        CHECK_FALSE(got);
        CHECK(log == std::vector<int>{1});
        CHECK_FALSE(m.is_locked());
    });
}

TEST_CASE("a mutex that was handed over before the cancellation is delivered") {
    run([]() -> task<> {
        mutex m;
        bool got = false;
        auto held = co_await m.lock();
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(give_up_while_waiting(m, got));
            co_await yield();
            held.unlock();
            n.cancel();
        });
        CHECK(got);
        CHECK_FALSE(m.is_locked());
    });
}

TEST_CASE("a mutex that was handed over to what fails otherwise is passed on") {
    run([]() -> task<> {
        mutex m;
        auto held = co_await m.lock();
        const auto fails = [&]() -> task<> {
            co_await yield();
            held.unlock();
            throw std::runtime_error("on purpose");
        };
        bool thrown = false;
        try {
            co_await when_all(m.lock(), fails());
        } catch (const std::runtime_error&) {
            thrown = true;
        }
        CHECK(thrown);
        CHECK_FALSE(m.is_locked());
    });
}

TEST_CASE("a lock that times out has no effect") {
    run(
        []() -> task<> {
            mutex m;
            auto held = co_await m.lock();
            const auto late = co_await with_timeout(m.lock(), 10ms);
            CHECK_FALSE(late);
            held.unlock();
            const auto at_once = co_await with_timeout(m.lock(), 10ms);
            CHECK(at_once);
        },
        {.virtual_time = true});
}

TEST_CASE("a task that is cancelled before it asks for a mutex leaves it alone") {
    run([]() -> task<> {
        mutex m;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.cancel();
            const auto held = co_await m.lock();
            CHECK(false);
        });
        CHECK_FALSE(m.is_locked());
    });
}

TEST_CASE("a loop that is destroyed ends those who wait for a mutex") {
    mutex m;
    bool got = false;
    {
        auto held = m.try_lock();
        loop l;
        l.start(give_up_while_waiting, std::ref(m), std::ref(got));
        l.poll();
        std::ostringstream text;
        l.dump(text);
        CHECK(text.str().find("waits for mutex") != std::string::npos);
    }
    CHECK_FALSE(got);
    CHECK_FALSE(m.is_locked());
}

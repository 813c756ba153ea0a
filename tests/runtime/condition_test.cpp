// SPDX-License-Identifier: MIT
#include <runnel/condition.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <vector>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

static_assert(awaitable<decltype(std::declval<condition&>().wait(std::declval<mutex::guard&>()))>);
static_assert(
    !atomic_awaitable<decltype(std::declval<condition&>().wait(std::declval<mutex::guard&>()))>);

namespace {

struct shared {
    mutex m;
    condition changed;
    int value = 0;
    std::vector<int> log;
};

task<> wait_once(shared& s, int id) {
    auto held = co_await s.m.lock();
    co_await s.changed.wait(held);
    CHECK(held);
    s.log.push_back(id);
}

task<> wait_for_value(shared& s, int at_least) {
    auto held = co_await s.m.lock();
    co_await s.changed.wait(held, [&] { return s.value >= at_least; });
    s.log.push_back(at_least);
}

/// Tells, when it is unwound, whether the guard held the mutex.
struct sees_guard {
    mutex::guard& held;
    std::optional<bool>& seen;
    ~sees_guard() { seen = bool(held); }
};

task<> wait_and_see(shared& s, std::optional<bool>& seen) {
    auto held = co_await s.m.lock();
    const sees_guard at_end{held, seen};
    co_await s.changed.wait(held);
    s.log.push_back(0);
}

}  // namespace

TEST_CASE("a wait for a condition unlocks the mutex meanwhile") {
    run([]() -> task<> {
        shared s;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(wait_once(s, 1));
            co_await yield();
            const auto held = s.m.try_lock();
            CHECK(held);
            s.changed.notify_one();
            CHECK(s.log.empty());
        });
        CHECK(s.log == std::vector<int>{1});
        CHECK_FALSE(s.m.is_locked());
    });
}

TEST_CASE("notify_one wakes who has waited longest, notify_all everybody") {
    run([]() -> task<> {
        shared s;
        s.changed.notify_one();  // nobody waits: it is not kept
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 4; ++i) n.start(wait_once(s, i));
            for (int i = 0; i < 4; ++i) co_await yield();
            s.changed.notify_one();
            for (int i = 0; i < 4; ++i) co_await yield();
            CHECK(s.log == std::vector<int>{0});
            s.changed.notify_all();
        });
        CHECK(s.log == std::vector<int>{0, 1, 2, 3});
    });
}

TEST_CASE("a wait with a predicate goes on until it is true") {
    run([]() -> task<> {
        shared s;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(wait_for_value(s, 2));
            n.start(wait_for_value(s, 0));
            for (int i = 0; i < 4; ++i) {
                co_await yield();
                s.value = i;
                s.changed.notify_all();
                for (int k = 0; k < 4; ++k) co_await yield();
                CHECK(s.log.size() == (i < 2 ? 1 : 2));
            }
        });
        CHECK(s.log == std::vector<int>{0, 2});
    });
}

TEST_CASE("what a predicate throws is thrown with the mutex held") {
    run([]() -> task<> {
        shared s;
        const auto waits = [&]() -> task<> {
            auto held = co_await s.m.lock();
            bool first = true;
            const auto predicate = [&]() -> bool {
                if (std::exchange(first, false)) return false;
                throw std::runtime_error("on purpose");
            };
            try {
                co_await s.changed.wait(held, predicate);
            } catch (const std::runtime_error&) {
                s.log.push_back(held ? 1 : 0);
            }
        };
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(waits);
            co_await yield();
            s.changed.notify_one();
        });
        CHECK(s.log == std::vector<int>{1});
    });
}

TEST_CASE("a wait that is cancelled holds the mutex when it is unwound") {
    run([]() -> task<> {
        shared s;
        std::optional<bool> seen;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(wait_and_see(s, seen));
            co_await yield();
            n.cancel();
        });
        CHECK(seen == true);
        CHECK(s.log.empty());
        CHECK_FALSE(s.m.is_locked());
    });
}

TEST_CASE("a wait that is cancelled while others hold the mutex waits for them") {
    run([]() -> task<> {
        shared s;
        std::optional<bool> seen;
        co_await open_nursery([&](nursery& n) -> task<> {
            mutex::guard other;
            co_await open_nursery([&](nursery& inner) -> task<> {
                inner.start(wait_and_see(s, seen));
                co_await yield();
                other = co_await s.m.lock();
                inner.cancel();
                n.start([](mutex::guard& held, std::optional<bool>& is) -> task<> {
                    for (int i = 0; i < 3; ++i) co_await yield();
                    CHECK_FALSE(is);
                    held.unlock();
                }(other, seen));
                co_return;
            });
            CHECK(seen == true);
        });
        CHECK(s.log.empty());
        CHECK_FALSE(s.m.is_locked());
    });
}

TEST_CASE("who was notified before the cancellation is not cancelled any more") {
    run([]() -> task<> {
        shared s;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(wait_once(s, 1));
            co_await yield();
            s.changed.notify_one();
            n.cancel();
        });
        CHECK(s.log == std::vector<int>{1});
        CHECK_FALSE(s.m.is_locked());
    });
}

TEST_CASE("a wait for a condition can time out, and holds the mutex then") {
    run(
        []() -> task<> {
            shared s;
            auto held = co_await s.m.lock();
            const bool notified = co_await with_timeout(s.changed.wait(held), 10ms);
            CHECK_FALSE(notified);
            CHECK(held);
            const bool never =
                co_await with_timeout(s.changed.wait(held, [] { return false; }), 10ms);
            CHECK_FALSE(never);
            CHECK(held);
            CHECK(s.m.is_locked());
        },
        {.virtual_time = true});
}

TEST_CASE("a wait for a condition without the mutex is refused") {
    run([]() -> task<> {
        condition c;
        mutex::guard nothing;
        bool refused = false;
        try {
            co_await c.wait(nothing);
        } catch (const std::invalid_argument&) {
            refused = true;
        }
        CHECK(refused);
    });
}

TEST_CASE("a loop that is destroyed ends those who wait for a condition") {
    shared s;
    std::optional<bool> seen;
    {
        loop l;
        l.start(wait_and_see, std::ref(s), std::ref(seen));
        l.poll();
    }
    CHECK(seen == true);
    CHECK_FALSE(s.m.is_locked());
}

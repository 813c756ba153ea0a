// SPDX-License-Identifier: MIT
#include <runnel/ipc/condition.hpp>

#include <stdexcept>

#include <runnel/ipc/semaphore.hpp>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

/// Waits once, says so before and after.
task<> wait_once(ipc::mutex m, ipc::condition c, ipc::semaphore waiting, ipc::semaphore woken) {
    auto held = co_await m.lock();
    waiting.release();
    co_await c.wait(held);
    if (!held) ::_exit(3);
    woken.release();
}

/// Puts one item where there is room for one.
task<> put_one(const ipc::mutex& m, const ipc::condition& c, const ipc::semaphore& items) {
    auto held = co_await m.lock();
    while (items.available() != 0) co_await c.wait(held);
    items.release();
    c.notify_one();
}

}  // namespace

TEST_CASE("an ipc condition wakes as many as it is told, of all processes") {
    both_ways([]() -> task<> {
        const ipc::mutex m;
        const ipc::condition c;
        const ipc::semaphore waiting(0);
        const ipc::semaphore woken(0);
        c.notify_all();  // forgotten
        std::vector<ipc::process<>> all;
        for (int i = 0; i < 3; ++i)
            all.push_back(
                ipc::spawn(wait_once, m.share(), c.share(), waiting.share(), woken.share()));
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 3; ++i)
                n.start(wait_once, m.share(), c.share(), waiting.share(), woken.share());
            for (int i = 0; i < 6; ++i) co_await waiting.acquire();
            {
                auto held = co_await m.lock();  // now all of them really wait
                c.notify_one();
            }
            co_await woken.acquire();
            c.notify(2);
            co_await woken.acquire(2);
            co_await sleep_for(3ms);
            CHECK(woken.available() == 0);
            c.notify_all();
            co_await woken.acquire(3);
        });
        for (auto& one : all) co_await one.join();
        CHECK(woken.available() == 0);
    });
}

TEST_CASE("a wait for an ipc condition with a predicate, and one without a mutex") {
    both_ways([]() -> task<> {
        const ipc::mutex m;
        const ipc::condition c;
        auto held = co_await m.lock();
        int state = 1;
        co_await c.wait(held, [&] { return state == 1; });
        CHECK(held);
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                for (int i = 2; i < 4; ++i) {
                    auto mine = co_await m.lock();
                    state = i;
                    c.notify_one();
                }
            });
            co_await c.wait(held, [&] { return state == 3; });
            CHECK(held);
        });
        bool thrown = false;
        try {
            co_await c.wait(held, []() -> bool { throw std::runtime_error("no"); });
        } catch (const std::runtime_error&) {
            thrown = true;
        }
        CHECK(thrown);
        CHECK(held);
        held.unlock();
        thrown = false;
        try {
            co_await c.wait(held);
        } catch (const std::invalid_argument&) {
            thrown = true;
        }
        CHECK(thrown);
    });
}

TEST_CASE("a deadline on an ipc condition holds the mutex again") {
    both_ways([]() -> task<> {
        const ipc::mutex m;
        const ipc::condition c;
        auto held = co_await m.lock();
        bool told = co_await with_timeout(c.wait(held), 1ms);
        CHECK(!told);
        CHECK(held);
        CHECK(!m.try_lock());
        const ipc::semaphore go(0);
        auto other = ipc::spawn(
            [](ipc::mutex its, ipc::semaphore start) -> task<> {
                auto mine = co_await its.lock();
                start.release();
                co_await sleep_for(5ms);
            },
            m.share(), go.share());
        told = co_await with_timeout(c.wait(held), 3ms);
        CHECK(!told);
        CHECK(held);
        CHECK(!m.try_lock());
        held.unlock();
        co_await other.join();
        // What nobody used is for nobody who comes later.
        c.notify_one();
        held = co_await m.lock();
        told = co_await with_timeout(c.wait(held), 1ms);
        CHECK(!told);
        auto ends = co_await race(c.wait(held), sleep_for(1ms));
        CHECK(!std::get<0>(ends));
        CHECK(held);
    });
}

TEST_CASE("a killed waiter of an ipc condition takes no notification with it") {
    both_ways([]() -> task<> {
        const ipc::mutex m;
        const ipc::condition c;
        const ipc::semaphore waiting(0);
        const ipc::semaphore woken(0);
        std::vector<ipc::process<>> all;
        for (int i = 0; i < 4; ++i)
            all.push_back(
                ipc::spawn(wait_once, m.share(), c.share(), waiting.share(), woken.share()));
        co_await waiting.acquire(4);
        {
            auto held = co_await m.lock();
            all[0].kill();  // before it is told
            co_await all[0].wait();
            c.notify(2);  // it is told, and cannot have the mutex
            all[1].kill();
            co_await all[1].wait();
        }
        co_await woken.acquire(2);
        co_await all[2].join();
        co_await all[3].join();
        c.notify_all();
    });
}

TEST_CASE("a waiter of an ipc condition is told when an owner of its mutex has died") {
    both_ways([]() -> task<> {
        const ipc::mutex m;
        const ipc::condition c;
        auto held = co_await m.lock();
        auto killed = ipc::spawn(
            [](ipc::mutex its, ipc::condition tell_of) -> task<> {
                auto mine = co_await its.lock();
                tell_of.notify_one();
                ::_exit(0);
            },
            m.share(), c.share());
        co_await c.wait(held);
        CHECK(held.owner_died());
        co_await killed.wait();
    });
}

TEST_CASE("more notifications of an ipc condition than it remembers wake all the same") {
    both_ways([]() -> task<> {
        const ipc::mutex m;
        const ipc::condition c;
        int waiting = 0;
        int passed = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 50; ++i)
                n.start([&]() -> task<> {
                    auto held = co_await m.lock();
                    ++waiting;
                    co_await c.wait(held);
                    ++passed;
                });
            while (waiting != 50) co_await yield();
            auto held = co_await m.lock();
            for (int i = 0; i < 50; ++i) c.notify_one();
        });
        CHECK(passed == 50);
    });
}

TEST_CASE("a queue of one place by an ipc condition, with processes that are killed") {
    const std::uint64_t start = announced_seed("condition_test");
    both_ways([start]() -> task<> {
        std::mt19937_64 random(start);
        const ipc::mutex m;
        const ipc::condition c;
        const ipc::semaphore items(0);  // none or one: what the mutex protects
        constexpr auto taker = [](ipc::mutex its, ipc::condition changed,
                                  ipc::semaphore place) -> task<> {
            for (;;) {
                auto held = co_await its.lock();
                bool taken = place.try_acquire();
                while (!taken) {
                    co_await changed.wait(held);
                    taken = place.try_acquire();
                }
                changed.notify_all();
            }
        };
        std::vector<ipc::process<>> all;
        for (int i = 0; i < 3; ++i)
            all.push_back(ipc::spawn(taker, m.share(), c.share(), items.share()));
        int stalled = 0;
        for (int i = 0; i < 60 && stalled == 0; ++i) {
            for (int k = 0; k < 20 && stalled == 0; ++k) {
                bool put = co_await with_timeout(put_one(m, c, items), 10s);
                if (!put) ++stalled;
            }
            auto& victim = all[random() % all.size()];
            victim.kill();
            co_await victim.wait();
            c.notify_all();  // it may have died between taking and telling
            victim = ipc::spawn(taker, m.share(), c.share(), items.share());
        }
        CHECK(stalled == 0);
        for (auto& each : all) each.kill();
    });
}

// SPDX-License-Identifier: MIT
// What CPython's own tests (Lib/test/_test_multiprocessing.py) demand of locks and the like, and the
// hangs after a SIGKILL that its implementation has. Each test is named after the one there.
#include <stdexcept>

#include <runnel/ipc/barrier.hpp>
#include <runnel/ipc/condition.hpp>
#include <runnel/ipc/event.hpp>
#include <runnel/ipc/recursive_mutex.hpp>
#include <runnel/ipc/semaphore.hpp>
#include <runnel/ipc/value.hpp>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

constexpr int parties = 5;

/// Waits for a condition once, with or without a deadline, and says how that went.
task<> sleeper(ipc::mutex m, ipc::condition c, ipc::semaphore sleeping, ipc::semaphore woken,
               bool in_time) {
    auto held = co_await m.lock();
    sleeping.release();
    if (in_time)
        co_await with_timeout(c.wait(held), 10ms);
    else
        co_await c.wait(held);
    woken.release();
}

/// Runs `fn` in as many tasks of processes as there are parties, this one among them.
template <class F>
task<> in_all(F fn, const ipc::barrier& b, const ipc::value<int>& counter) {
    std::vector<ipc::process<>> others;
    for (int i = 1; i < parties; ++i) others.push_back(ipc::spawn(fn, b.share(), counter.share()));
    auto own = fn(b.share(), counter.share());
    co_await std::move(own);
    for (auto& one : others) co_await one.join();
}

}  // namespace

TEST_CASE("_TestLock.test_lock: taken once, and free again", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::mutex m;
        auto held = m.try_lock();
        CHECK(held.has_value());
        CHECK(!m.try_lock());
        held->unlock();
        held->unlock();  // ValueError there; a guard that holds nothing here
        CHECK(m.try_lock());
        co_return;
    });
}

TEST_CASE("_TestLock.test_rlock: as often as it was locked", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::recursive_mutex m;
        std::vector<ipc::recursive_mutex::guard> held;
        for (int i = 0; i < 3; ++i) {
            auto one = co_await m.lock();
            held.push_back(std::move(one));
        }
        for (int left = 3; left > 0; --left) {
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start([&]() -> task<> {
                    auto other = co_await with_timeout(m.lock(), 1ms);
                    CHECK(!other);
                });
                co_return;
            });
            held.pop_back();
        }
        auto again = co_await m.lock();
        CHECK(again);
    });
}

TEST_CASE("_TestLock.test_lock_context: held until the guard is dropped", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::mutex m;
        {
            const auto held = co_await m.lock();
            CHECK(!m.try_lock());
        }
        CHECK(m.try_lock());
    });
}

TEST_CASE("_TestSemaphore.test_semaphore: it counts", "[cpython]") {
    const ipc::semaphore s(2);
    for (std::uint32_t left : {1u, 0u}) {
        CHECK(s.try_acquire());
        CHECK(s.available() == left);
    }
    CHECK(!s.try_acquire());
    for (std::uint32_t there : {1u, 2u, 3u, 4u}) {
        s.release();
        CHECK(s.available() == there);
    }
}

TEST_CASE("_TestSemaphore.test_bounded_semaphore: no more than there were", "[cpython]") {
    const ipc::semaphore s(2, 2);
    CHECK(s.try_acquire(2));
    s.release();
    s.release();
    CHECK_THROWS_AS(s.release(), std::invalid_argument);
    CHECK(s.available() == 2);
}

TEST_CASE("_TestSemaphore.test_timeout: no time, less than none, and some", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::semaphore s(0);
        for (const auto limit : {0ms, -1ms, 3ms}) {
            const auto before = std::chrono::steady_clock::now();
            bool got = co_await with_timeout(s.acquire(), limit);
            CHECK(!got);
            CHECK(std::chrono::steady_clock::now() - before >= limit);
        }
    });
}

TEST_CASE("_TestCondition.test_notify: one each, in processes and here", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::mutex m;
        const ipc::condition c;
        const ipc::semaphore sleeping(0);
        const ipc::semaphore woken(0);
        auto child =
            ipc::spawn(sleeper, m.share(), c.share(), sleeping.share(), woken.share(), false);
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(sleeper, m.share(), c.share(), sleeping.share(), woken.share(), false);
            co_await sleeping.acquire(2);
            CHECK(woken.available() == 0);
            for (int i = 0; i < 2; ++i) {
                auto held = co_await m.lock();
                c.notify_one();
                held.unlock();
                co_await woken.acquire();
                CHECK(woken.available() == 0);
            }
        });
        co_await child.join();
    });
}

TEST_CASE("_TestCondition.test_notify_all: after some have given up", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::mutex m;
        const ipc::condition c;
        const ipc::semaphore sleeping(0);
        const ipc::semaphore woken(0);
        for (const bool in_time : {true, false}) {
            std::vector<ipc::process<>> all;
            for (int i = 0; i < 3; ++i)
                all.push_back(ipc::spawn(sleeper, m.share(), c.share(), sleeping.share(),
                                         woken.share(), in_time));
            co_await sleeping.acquire(3);
            if (!in_time) {
                auto held = co_await m.lock();
                c.notify_all();
            }
            co_await woken.acquire(3);
            for (auto& one : all) co_await one.join();
        }
        CHECK(woken.available() == 0);
    });
}

TEST_CASE("_TestCondition.test_notify_n: so many and no more", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::mutex m;
        const ipc::condition c;
        const ipc::semaphore sleeping(0);
        const ipc::semaphore woken(0);
        std::vector<ipc::process<>> all;
        for (int i = 0; i < 6; ++i)
            all.push_back(
                ipc::spawn(sleeper, m.share(), c.share(), sleeping.share(), woken.share(), false));
        co_await sleeping.acquire(6);
        for (std::uint32_t n : {1u, 2u}) {
            auto held = co_await m.lock();
            c.notify(n);
            held.unlock();
            co_await woken.acquire(n);
        }
        co_await sleep_for(3ms);
        CHECK(woken.available() == 0);
        auto held = co_await m.lock();
        c.notify(7);
        held.unlock();
        co_await woken.acquire(3);
        for (auto& one : all) co_await one.join();
    });
}

TEST_CASE("_TestCondition.test_timeout, test_wait_result, test_waitfor_timeout", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::mutex m;
        const ipc::condition c;
        auto held = co_await m.lock();
        bool told_of = co_await with_timeout(c.wait(held), 0ms);
        CHECK(!told_of);
        told_of = co_await with_timeout(c.wait(held), 3ms);
        CHECK(!told_of);
        const ipc::value<int> state(0);
        told_of = co_await with_timeout(c.wait(held, [&] { return state.load() == 4; }), 3ms);
        CHECK(!told_of);
        CHECK(held);
        auto child = ipc::spawn(
            [](ipc::mutex its, ipc::condition changed) -> task<> {
                auto mine = co_await its.lock();
                changed.notify_one();
            },
            m.share(), c.share());
        told_of = co_await with_timeout(c.wait(held), 20s);
        CHECK(told_of);
        held.unlock();
        co_await child.join();
    });
}

TEST_CASE("_TestCondition.test_waitfor: until a child has counted to 4", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::mutex m;
        const ipc::condition c;
        const ipc::value<int> state(0);
        auto held = co_await m.lock();
        auto child = ipc::spawn(
            [](ipc::mutex its, ipc::condition changed, ipc::value<int> number) -> task<> {
                for (int i = 0; i < 4; ++i) {
                    auto mine = co_await its.lock();
                    number.fetch_add(1);
                    changed.notify_one();
                }
            },
            m.share(), c.share(), state.share());
        co_await c.wait(held, [&] { return state.load() == 4; });
        CHECK(state.load() == 4);
        held.unlock();
        co_await child.join();
    });
}

TEST_CASE("_TestCondition.check_invariant: nothing is left of those who waited", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::mutex m;
        const ipc::condition c;
        const ipc::semaphore sleeping(0);
        const ipc::semaphore woken(0);
        // There: as many have been woken as slept, and no wake-up is kept for anybody else.
        const auto check_invariant = [&]() -> task<> {
            auto held = co_await with_timeout(m.lock(), 10s);
            REQUIRE(held);
            bool told_of = co_await with_timeout(c.wait(*held), 2ms);
            CHECK(!told_of);
            CHECK(*held);
            held->unlock();
            auto next =
                ipc::spawn(sleeper, m.share(), c.share(), sleeping.share(), woken.share(), false);
            co_await sleeping.acquire();
            {
                auto mine = co_await m.lock();
                c.notify_one();
            }
            co_await woken.acquire();
            co_await next.join();
            CHECK(woken.available() == 0);
        };
        co_await check_invariant();
        // Notified, given up, killed, told more often than there are waiters.
        std::vector<ipc::process<>> all;
        for (const bool in_time : {true, false, false, false})
            all.push_back(ipc::spawn(sleeper, m.share(), c.share(), sleeping.share(), woken.share(),
                                     in_time));
        co_await sleeping.acquire(4);
        co_await all[0].join();
        co_await woken.acquire();
        all[1].kill();
        co_await all[1].wait();
        {
            auto held = co_await m.lock();
            c.notify(40);
            c.notify_one();
        }
        co_await woken.acquire(2);
        for (auto& one : all) co_await one.wait();
        co_await check_invariant();
    });
}

TEST_CASE("_TestEvent.test_event", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::event e;
        CHECK(!e.is_set());
        for (const auto limit : {0ms, 3ms}) {
            bool was_set = co_await with_timeout(e.wait(), limit);
            CHECK(!was_set);
        }
        e.set();
        CHECK(e.is_set());
        bool was_set = co_await with_timeout(e.wait(), 1s);
        CHECK(was_set);
        e.set();
        co_await e.wait();
        e.clear();
        auto child = ipc::spawn([](ipc::event its) { its.set(); }, e.share());
        co_await e.wait();
        co_await child.join();
    });
}

TEST_CASE("_TestBarrier.test_barrier: nobody passes before all have come", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::barrier b(parties);
        const ipc::value<int> arrived(0);
        co_await in_all(
            [](ipc::barrier its, ipc::value<int> counter) -> task<> {
                counter.fetch_add(1);
                co_await its.arrive_and_wait();
                if (counter.load() != parties) ::_exit(3);
            },
            b, arrived);
        CHECK(!b.broken());
    });
}

TEST_CASE("_TestBarrier.test_action: done once, before anybody goes on", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::barrier b(parties);
        const ipc::value<int> done(0);
        co_await in_all(
            [](ipc::barrier its, ipc::value<int> counter) -> task<> {
                // Who gets 0 does it, and all wait for that.
                const auto number = co_await its.arrive_and_wait();
                if (number == 0) counter.fetch_add(1);
                co_await its.arrive_and_wait();
                if (counter.load() != 1) ::_exit(3);
            },
            b, done);
        CHECK(done.load() == 1);
    });
}

TEST_CASE("_TestBarrier.test_barrier_10: in step", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::barrier b(parties);
        const ipc::value<int> arrived(0);
        co_await in_all(
            [](ipc::barrier its, ipc::value<int> counter) -> task<> {
                for (int round = 1; round <= 10; ++round) {
                    counter.fetch_add(1);
                    co_await its.arrive_and_wait();
                    if (counter.load() != round * parties) ::_exit(3);
                    co_await its.arrive_and_wait();
                }
            },
            b, arrived);
        CHECK(arrived.load() == 10 * parties);
        CHECK(b.waiting() == 0);
        CHECK(!b.broken());
    });
}

TEST_CASE("_TestBarrier.test_wait_return: exactly one gets 0", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::barrier b(parties);
        const ipc::value<int> zeros(0);
        co_await in_all(
            [](ipc::barrier its, ipc::value<int> counter) -> task<> {
                const auto number = co_await its.arrive_and_wait();
                if (number >= parties) ::_exit(3);
                if (number == 0) counter.fetch_add(1);
            },
            b, zeros);
        CHECK(zeros.load() == 1);
    });
}

TEST_CASE("_TestBarrier.test_abort, test_reset, test_abort_and_reset", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::barrier b(parties);
        const ipc::value<int> broken(0);
        for (const bool abort : {true, false}) {
            broken.store(0);
            std::vector<ipc::process<>> others;
            for (int i = 1; i < parties; ++i)
                others.push_back(ipc::spawn(
                    [](ipc::barrier its, ipc::value<int> counter) -> task<> {
                        const auto code = co_await error_of(its.arrive_and_wait());
                        if (code) counter.fetch_add(1);
                    },
                    b.share(), broken.share()));
            while (b.waiting() != parties - 1) co_await sleep_for(100us);
            if (abort)
                b.abort();
            else
                b.reset();
            co_await broken.until([](int n) { return n == parties - 1; });
            CHECK(b.broken() == abort);
            for (auto& one : others) co_await one.join();
            b.reset();
            CHECK(!b.broken());
        }
        const ipc::value<int> passed(0);
        co_await in_all(
            [](ipc::barrier its, ipc::value<int> counter) -> task<> {
                co_await its.arrive_and_wait();
                counter.fetch_add(1);
            },
            b, passed);
        CHECK(passed.load() == parties);
    });
}

TEST_CASE("_TestBarrier.test_timeout: who gives up has not come, abort() breaks it", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::barrier b(2);
        auto got = co_await with_timeout(b.arrive_and_wait(), 3ms);
        CHECK(!got);
        CHECK(!b.broken());
        b.abort();  // what a timeout does there
        const auto code = co_await error_of(b.arrive_and_wait());
        CHECK(code == std::errc::operation_canceled);
    });
}

TEST_CASE("_TestBarrier.test_default_timeout: the barrier is as before for who comes later",
          "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::barrier b(2);
        auto alone = co_await with_timeout(b.arrive_and_wait(), 1ms);
        CHECK(!alone);
        CHECK(b.waiting() == 0);
        auto child = ipc::spawn([](ipc::barrier its) -> task<> { co_await its.arrive_and_wait(); },
                                b.share());
        auto both = co_await with_timeout(b.arrive_and_wait(), 10s);
        CHECK(both);
        co_await child.join();
    });
}

TEST_CASE("_TestBarrier.test_single_thread, test_thousand", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::barrier alone(1);
        for (int i = 0; i < 2; ++i) {
            const auto number = co_await alone.arrive_and_wait();
            CHECK(number == 0);
        }
        const ipc::barrier b(parties);
        const ipc::value<int> passed(0);
        co_await in_all(
            [](ipc::barrier its, ipc::value<int> counter) -> task<> {
                for (int i = 0; i < 1000; ++i) {
                    co_await its.arrive_and_wait();
                    counter.fetch_add(1);
                }
            },
            b, passed);
        CHECK(passed.load() == 1000 * parties);
    });
}

TEST_CASE("hang of Python: the holder of a lock is killed, and the next one acquires it",
          "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::mutex m;
        signal_pipe up;
        auto holder = ipc::spawn(
            [](ipc::mutex its, unique_fd say) -> task<> {
                auto held = co_await its.lock();
                tell(say);
                co_await sleep_for(1h);
            },
            m.share(), std::move(up.say));
        bool is_held = co_await told(up.hear);
        CHECK(is_held);
        holder.kill();
        auto held = co_await with_timeout(m.lock(), 20s);
        CHECK(held.has_value());
        CHECK(held->owner_died());
        co_await holder.wait();
    });
}

TEST_CASE("hang of Python: a waiter of an event is killed, and set() blocks nobody", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::event e;
        signal_pipe up;
        auto waits = ipc::spawn(
            [](ipc::event its, unique_fd say) -> task<> {
                tell(say);
                co_await its.wait();
            },
            e.share(), std::move(up.say));
        bool is_up = co_await told(up.hear);
        CHECK(is_up);
        co_await sleep_for(2ms);
        waits.kill();
        co_await waits.wait();
        auto other = ipc::spawn([](ipc::event its) { its.set(); }, e.share());
        co_await e.wait();
        co_await other.join();
        e.set();
    });
}

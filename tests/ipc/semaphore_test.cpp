// SPDX-License-Identifier: MIT
#include <runnel/ipc/semaphore.hpp>

#include <stdexcept>
#include <thread>

#include <runnel/loop.hpp>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

/// Holds `n` permits, says so, and keeps them.
task<> keep(ipc::semaphore s, unique_fd say, std::uint32_t n) {
    auto held = co_await s.hold(n);
    tell(say);
    co_await sleep_for(1h);
}
task<> keep_until_told(ipc::semaphore s, unique_fd say, unique_fd hear) {
    auto held = co_await s.hold();
    tell(say);
    co_await told(hear);
}

}  // namespace

TEST_CASE("permits of an ipc semaphore are taken and given back") {
    both_ways([]() -> task<> {
        const ipc::semaphore s(2);
        CHECK(s.available() == 2);
        auto one = co_await s.hold();
        CHECK(one.count() == 1);
        co_await s.acquire();
        CHECK(s.available() == 0);
        CHECK(!s.try_acquire());
        CHECK(!s.try_hold());
        const ipc::semaphore same = s.share();
        same.release();
        CHECK(s.available() == 1);
        one.release();
        one.release();
        CHECK(s.available() == 2);
        auto both = s.try_hold(2);
        CHECK(both.has_value());
        CHECK(same.available() == 0);
        auto moved = std::move(*both);
        CHECK(moved.count() == 2);
        CHECK(both->count() == 0);
        moved = ipc::semaphore::permit();
        CHECK(s.try_acquire(2));
        s.release(2);
    });
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::semaphore&>().hold())>);
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::semaphore&>().acquire())>);
}

TEST_CASE("mistakes with an ipc semaphore") {
    CHECK_THROWS_AS(ipc::semaphore(2, 1), std::invalid_argument);
    CHECK_THROWS_AS(ipc::semaphore(0, ipc::semaphore::unbounded + 1), std::invalid_argument);
    ipc::semaphore s(1, 2);
    s.release();
    CHECK_THROWS_AS(s.release(), std::invalid_argument);
    CHECK_THROWS_AS(s.release(ipc::semaphore::unbounded), std::invalid_argument);
    CHECK_THROWS_AS(s.try_acquire(3), std::invalid_argument);
    CHECK_THROWS_AS(s.try_hold(), std::logic_error);  // no loop
    CHECK(s.available() == 2);
    const ipc::semaphore other = std::move(s);
    CHECK_THROWS_AS(s.release(), std::invalid_argument);  // NOLINT: what is tested
    run([&]() -> task<> {
        bool refused = false;
        try {
            co_await other.acquire(3);
        } catch (const std::invalid_argument&) {
            refused = true;
        }
        CHECK(refused);
    });
}

TEST_CASE("a release of another process wakes who waits for an ipc semaphore") {
    both_ways([]() -> task<> {
        ipc::semaphore s(0);
        auto child = ipc::spawn(
            [](ipc::semaphore its) -> task<> {
                for (int i = 0; i < 20; ++i) {
                    co_await sleep_for(300us);
                    its.release();
                }
            },
            s.share());
        for (int i = 0; i < 20; ++i) co_await s.acquire();
        co_await child.join();
        CHECK(s.available() == 0);
    });
}

TEST_CASE("no more than the permits of an ipc semaphore are held at a time") {
    both_ways([]() -> task<> {
        ipc::semaphore s(2);
        ipc::semaphore inside(2, 2);  // fails at the third
        constexpr auto work = [](ipc::semaphore its, ipc::semaphore room) -> task<> {
            for (int i = 0; i < 200; ++i) {
                auto held = co_await its.hold();
                if (!room.try_acquire()) ::_exit(3);
                if (i % 16 == 0) co_await sleep_for(50us);
                room.release();
            }
        };
        std::vector<ipc::process<>> all;
        for (int i = 0; i < 4; ++i) all.push_back(ipc::spawn(work, s.share(), inside.share()));
        co_await when_all(work(s.share(), inside.share()), work(s.share(), inside.share()));
        for (auto& one : all) co_await one.join();
        CHECK(s.available() == 2);
    });
}

TEST_CASE("who wants many permits is not overtaken in its loop") {
    both_ways([]() -> task<> {
        ipc::semaphore s(1);
        std::string order;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                auto three = co_await s.hold(3);
                order += '3';
            });
            n.start([&]() -> task<> {
                co_await yield();
                auto one = co_await s.hold();
                order += '1';
            });
            co_await turns();
            CHECK(order.empty());
            s.release();
            co_await turns();
            CHECK(order.empty());
            s.release();
        });
        CHECK(order == "31");
    });
}

TEST_CASE("a deadline on a permit takes none, and lets others pass") {
    both_ways([]() -> task<> {
        ipc::semaphore s(1);
        bool passed = false;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                auto got = co_await with_timeout(s.hold(2), 2ms);
                CHECK(!got);
            });
            n.start([&]() -> task<> {
                co_await yield();
                co_await s.acquire();
                passed = true;
            });
            co_return;
        });
        CHECK(passed);
        CHECK(s.available() == 0);
        auto ends = co_await race(s.acquire(), sleep_for(1ms));
        CHECK(!std::get<0>(ends));
        s.release();
        CHECK(s.available() == 1);
    });
}

TEST_CASE("what a killed process held comes back, to one who waits already") {
    both_ways([]() -> task<> {
        ipc::semaphore s(3);
        signal_pipe up;
        auto first = ipc::spawn(keep, s.share(), up.say.duplicate(), 2u);
        auto second = ipc::spawn(keep, s.share(), up.say.duplicate(), 1u);
        bool both = co_await told(up.hear);
        both = co_await told(up.hear) && both;
        CHECK(both);
        CHECK(s.available() == 0);
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                auto held = co_await s.hold(2);
                CHECK(s.available() == 0);
            });
            co_await sleep_for(3ms);
            first.kill();
        });
        CHECK(s.available() == 2);
        second.kill();
        co_await second.wait();
        CHECK(s.available() == 3);
        auto all = s.try_hold(3);
        CHECK(all.has_value());
        co_await first.wait();
    });
}

TEST_CASE("a holder that is stopped, or told to go on, gives its permit back") {
    both_ways([]() -> task<> {
        ipc::semaphore s(1);
        signal_pipe up;
        signal_pipe go;
        auto holder = ipc::spawn(keep, s.share(), up.say.duplicate(), 1u);
        bool held = co_await told(up.hear);
        CHECK(held);
        holder.stop();
        co_await s.acquire();
        s.release();
        auto other = ipc::spawn(keep_until_told, s.share(), up.say.duplicate(), std::move(go.hear));
        held = co_await told(up.hear);
        CHECK(held);
        CHECK(!s.try_acquire());
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> { co_await s.acquire(); });
            co_await sleep_for(2ms);
            tell(go.say);
        });
        co_await holder.wait();
        co_await other.join();
    });
}

TEST_CASE("a permit that was acquired by a killed process is gone, as in POSIX") {
    both_ways([]() -> task<> {
        ipc::semaphore s(1);
        auto taker = ipc::spawn(
            [](ipc::semaphore its) -> task<> {
                co_await its.acquire();
                ::_exit(0);
            },
            s.share());
        co_await taker.wait();
        CHECK(s.available() == 0);
        s.release();  // anybody may
        CHECK(s.available() == 1);
    });
}

TEST_CASE("permits that outlive their loop are given back by it") {
    both_ways([]() -> task<> {
        ipc::semaphore s(2);
        ipc::semaphore::permit kept;
        std::thread other([&] {
            run([&]() -> task<> {
                auto got = co_await s.hold();
                kept = std::move(got);
            });
        });
        other.join();
        CHECK(s.available() == 2);
        auto mine = co_await s.hold();
        CHECK(s.available() == 1);
        kept.release();
        CHECK(s.available() == 1);
        std::thread third([held = std::move(mine)]() mutable { held.release(); });
        third.join();
        CHECK(s.available() == 2);
    });
}

TEST_CASE("holders that are killed at random: all permits come back, and nobody waits for ever") {
    const std::uint64_t start = announced_seed("semaphore_test");
    both_ways([start]() -> task<> {
        std::mt19937_64 random(start);
        const ipc::semaphore s(2);
        constexpr auto work = [](ipc::semaphore its) -> task<> {
            for (;;) {
                auto held = co_await its.hold();
                if (its.available() > 1) ::_exit(3);
                co_await yield();
                held.release();
                co_await sleep_for(50us);
            }
        };
        std::vector<ipc::process<>> all;
        for (int i = 0; i < 4; ++i) all.push_back(ipc::spawn(work, s.share()));
        int wrong_end = 0;
        int stalled = 0;
        for (int i = 0; i < 100 && stalled == 0; ++i) {
            co_await sleep_for(std::chrono::microseconds(random() % 3000));
            auto& victim = all[random() % all.size()];
            victim.kill();
            const auto status = co_await victim.wait();
            if (status.signal() != SIGKILL) ++wrong_end;
            auto mine = co_await with_timeout(s.hold(), 10s);
            if (!mine) ++stalled;
            mine.reset();
            victim = ipc::spawn(work, s.share());
        }
        CHECK(wrong_end == 0);
        CHECK(stalled == 0);
        for (auto& each : all) {
            each.kill();
            co_await each.wait();
        }
        CHECK(s.available() == 2);
    });
}

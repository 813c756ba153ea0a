// SPDX-License-Identifier: MIT
// How long a loop watches memory before it sleeps.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

#include <sched.h>

#include <runnel/runnel.hpp>

#include <spin.hpp>

#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

/// How often the next burst looks if nothing comes.
int looks_in(detail::spin_policy& p) {
    int looks = 0;
    p.burst([&] { return ++looks, false; });
    return looks;
}

/// Has it found something at the look of this number, counted from 1?
bool found_at(detail::spin_policy& p, int number) {
    int looks = 0;
    return p.burst([&] { return ++looks == number; }) && looks == number;
}

/// Leaves this thread, and those that it starts, the CPU it is on.
bool keep_to_this_cpu() {
    const int here = ::sched_getcpu();
    ::cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(here < 0 ? 0 : here), &one);
    return ::sched_setaffinity(0, sizeof one, &one) == 0;
}

}  // namespace

TEST_CASE("where spinning keeps failing it stops, but for a probe now and then") {
    detail::spin_policy p;
    for (const unsigned expected : {64u, 32u, 16u, 8u}) {
        CHECK(p.spins());
        CHECK(p.bursts() == expected);
        p.failed();
    }
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < 31; ++i) {
            CHECK_FALSE(p.spins());
            CHECK(p.bursts() == 0);
        }
        CHECK(p.spins());
        CHECK(p.bursts() == 8);
        p.failed();
    }
    for (int i = 0; i < 31; ++i) CHECK(p.bursts() == 0);
    CHECK(p.bursts() == 8);
    p.succeeded();
    CHECK(p.bursts() == 64);
}

TEST_CASE("a burst ends with the look that finds something") {
    detail::spin_policy p;
    p.bursts();
    CHECK(found_at(p, 1));
    p.bursts();
    CHECK(found_at(p, 1));
    p.bursts();
    CHECK(looks_in(p) <= 12);
}

TEST_CASE("a thread with one CPU looks once, until it is seen that others run meanwhile") {
    bool pinned = false;
    int first = 0, second = 0, sure = 0, after_yield = 0, unsure = 0;
    bool found = false, always = true;
    std::thread([&] {
        pinned = keep_to_this_cpu();
        detail::spin_policy p;
        p.bursts();
        first = looks_in(p);  // now and then it tries
        p.bursts();
        second = looks_in(p);
        for (int i = 2; i < 128; ++i) p.bursts();
        p.bursts();
        found = found_at(p, 5);  // it has changed while this thread ran
        p.bursts();
        sure = looks_in(p);
        after_yield = looks_in(p);
        // What is there right after a yield, and only then, was done by who had this CPU.
        for (int i = 0; i < 8; ++i) {
            p.bursts();
            looks_in(p);
            always &= found_at(p, 1);
        }
        p.bursts();
        unsure = looks_in(p);
    }).join();
    REQUIRE(pinned);
    CHECK(first == 12);
    CHECK(second == 1);
    CHECK(found);
    CHECK(sure == 48);
    CHECK(after_yield == 12);
    CHECK(always);
    CHECK(unsure == 1);
}

TEST_CASE("a loop that only sleeps soon does so in the kernel, whoever else wants the CPU") {
    std::uint64_t sleeps = 0;
    bool pinned = false;
    std::thread([&] {
        // The other thread takes this one's only CPU with each sched_yield, for milliseconds.
        pinned = keep_to_this_cpu();
        std::atomic<bool> over{false};
        std::thread other([&] {
            while (!over.load(std::memory_order_relaxed)) continue;
        });
        run([&]() -> task<> {
            for (int i = 0; i < 30; ++i) co_await sleep_for(5ms);
            sleeps = loop::current()->stats().sleeps;
        });
        over.store(true);
        other.join();
    }).join();
    REQUIRE(pinned);
    CHECK(sleeps >= 5);
}

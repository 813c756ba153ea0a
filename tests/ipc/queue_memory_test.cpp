// SPDX-License-Identifier: MIT
// What a queue costs: memory, which it gives back, and system calls and allocations, which it does
// not need while both sides are awake.
#include <runnel/ipc/queue.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <deque>
#include <random>
#include <vector>

#include <sys/time.h>

#include <runnel/loop.hpp>

#include "support/allocations.hpp"
#include "support/environment.hpp"
#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;

TEST_CASE("an idle queue takes 64 KiB at most") {
    both_ways([]() -> task<> {
        const std::uint64_t before = bytes_in_memory();
        auto fresh = ipc::queue<std::string>();
        CHECK(bytes_in_memory() - before <= 65536);
        auto small = ipc::queue<int>();
        auto middle = ipc::queue<std::array<char, 100>>({.max_items = 8192});  // 1 MiB
        CHECK(bytes_in_memory() - before <= 3 * 65536);
        for (int i = 0; i < 3000; ++i) {
            co_await small.putter.put(i);
            auto got = co_await small.getter.get();
            CHECK(got == i);
        }
        const std::string text("a line of text");
        for (int i = 0; i < 20; ++i) co_await fresh.putter.put(text);
        for (int i = 0; i < 20; ++i) co_await fresh.getter.get();
        std::array<char, 100> item{};
        for (char i = 0; i < 100; ++i) {
            for (int k = 0; k < 500; ++k) {
                item[99] = static_cast<char>(i + k);
                co_await middle.putter.put(item);
            }
            for (int k = 0; k < 500; ++k) {
                auto got = co_await middle.getter.get();
                if ((*got)[99] != static_cast<char>(i + k)) FAIL("damaged");
            }
            co_await with_timeout(middle.getter.get(), 100us);
        }
        for (auto t = 50ms; t < 4s && bytes_in_memory() - before > 3 * 65536; t *= 2)
            co_await with_timeout(middle.getter.get(), t);
        CHECK(bytes_in_memory() - before <= 3 * 65536);
        auto leased = ipc::queue<int>({.lease = true});
        for (int i = 0; i < 20; ++i) {
            co_await leased.putter.put(i);
            auto one = co_await leased.getter.get_leased();
            one->done();
        }
        CHECK(bytes_in_memory() - before <= 4 * 65536);
    });
}

TEST_CASE("a queue that was full gives its memory back when it is drained") {
    both_ways([]() -> task<> {
        const std::uint64_t before = bytes_in_memory();
        auto q = ipc::queue<std::string>({.max_items = 0});  // 64 MiB
        const std::string text(50'000, 'x');
        std::size_t count = 0;
        while (q.putter.try_put(text)) ++count;
        CHECK(bytes_in_memory() - before > (std::uint64_t{63} << 20));
        for (std::size_t i = 0; i < count / 2; ++i) co_await q.getter.get();
        CHECK(bytes_in_memory() - before < (std::uint64_t{33} << 20));
        while (!q.getter.empty()) {
            auto got = co_await q.getter.get();
            if (*got != text) FAIL("damaged");
        }
        CHECK(bytes_in_memory() - before <= 512 * 1024);
        // Whoever sleeps on an empty queue gives back the rest of it; on a busy machine it takes
        // long to get to sleep.
        for (auto t = 50ms; t < 4s && bytes_in_memory() - before > 65536; t *= 2)
            co_await with_timeout(q.getter.get(), t);
        CHECK(bytes_in_memory() - before <= 65536);
    });
}

TEST_CASE("immediate shutdown gives the memory back") {
    const std::uint64_t before = bytes_in_memory();
    auto q = ipc::queue<std::string>({.max_items = 0, .max_bytes = std::size_t{8} << 20});
    const std::string text(50'000, 'x');
    while (q.putter.try_put(text)) {
    }
    CHECK(bytes_in_memory() - before > (std::uint64_t{7} << 20));
    q.getter.shutdown(ipc::immediate);
    CHECK(bytes_in_memory() - before <= 65536);
}

TEST_CASE("memory that is given back is not what others have written since") {
    // Nearly full all the time, with items of all sizes, so that those who put are at the heels of
    // those who get, at every place of a step.
    std::mt19937_64 random(announced_seed("queue_memory_test"));
    for (const bool lease : {false, true}) {
        auto q = ipc::queue<std::string>(
            {.max_items = 0, .max_bytes = std::size_t{32} << 20, .lease = lease});
        std::deque<std::string> expected;
        std::string next;
        const auto make = [&] {
            const std::size_t size = random() % 16 == 0 ? random() % 500'000 : random() % 3'000;
            next.assign(size, static_cast<char>('a' + random() % 26));
        };
        make();
        std::size_t wrong = 0;
        for (int i = 0; i < 400; ++i) {
            while (q.putter.try_put(next)) {
                expected.push_back(next);
                make();
            }
            const std::size_t n = random() % 4 == 0 ? random() % expected.size() : 1;
            for (std::size_t k = 0; k < n && !expected.empty(); ++k) {
                auto got = q.getter.try_get();
                if (!got || *got != expected.front()) ++wrong;
                expected.pop_front();
                q.getter.task_done();
            }
            if (wrong != 0) break;
        }
        CHECK(wrong == 0);
        CHECK(q.getter.size() == expected.size());
    }
}

TEST_CASE("an item as large as the queue goes in wherever the ring stands") {
    for (const std::size_t size : {std::size_t{65536}, std::size_t{32} << 20}) {
        auto q = ipc::queue<std::string>({.max_items = 0, .max_bytes = size});
        const std::string small(1000, 's');
        const std::string large(size - 24, 'l');
        for (std::size_t i = 0; i < 3 * size / 1000; i += size / 9000) {
            for (std::size_t k = 0; k < size / 9000; ++k) {
                REQUIRE(q.putter.try_put(small));
                REQUIRE(q.getter.try_get() == small);
            }
            REQUIRE(q.putter.try_put(large));
            REQUIRE(!q.putter.try_put(small));
            REQUIRE(q.getter.try_get() == large);
        }
    }
}

TEST_CASE("signals do not make a put fail") {
    auto q = ipc::queue<std::string>({.max_items = 0, .max_bytes = std::size_t{64} << 20});
    struct ::sigaction action{};
    struct ::sigaction before{};
    action.sa_handler = [](int) {};
    ::sigaction(SIGALRM, &action, &before);
    ::itimerval often{{0, 50}, {0, 50}};
    ::itimerval never{};
    ::setitimer(ITIMER_REAL, &often, nullptr);
    const std::string text(100'000, 'x');
    std::size_t bad = 0;
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < 500; ++i) bad += q.putter.try_put(text) ? 0 : 1;
        for (int i = 0; i < 500; ++i) bad += q.getter.try_get() == text ? 0 : 1;
    }
    ::setitimer(ITIMER_REAL, &never, nullptr);
    ::sigaction(SIGALRM, &before, nullptr);
    CHECK(bad == 0);
}

TEST_CASE("no allocation and no system call per item, within a loop") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<std::uint64_t>({.max_items = 64});
        const auto round = [&](std::uint64_t count) -> task<> {
            for (std::uint64_t i = 0; i < count; ++i) {
                co_await q.putter.put(i);
                auto got = co_await q.getter.get();
                if (*got != i) FAIL("wrong item");
            }
        };
        co_await round(100);
        const std::size_t allocated = allocations();
        const loop_stats before = loop::current()->stats();
        co_await round(10'000);
        const loop_stats after = loop::current()->stats();
        CHECK(allocations() - allocated <= 2);  // of the frame of the round itself
        // The loop looks at the kernel now and then, but for no item.
        CHECK(after.enters - before.enters <= 10);
        CHECK(after.sleeps == before.sleeps);
        CHECK(after.direct_calls == before.direct_calls);
    });
}

namespace {

/// What a loop has asked of the kernel.
std::uint64_t calls_of(const loop_stats& stats) { return stats.enters + stats.direct_calls; }

/// Gets `count` items a round, and gives the fewest calls of a round.
task<std::uint64_t> get_rounds(ipc::getter<std::uint64_t> in, std::uint64_t count, int rounds) {
    std::uint64_t fewest = ~std::uint64_t{0};
    for (int round = 0; round < rounds; ++round) {
        std::uint64_t before = calls_of(loop::current()->stats());
        for (std::uint64_t i = 0; i < count; ++i) {
            co_await in.get();
            if (i == count / 10) before = calls_of(loop::current()->stats());  // both are awake
        }
        fewest = std::min(fewest, calls_of(loop::current()->stats()) - before);
    }
    co_return fewest;
}

}  // namespace

TEST_CASE("no allocation and no system call per item, between processes that are awake") {
    both_ways([]() -> task<> {
        const std::uint64_t count = 20'000;
        const int rounds = 10;
        auto q = ipc::queue<std::uint64_t>();
        auto child = ipc::spawn(get_rounds, q.getter.share(), count, rounds);
        std::uint64_t fewest = ~std::uint64_t{0};
        std::uint64_t yields = 0;
        std::size_t allocated = ~std::size_t{0};
        for (int round = 0; round < rounds; ++round) {
            loop_stats before = loop::current()->stats();
            std::size_t had = allocations();
            for (std::uint64_t i = 0; i < count; ++i) {
                co_await q.putter.put(i);
                if (i == count / 10) {
                    before = loop::current()->stats();
                    had = allocations();
                }
            }
            const loop_stats after = loop::current()->stats();
            fewest = std::min(fewest, calls_of(after) - calls_of(before));
            yields = after.yields - before.yields;
            allocated = std::min(allocated, allocations() - had);
        }
        const std::uint64_t by_child = co_await child.join();
        // Rounds in which one of the two lost its CPU do not count; and the loop looks at the
        // kernel now and then.
        std::printf("%llu items: %llu calls and %llu yields to put them, %llu to get them\n",
                    static_cast<unsigned long long>(count), static_cast<unsigned long long>(fewest),
                    static_cast<unsigned long long>(yields),
                    static_cast<unsigned long long>(by_child));
        CHECK(fewest <= count / 50);
        CHECK(by_child <= count / 50);
        CHECK(allocated == 0);
    });
}

// SPDX-License-Identifier: MIT
#include <runnel/ipc/broadcast.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <runnel/ipc/pipe.hpp>
#include <runnel/ipc/spawn.hpp>
#include <runnel/loop.hpp>
#include <runnel/nursery.hpp>
#include <runnel/sleep.hpp>
#include <runnel/yield.hpp>

#include "stamped.hpp"
#include "support/allocations.hpp"
#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

task<> put(ipc::broadcast_writer<stamped>& to, std::uint64_t value) {
    auto place = co_await to.loan();
    stamp(*place, value);
    place.publish();
}
/// The next number; -1 at the end.
task<std::int64_t> get(ipc::broadcast_reader<stamped>& from) {
    auto view = co_await from.receive();
    if (!view || !is_whole(**view)) co_return -1;
    co_return std::int64_t((*view)->number);
}

/// How many came, if none was missed or torn.
task<std::uint64_t> count_from(ipc::broadcast_reader<stamped> from, std::uint64_t first) {
    std::uint64_t next = first;
    while (auto view = co_await from.receive()) {
        if ((*view)->number != next++ || !is_whole(**view) || view->missed() != 0) co_return 0;
    }
    co_return next - first;
}
/// How many came and were missed together; 0 if one was torn, or out of order.
task<std::uint64_t> account(ipc::broadcast_reader<stamped> from) {
    std::uint64_t next = 0;
    while (auto view = co_await from.receive()) {
        next += view->missed();
        if ((*view)->number != next++ || !is_whole(**view)) co_return 0;
    }
    co_return next;
}
task<> read_for_ever(ipc::broadcast_reader<stamped> from) {
    std::array<std::optional<ipc::broadcast_view<stamped>>, 2> held;
    for (std::uint64_t i = 0;; ++i) {
        auto view = co_await from.receive();
        if (!view) co_return;
        held[i % 2] = std::move(view);
        if (i % 64 == 0) co_await sleep_for(20us);
    }
}
task<> share_for_ever(ipc::broadcast_reader<stamped> from) {
    for (;;) {
        std::vector<ipc::broadcast_reader<stamped>> more;
        try {
            for (int i = 0; i < 3; ++i) more.push_back(from.share());
        } catch (const std::system_error&) {
        }
        auto view = co_await from.receive();
        if (!view) co_return;
    }
}

}  // namespace

TEST_CASE("each reader of a broadcast gets every record", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::broadcast<stamped>({.capacity = 4});
        auto other = ends.reader.share();
        CHECK(ends.writer.readers() == 2);
        for (std::uint64_t i = 0; i < 100; ++i) {
            co_await put(ends.writer, i);
            const auto one = co_await get(ends.reader);
            const auto two = co_await get(other);
            CHECK(one == std::int64_t(i));
            CHECK(two == std::int64_t(i));
        }
        CHECK(!other.try_receive());
        ends.writer = {};
        const auto one = co_await get(ends.reader);
        const auto two = co_await get(other);
        CHECK(one == -1);
        CHECK(two == -1);
        CHECK(other.ended());
    });
}

TEST_CASE("the writer of a broadcast waits for the slowest reader, until that is gone",
          "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::broadcast<stamped>({.capacity = 2});
        auto slow = ends.reader.share();
        for (std::uint64_t i = 0; i < 2; ++i) {
            co_await put(ends.writer, i);
            co_await get(ends.reader);
        }
        CHECK(!ends.writer.try_loan());
        auto in_time = co_await with_timeout(ends.writer.loan(), 1ms);
        CHECK(!in_time);
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> { co_await put(ends.writer, 2); });
            co_await sleep_for(1ms);
            CHECK(!ends.reader.try_receive());
            auto view = slow.try_receive();
            CHECK((view && (*view)->number == 0));
        });
        auto view = ends.reader.try_receive();
        CHECK((view && (*view)->number == 2));
        view.reset();
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> { co_await put(ends.writer, 3); });
            co_await sleep_for(1ms);
            CHECK(!ends.reader.try_receive());
            slow = {};
        });
        CHECK(ends.reader.try_receive());
        CHECK(ends.writer.readers() == 1);
    });
}

TEST_CASE("a reader that is shared begins with what the first has not received", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::broadcast<stamped>({.capacity = 8});
        for (std::uint64_t i = 0; i < 4; ++i) co_await put(ends.writer, i);
        auto held = co_await ends.reader.receive();
        auto other = ends.reader.share();
        held.reset();
        for (std::int64_t i = 1; i < 4; ++i) {
            const auto got = co_await get(other);
            CHECK(got == i);
        }
        CHECK(!other.try_receive());
        const auto got = co_await get(ends.reader);
        CHECK(got == 1);
    });
}

TEST_CASE("readers come and go, as many at a time as there may be", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::broadcast<stamped>({.capacity = 4, .readers = 3});
        for (std::uint64_t i = 0; i < 200; ++i) {
            auto one = ends.reader.share();
            auto two = ends.reader.share();
            CHECK(code_of([&] { auto three = ends.reader.share(); }) ==
                  std::errc::resource_unavailable_try_again);
            co_await put(ends.writer, i);
            const auto a = co_await get(one);
            const auto b = co_await get(two);
            const auto c = co_await get(ends.reader);
            CHECK(a == std::int64_t(i));
            CHECK(b == std::int64_t(i));
            CHECK(c == std::int64_t(i));
            one = {};
            two = {};
            CHECK(ends.writer.readers() == 1);
        }
        CHECK_THROWS_AS(ipc::broadcast<int>({.readers = 0}), std::invalid_argument);
        CHECK_THROWS_AS(ipc::broadcast<int>({.readers = 65}), std::invalid_argument);
    });
}

TEST_CASE("a broadcast that nobody reads any more is a broken pipe", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::broadcast<stamped>({.capacity = 2});
        auto other = ends.reader.share();
        for (std::uint64_t i = 0; i < 2; ++i) co_await put(ends.writer, i);
        std::error_code code;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                code = co_await error_of([&]() -> task<> {
                    for (std::uint64_t i = 2;; ++i) co_await put(ends.writer, i);
                });
            });
            co_await sleep_for(1ms);
            ends.reader = {};
            co_await sleep_for(1ms);
            other = {};
        });
        CHECK(code == std::errc::broken_pipe);
        CHECK(ends.writer.readers() == 0);
    });
}

TEST_CASE("a broadcast that overwrites tells each reader what it missed", "[channel]") {
    both_ways([]() -> task<> {
        auto ends =
            ipc::broadcast<stamped>({.capacity = 16, .policy = ipc::when_behind::overwrite});
        auto other = ends.reader.share();
        std::uint64_t next = 0;
        for (std::uint64_t i = 0; i < 1000; ++i) {
            co_await put(ends.writer, i);
            if (i % 100 != 99) continue;
            while (auto view = ends.reader.try_receive()) {
                CHECK(view->missed() == (view->data()->number - next));
                CHECK(is_whole(**view));
                next = (*view)->number + 1;
            }
            CHECK(next == i + 1);
        }
        auto first = co_await other.receive();
        CHECK(first->missed() == (*first)->number);
        CHECK(first->missed() >= 1000 - 16);
        auto second = co_await other.receive();
        CHECK(second->missed() == 0);
        // Copies stay what they are.
        for (std::uint64_t i = 0; i < 100; ++i) co_await put(ends.writer, i);
        CHECK(is_whole(**first));
        CHECK((*second)->number == (*first)->number + 1);
        ends.writer = {};
        second.reset();
        std::uint64_t last = 0;
        while (auto view = co_await other.receive()) last = (*view)->number;
        CHECK(last == 99);
    });
}

TEST_CASE("records of bytes are broadcast, of every length, overwriting or not", "[channel]") {
    for (const auto policy : {ipc::when_behind::wait, ipc::when_behind::overwrite}) {
        auto ends = ipc::broadcast<std::byte>({.capacity = 4096, .policy = policy});
        std::mt19937_64 random(announced_seed("broadcast_test"));
        std::uint64_t sent = 0;
        std::uint64_t received = 0;
        bool right = true;
        for (int i = 0; i < 5000; ++i) {
            const std::size_t length = random() % 700;
            if (auto place = ends.writer.try_loan(length)) {
                if (random() % 8 != 0) {
                    std::fill(place->span().begin(), place->span().end(), std::byte(sent & 0xff));
                    ++sent;
                    place->publish(random() % (length + 1));
                }
            }
            if (random() % 16 != 0) continue;
            while (auto view = ends.reader.try_receive()) {
                received += view->missed();
                for (std::byte each : view->span()) right &= each == std::byte(received & 0xff);
                ++received;
            }
            CHECK(received == sent);
        }
        CHECK(right);
    }
}

TEST_CASE("a broadcast connects processes", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::broadcast<stamped>({.capacity = 16});
        auto one = ipc::spawn(count_from, ends.reader.share(), std::uint64_t{0});
        auto two = ipc::spawn(count_from, ends.reader.share(), std::uint64_t{0});
        for (std::uint64_t i = 0; i < 100; ++i) {
            co_await put(ends.writer, i);
            co_await get(ends.reader);
        }
        auto three = ipc::spawn(count_from, std::move(ends.reader), std::uint64_t{100});
        for (std::uint64_t i = 100; i < 10000; ++i) co_await put(ends.writer, i);
        ends.writer = {};
        const auto a = co_await one.join();
        const auto b = co_await two.join();
        const auto c = co_await three.join();
        CHECK(a == 10000);
        CHECK(b == 10000);
        CHECK(c == 9900);
    });
}

TEST_CASE("an overwriting broadcast between processes accounts for every record", "[channel]") {
    both_ways([]() -> task<> {
        auto ends =
            ipc::broadcast<stamped>({.capacity = 32, .policy = ipc::when_behind::overwrite});
        auto one = ipc::spawn(account, ends.reader.share());
        auto two = ipc::spawn(account, std::move(ends.reader));
        for (std::uint64_t i = 0; i < 50000; ++i) {
            co_await put(ends.writer, i);
            if (i % 1000 == 0) co_await sleep_for(50us);
        }
        ends.writer = {};
        const auto a = co_await one.join();
        const auto b = co_await two.join();
        CHECK(a == 50000);
        CHECK(b == 50000);
    });
}

TEST_CASE("the ends of a broadcast travel, again and again", "[channel]") {
    for (const auto policy : {ipc::when_behind::wait, ipc::when_behind::overwrite})
        both_ways([policy]() -> task<> {
            auto ends = ipc::broadcast<stamped>({.capacity = 8, .policy = policy});
            auto still = ends.reader.share();
            auto readers = ipc::pipe<ipc::broadcast_reader<stamped>>();
            auto writers = ipc::pipe<ipc::broadcast_writer<stamped>>();
            for (std::uint64_t i = 0; i < 20; ++i) {
                co_await put(ends.writer, i);
                co_await readers.first.send(std::move(ends.reader));
                co_await writers.first.send(std::move(ends.writer));
                auto reader = co_await readers.second.recv();
                auto writer = co_await writers.second.recv();
                ends.reader = std::move(*reader);
                ends.writer = std::move(*writer);
                auto view = co_await ends.reader.receive();
                CHECK((*view)->number == i);
                CHECK(view->missed() == 0);
                const auto got = co_await get(still);
                CHECK(got == std::int64_t(i));
            }
            CHECK(ends.writer.readers() == 2);
            CHECK(!still.ended());
        });
}

TEST_CASE("readers that are killed hold nobody up, and give their places back", "[channel]") {
    std::mt19937_64 random(announced_seed("broadcast_test"));
    both_ways([&]() -> task<> {
        auto ends = ipc::broadcast<stamped>({.capacity = 16, .readers = 6});
        std::uint64_t next = 0;
        for (int i = 0; i < 20; ++i) {
            auto victim = random() % 2 == 0 ? ipc::spawn(read_for_ever, ends.reader.share())
                                            : ipc::spawn(share_for_ever, ends.reader.share());
            const std::uint64_t until = next + random() % 100;
            for (; next < until; ++next) {
                co_await put(ends.writer, next);
                const auto got = co_await get(ends.reader);
                CHECK(got == std::int64_t(next));
            }
            victim.kill();
            for (const std::uint64_t more = next + 40; next < more; ++next) {
                co_await put(ends.writer, next);
                const auto got = co_await get(ends.reader);
                CHECK(got == std::int64_t(next));
            }
            co_await victim.wait();
        }
        CHECK(ends.writer.readers() == 1);
    });
}

TEST_CASE("a writer that is killed leaves each reader whole records, and an end", "[channel]") {
    std::mt19937_64 random(announced_seed("broadcast_test"));
    for (const auto policy : {ipc::when_behind::wait, ipc::when_behind::overwrite})
        both_ways([&]() -> task<> {
            for (int i = 0; i < 25; ++i) {
                auto ends = ipc::broadcast<stamped>({.capacity = 16, .policy = policy});
                auto other = ends.reader.share();
                const auto write = [](ipc::broadcast_writer<stamped> to) -> task<> {
                    for (std::uint64_t k = 0;; k += 2) {
                        auto one = co_await to.loan();
                        auto two = co_await to.loan();
                        stamp(*two, k + 1);
                        two.publish();
                        stamp(*one, k);
                        one.publish();
                        if (k % 64 == 0) co_await sleep_for(20us);
                    }
                };
                auto writer = ipc::spawn(write, std::move(ends.writer));
                const auto count = random() % 300;
                std::uint64_t next = 0;
                bool right = true;
                while (auto view = co_await ends.reader.receive()) {
                    next += view->missed();
                    right &= (*view)->number == next++ && is_whole(**view);
                    if (policy == ipc::when_behind::wait && co_await get(other) < 0) break;
                    if (next >= count && writer.alive()) writer.kill();
                }
                CHECK(right);
                CHECK(next >= count);
                co_await writer.wait();
            }
        });
}

TEST_CASE("no allocation and no system call per record of a broadcast", "[channel]") {
    constexpr int rounds = 2000;
    for (const auto policy : {ipc::when_behind::wait, ipc::when_behind::overwrite})
        run([policy]() -> task<> {
            auto ends = ipc::broadcast<stamped>({.capacity = 1024, .policy = policy});
            auto other = ends.reader.share();
            std::size_t allocated = 1;
            std::uint64_t entered = 1;
            std::uint64_t slept = 1;
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start([&]() -> task<> {
                    for (int i = 0; i < rounds + 100; ++i) {
                        co_await put(ends.writer, std::uint64_t(i));
                        co_await yield();
                    }
                });
                n.start([&]() -> task<> {
                    for (int i = 0; i < rounds + 100; ++i) co_await get(other);
                });
                for (int i = 0; i < 100; ++i) co_await get(ends.reader);
                const auto before = loop::current()->stats();
                allocated = allocations();
                for (int i = 0; i < rounds; ++i) co_await get(ends.reader);
                allocated = allocations() - allocated;
                const auto after = loop::current()->stats();
                entered = after.enters - before.enters;
                slept = after.sleeps - before.sleeps;
            });
            CHECK(allocated == 0);
            CHECK(entered == 0);
            CHECK(slept == 0);
        });
}

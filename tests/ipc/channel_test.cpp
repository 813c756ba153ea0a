// SPDX-License-Identifier: MIT
#include <runnel/ipc/channel.hpp>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>

#include <runnel/ipc/pipe.hpp>
#include <runnel/ipc/spawn.hpp>
#include <runnel/loop.hpp>
#include <runnel/nursery.hpp>
#include <runnel/sleep.hpp>
#include <runnel/yield.hpp>

#include "support/allocations.hpp"
#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

struct frame {
    std::uint64_t number;
    std::uint32_t pixels[14];
};
struct with_default {
    int value = 7;
};

task<> put(ipc::channel_writer<int>& to, int value) {
    auto place = co_await to.loan();
    *place = value;
    place.publish();
}
task<int> get(ipc::channel_reader<int>& from) {
    auto view = co_await from.receive();
    if (!view) co_return -1;
    co_return **view;
}
task<> count_to(ipc::channel_writer<int> to, int end) {
    for (int i = 0; i < end; ++i) co_await put(to, i);
}
/// How many numbers came, if each was the next one.
task<int> count_from(ipc::channel_reader<int> from) {
    int next = 0;
    while (auto view = co_await from.receive())
        if (**view != next++) co_return -1;
    co_return next;
}

}  // namespace

TEST_CASE("records come through a channel in order, in place", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<frame>({.capacity = 4});
        auto place = co_await ends.writer.loan();
        place->number = 1;
        place->pixels[13] = 99;
        place.publish();
        CHECK(!place);
        auto view = co_await ends.reader.receive();
        CHECK(view.has_value());
        CHECK((*view)->number == 1);
        CHECK((*view)->pixels[13] == 99);
        CHECK(!ends.reader.try_receive());
        view->drop();
        CHECK(!*view);
    });
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::channel_writer<int>&>().loan())>);
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::channel_reader<int>&>().receive())>);
    STATIC_REQUIRE(!std::is_copy_constructible_v<ipc::channel_writer<int>>);
    STATIC_REQUIRE(!ipc::record_value<std::string>);
    STATIC_REQUIRE(!ipc::record_value<int*>);
}

TEST_CASE("a loan waits while as many records are out as there may be", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<int>({.capacity = 2});
        co_await put(ends.writer, 1);
        auto second = co_await ends.writer.loan();
        CHECK(!ends.writer.try_loan());
        auto nothing = co_await with_timeout(ends.writer.loan(), 1ms);
        CHECK(!nothing);
        auto view = co_await ends.reader.receive();
        CHECK(!ends.writer.try_loan());
        view.reset();
        auto third = ends.writer.try_loan();
        CHECK(third.has_value());
        CHECK(!ends.writer.try_loan());
    });
}

TEST_CASE("a reader that waits gets what is published then, and a writer the room", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<int>({.capacity = 1});
        int sum = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                for (int i = 0; i < 100; ++i) sum += co_await get(ends.reader);
            });
            n.start([&]() -> task<> {
                for (int i = 0; i < 100; ++i) co_await put(ends.writer, i);
            });
            co_return;
        });
        CHECK(sum == 4950);
    });
}

TEST_CASE("tasks that wait on one handle have their turn in order", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<int>();
        std::vector<int> got(3);
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int& each : got)
                n.start([&ends, &each]() -> task<> { each = co_await get(ends.reader); });
            co_await yield();
            for (int i = 1; i < 4; ++i) co_await put(ends.writer, i);
        });
        CHECK(got == std::vector<int>{1, 2, 3});
    });
}

TEST_CASE("loans become visible in the order in which they were taken", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<int>();
        auto one = co_await ends.writer.loan();
        auto two = co_await ends.writer.loan();
        auto three = co_await ends.writer.loan();
        *one = 1;
        *three = 3;
        three.publish();
        CHECK(!ends.reader.try_receive());
        two.drop();
        CHECK(!ends.reader.try_receive());
        one.publish();
        int got = co_await get(ends.reader);
        CHECK(got == 1);
        got = co_await get(ends.reader);
        CHECK(got == 3);
        CHECK(!ends.reader.try_receive());
        // The room of what was dropped comes back as well.
        for (int i = 0; i < 1000; ++i) {
            co_await put(ends.writer, i);
            got = co_await get(ends.reader);
            CHECK(got == i);
        }
    });
}

TEST_CASE("a loan that is dropped gives its place to who waits", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<int>({.capacity = 1});
        auto held = co_await ends.writer.loan();
        bool got = false;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                auto next = co_await ends.writer.loan();
                got = bool(next);
            });
            co_await yield();
            held.drop();
        });
        CHECK(got);
    });
}

TEST_CASE("views are dropped in any order", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<int>({.capacity = 3});
        for (int i = 0; i < 3; ++i) co_await put(ends.writer, i);
        auto a = co_await ends.reader.receive();
        auto b = co_await ends.reader.receive();
        auto c = co_await ends.reader.receive();
        c.reset();
        b.reset();
        CHECK(!ends.writer.try_loan());
        CHECK(**a == 0);
        a.reset();
        for (int i = 0; i < 3; ++i) co_await put(ends.writer, i);
        CHECK(!ends.writer.try_loan());
    });
}

TEST_CASE("a channel of bytes carries records of every length, each contiguous", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<std::byte>({.capacity = 8192, .alignment = 64});
        const std::size_t most = ends.writer.max_record();
        CHECK(most == 8192 - 64);
        for (std::size_t n = 0; n <= most; n += 1 + n / 3) {
            auto place = co_await ends.writer.loan(n);
            CHECK(place.size() == n);
            CHECK(reinterpret_cast<std::uintptr_t>(place.data()) % 64 == 0);
            std::memset(place.data(), int(n & 0xff), n);
            place.publish();
            auto view = co_await ends.reader.receive();
            CHECK(view->size() == n);
            bool right = true;
            for (std::byte each : view->span()) right &= each == std::byte(n & 0xff);
            CHECK(right);
        }
        auto all = co_await ends.writer.loan(most);
        all.publish(3);
        auto more = co_await ends.writer.loan(most - 200);
        CHECK_THROWS_AS(more.publish(most), std::invalid_argument);
        CHECK(more);
        auto view = co_await ends.reader.receive();
        CHECK(view->size() == 3);
        CHECK_THROWS_AS(ends.writer.try_loan(most + 1), std::invalid_argument);
    });
}

TEST_CASE("what is staged comes with the next that is published", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<int>({.capacity = 4});
        for (int i = 0; i < 3; ++i) {
            auto place = co_await ends.writer.loan();
            *place = i;
            place.stage();
        }
        CHECK(!ends.reader.try_receive());
        co_await put(ends.writer, 3);
        for (int i = 0; i < 4; ++i) {
            const int got = co_await get(ends.reader);
            CHECK(got == i);
        }
        auto place = co_await ends.writer.loan();
        place.stage();
        ends.writer.flush();
        CHECK(ends.reader.try_receive());
        // Who waits for room shows what it has.
        for (int i = 0; i < 4; ++i) {
            auto next = co_await ends.writer.loan();
            next.stage();
        }
        CHECK(!ends.writer.try_loan());
        CHECK(ends.reader.try_receive());
        ends.writer.close();
        int left = 0;
        while (auto view = co_await ends.reader.receive()) ++left;
        CHECK(left == 3);
    });
}

TEST_CASE("a T with a default constructor of its own is constructed", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<with_default>();
        auto place = co_await ends.writer.loan();
        CHECK(place->value == 7);
    });
}

TEST_CASE("a channel whose writer is gone is drained, and ends", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<int>();
        co_await put(ends.writer, 1);
        auto unpublished = co_await ends.writer.loan();
        CHECK(!ends.reader.ended());
        ends.writer = {};
        CHECK(!ends.reader.ended());
        CHECK(code_of([&] { unpublished.publish(); }) == errc::closed);
        int got = co_await get(ends.reader);
        CHECK(got == 1);
        CHECK(ends.reader.ended());
        for (int i = 0; i < 2; ++i) {
            got = co_await get(ends.reader);
            CHECK(got == -1);
        }
        CHECK(!ends.reader.try_receive());
    });
}

TEST_CASE("a reader that waits is told that the writer has gone", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<int>();
        int got = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> { got = co_await get(ends.reader); });
            co_await sleep_for(1ms);
            ends.writer = {};
        });
        CHECK(got == -1);
    });
}

TEST_CASE("a writer learns that the reader has gone, waiting or not", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<int>({.capacity = 1});
        co_await put(ends.writer, 1);
        std::error_code code;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(
                [&]() -> task<> { code = co_await error_of([&] { return put(ends.writer, 2); }); });
            co_await sleep_for(1ms);
            ends.reader = {};
        });
        CHECK(code == std::errc::broken_pipe);

        // One that does not wait learns it when there is no room.
        auto other = ipc::channel<int>({.capacity = 2});
        other.reader = {};
        co_await put(other.writer, 1);
        co_await put(other.writer, 2);
        CHECK(code_of([&] { (void)other.writer.try_loan(); }) == std::errc::broken_pipe);
        code = co_await error_of([&] { return put(other.writer, 3); });
        CHECK(code == std::errc::broken_pipe);
    });
}

TEST_CASE("closing ends what waits, and views stay readable", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<int>({.capacity = 1});
        co_await put(ends.writer, 5);
        auto view = co_await ends.reader.receive();
        std::error_code reading;
        std::error_code writing;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                reading = co_await error_of(
                    [&]() -> task<> { auto none = co_await ends.reader.receive(); });
            });
            n.start([&]() -> task<> {
                writing = co_await error_of([&] { return put(ends.writer, 2); });
            });
            co_await sleep_for(1ms);
            ends.writer.close();
            ends.reader.close();
            CHECK(ends.reader.closed());
        });
        CHECK(reading == errc::closed);
        CHECK(writing == errc::closed);
        CHECK(**view == 5);
        CHECK(code_of([&] { (void)ends.reader.try_receive(); }) == errc::closed);
        ends.reader = {};
        CHECK(**view == 5);
        CHECK(code_of([&] { (void)ends.reader.try_receive(); }) == errc::closed);
    });
}

TEST_CASE("a channel connects processes, either way round", "[channel]") {
    both_ways([]() -> task<> {
        auto down = ipc::channel<int>({.capacity = 16});
        auto reader = ipc::spawn(count_from, std::move(down.reader));
        co_await count_to(std::move(down.writer), 20000);
        const int counted = co_await reader.join();
        CHECK(counted == 20000);

        auto up = ipc::channel<int>({.capacity = 16});
        auto writer = ipc::spawn(count_to, std::move(up.writer), 20000);
        const int here = co_await count_from(std::move(up.reader));
        CHECK(here == 20000);
        co_await writer.join();
    });
}

TEST_CASE("ends of a channel travel through pipes, again and again", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<int>({.capacity = 4});
        auto readers = ipc::pipe<ipc::channel_reader<int>>();
        auto writers = ipc::pipe<ipc::channel_writer<int>>();
        int next = 0;
        for (int i = 0; i < 20; ++i) {
            co_await put(ends.writer, i);
            co_await put(ends.writer, i + 1);
            int got = co_await get(ends.reader);
            CHECK(got == i);
            co_await readers.first.send(std::move(ends.reader));
            co_await writers.first.send(std::move(ends.writer));
            CHECK(ends.reader.closed());
            auto reader = co_await readers.second.recv();
            auto writer = co_await writers.second.recv();
            ends.reader = std::move(*reader);
            ends.writer = std::move(*writer);
            got = co_await get(ends.reader);
            CHECK(got == i + 1);
            ++next;
        }
        CHECK(next == 20);
        // Nothing of the handles before stands for the other side's end.
        CHECK(!ends.reader.ended());
    });
}

TEST_CASE("a handle that is in use cannot be sent, and one that was handed on is closed",
          "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<int>({.capacity = 2});
        ipc::encoder out;
        {
            auto lent = co_await ends.writer.loan();
            CHECK_THROWS_AS(ipc::encode(out, ends.writer), std::invalid_argument);
            lent.publish();
        }
        {
            auto view = co_await ends.reader.receive();
            out.clear();
            CHECK_THROWS_AS(ipc::encode(out, ends.reader), std::invalid_argument);
        }
        out.clear();
        ipc::encode(out, ends.writer);
        std::vector<unique_fd> handles;
        for (int fd : out.handles()) handles.push_back(unique_fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)));
        auto there = ipc::decode<ipc::channel_writer<int>>(out.bytes(), handles);
        co_await put(there, 1);
        const int got = co_await get(ends.reader);
        CHECK(got == 1);
        // The one that stayed finds out when it looks for room.
        std::error_code code;
        std::vector<ipc::channel_loan<int>> held;
        for (int i = 0; i < 3 && !code; ++i)
            code = code_of([&] { held.push_back(ends.writer.try_loan().value()); });
        CHECK(code == errc::closed);
        CHECK(!there.closed());
        co_await put(there, 2);

        auto guarded = ipc::channel<int>({.untrusted_reader = true});
        out.clear();
        CHECK_THROWS_AS(ipc::encode(out, guarded.writer), std::invalid_argument);
        auto child = ipc::spawn(count_from, std::move(guarded.reader));
        co_await count_to(std::move(guarded.writer), 100);
        const int counted = co_await child.join();
        CHECK(counted == 100);
    });
}

TEST_CASE("options that cannot be are refused", "[channel]") {
    CHECK_THROWS_AS(ipc::channel<int>({.capacity = std::size_t{1} << 40}), std::invalid_argument);
    CHECK_THROWS_AS(ipc::channel<std::byte>({.alignment = 24}), std::invalid_argument);
    CHECK_THROWS_AS(ipc::channel<std::byte>({.alignment = 8192}), std::invalid_argument);
    loop still({.virtual_time = true});
    bool refused = false;
    still.start([&]() -> task<> {
        auto ends = ipc::channel<int>();
        try {
            auto none = co_await ends.reader.receive();
        } catch (const std::logic_error&) {
            refused = true;
        }
    });
    still.run();
    CHECK(refused);
}

TEST_CASE("no allocation and no system call per record while both sides are awake", "[channel]") {
    constexpr int rounds = 2000;
    run([]() -> task<> {
        auto ends = ipc::channel<int>({.capacity = 4});
        std::size_t allocated = 1;
        std::uint64_t entered = 1;
        std::uint64_t called = 1;
        std::uint64_t slept = 1;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                for (int i = 0; i < rounds + 100; ++i) co_await put(ends.writer, i);
            });
            for (int i = 0; i < 100; ++i) co_await get(ends.reader);
            const auto before = loop::current()->stats();
            allocated = allocations();
            for (int i = 0; i < rounds; ++i) co_await get(ends.reader);
            allocated = allocations() - allocated;
            const auto after = loop::current()->stats();
            entered = after.enters - before.enters;
            called = after.direct_calls - before.direct_calls;
            slept = after.sleeps - before.sleeps;
        });
        CHECK(allocated == 0);
        CHECK(entered == 0);
        CHECK(called == 0);
        CHECK(slept == 0);
    });
}

TEST_CASE("between processes what is entered is for sleeping alone, and nothing is allocated",
          "[channel]") {
    constexpr int rounds = 20000;
    run([]() -> task<> {
        auto there = ipc::channel<int>({.capacity = 64});
        auto writer = ipc::spawn(count_to, std::move(there.writer), int{rounds});
        co_await get(there.reader);
        const auto before = loop::current()->stats();
        const std::size_t allocated = allocations();
        // Not to the last, when the writer may have ended, which is heard.
        for (int i = 2; i < rounds - 1000; ++i) co_await get(there.reader);
        CHECK(allocations() - allocated == 0);
        const auto after = loop::current()->stats();
        // The first wait listens for the end; who is woken by way of the socket listens again.
        const auto woken = io::has_futex_wait() ? 0 : after.sleeps - before.sleeps;
        CHECK(after.direct_calls - before.direct_calls <= 1 + woken);
        // Each sleep enters once, and once more for what it had armed.
        CHECK(after.enters - before.enters <= 3 * (after.sleeps - before.sleeps) + 10);
        for (int i = rounds - 1000; i < rounds; ++i) co_await get(there.reader);
        co_await writer.join();
    });
}

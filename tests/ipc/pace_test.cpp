// SPDX-License-Identifier: MIT
// Who looks later to get more at a time: only where nothing else is to be done meanwhile.
#include <runnel/ipc/detail/pace.hpp>

#include <algorithm>
#include <cstdint>

#include <runnel/ipc/channel.hpp>
#include <runnel/ipc/queue.hpp>
#include <runnel/loop.hpp>
#include <runnel/nursery.hpp>
#include <runnel/yield.hpp>

#include "support/catch.hpp"

using namespace runnel;

namespace {

unsigned skipped(ipc::detail::pace& one) {
    unsigned n = 0;
    while (one.skips()) ++n;
    return n;
}

constexpr int rounds = 1000;  // enough for several tries at another pace
constexpr int at_a_time = 3;
constexpr int some_turns = 4 * 128;  // in yields, so many of which a turn takes at most

}  // namespace

TEST_CASE("what comes alone is looked for at once, but for a try now and then") {
    ipc::detail::pace one;
    std::uint32_t handled = 0;
    int later = 0;
    for (int i = 0; i < 4096; ++i) {
        one.wait(++handled);
        if (skipped(one) != 0) ++later;
    }
    CHECK(later > 0);
    CHECK(later <= 4096 / 256);
    for (int i = 0; i < 4096; ++i) one.wait(handled);  // a wait for nothing is no reason to try
    CHECK(skipped(one) == 0);
}

TEST_CASE("where looking later brings more it is kept, within bounds, until it does not") {
    ipc::detail::pace one;
    std::uint32_t handled = 0;
    unsigned most = 0;
    unsigned last = 0;
    for (int i = 0; i < 1000; ++i) {
        one.wait(handled += 1 + last / 2);
        last = skipped(one);
        most = std::max(most, last);
    }
    CHECK(last == most);
    CHECK(most >= 8);
    CHECK(most <= 32);
    one.wait(++handled);
    CHECK(skipped(one) == 0);
}

TEST_CASE("a host that polls gets what is there, each time") {
    auto q = ipc::queue<int>();
    auto c = ipc::channel<int>({.capacity = 8});
    int got = 0;
    int received = 0;
    loop l;
    l.start([&]() -> task<> {
        while (auto item = co_await q.getter.get()) ++got;
    });
    l.start([&]() -> task<> {
        while (auto record = co_await c.reader.receive()) ++received;
    });
    l.poll();
    int late = 0;
    for (int i = 1; i <= rounds; ++i) {
        for (int k = 0; k < at_a_time; ++k) {
            REQUIRE(q.putter.try_put(k));
            auto place = c.writer.try_loan();
            REQUIRE(place);
            place->publish();
        }
        l.poll();
        if (got != at_a_time * i || received != at_a_time * i) ++late;
    }
    CHECK(late == 0);
    q.putter.close();
    c.writer.close();
    l.run();
}

TEST_CASE("a loop that has other things to do looks in each turn") {
    auto q = ipc::queue<int>();
    int got = 0;
    int late = 0;
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                while (auto item = co_await q.getter.get()) ++got;
            });
            for (int i = 1; i <= rounds; ++i) {
                for (int k = 0; k < at_a_time; ++k) REQUIRE(q.putter.try_put(k));
                for (int k = 0; k < some_turns && got != at_a_time * i; ++k) co_await yield();
                if (got != at_a_time * i) ++late;
            }
            q.putter.close();
        });
    });
    CHECK(late == 0);
}

// SPDX-License-Identifier: MIT
// A queue in one process: each operation at each of its ends, the order and the bounds.
#include <runnel/ipc/queue.hpp>

#include <atomic>
#include <map>
#include <set>
#include <stdexcept>
#include <thread>
#include <tuple>
#include <vector>

#include <runnel/ipc/pipe.hpp>
#include <runnel/race.hpp>
#include <runnel/when_all.hpp>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

struct job {
    int id = 0;
    std::string name;
    std::vector<std::vector<double>> samples;
    std::map<std::string, std::optional<int>> more;
    friend bool operator==(const job&, const job&) = default;
};

}  // namespace

TEST_CASE("what is put comes out in order, at once") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        for (int i = 0; i < 100; ++i) co_await q.putter.put(i);
        CHECK(q.getter.size() == 100);
        for (int i = 0; i < 100; ++i) {
            auto got = co_await q.getter.get();
            CHECK(got == i);
        }
        CHECK(q.putter.empty());
    });
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::putter<int>&>().put(1))>);
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::getter<int>&>().get())>);
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::getter<int>&>().get_leased())>);
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::getter<int>&>().join())>);
}

TEST_CASE("get waits for an item") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        std::optional<int> got;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> { got = co_await q.getter.get(); });
            co_await turns();
            CHECK(!got);
            co_await q.putter.put(7);
        });
        CHECK(got == 7);
    });
}

TEST_CASE("put waits for room") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.max_items = 2});
        CHECK(q.putter.try_put(1));
        CHECK(!q.putter.full());
        CHECK(q.putter.try_put(2));
        CHECK(q.putter.full());
        CHECK(!q.putter.try_put(3));
        bool over = false;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                co_await q.putter.put(3);
                over = true;
            });
            co_await turns();
            CHECK(!over);
            CHECK(q.getter.size() == 2);
            CHECK(q.getter.try_get() == 1);
        });
        CHECK(over);
        CHECK(q.getter.try_get() == 2);
        CHECK(q.getter.try_get() == 3);
        CHECK(!q.getter.try_get());
    });
}

TEST_CASE("several tasks that wait have their turns in the order of waiting") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.max_items = 1});
        std::vector<std::pair<int, int>> got;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 5; ++i)
                n.start([&, i]() -> task<> {
                    auto item = co_await q.getter.get();
                    got.emplace_back(i, *item);
                });
            co_await turns();
            for (int i = 0; i < 5; ++i) co_await q.putter.put(i);
        });
        REQUIRE(got.size() == 5);
        for (int i = 0; i < 5; ++i) CHECK(got[static_cast<std::size_t>(i)] == std::pair(i, i));

        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 5; ++i) n.start([&, i]() -> task<> { co_await q.putter.put(i); });
            co_await turns();
            for (int i = 0; i < 5; ++i) {
                auto item = co_await q.getter.get();
                CHECK(item == i);
            }
        });
    });
}

TEST_CASE("a deadline ends a wait and takes nothing") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.max_items = 1});
        auto none = co_await with_timeout(q.getter.get(), 1ms);
        CHECK(!none);
        co_await q.putter.put(1);
        bool put = co_await with_timeout(q.putter.put(2), 1ms);
        CHECK(!put);
        bool joined = co_await with_timeout(q.putter.join(), 1ms);
        CHECK(!joined);
        CHECK(q.getter.size() == 1);
        auto one = co_await with_timeout(q.getter.get(), 1s);
        CHECK(**one == 1);
        CHECK(q.getter.empty());
        auto now = co_await with_timeout(q.getter.get(), 0s);
        CHECK(!now);
        co_await q.putter.put(3);
        auto there = co_await with_timeout(q.getter.get(), 0s);
        CHECK(**there == 3);
    });
}

TEST_CASE("a wait for a queue loses a race without a trace") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.max_items = 1});
        auto ends = co_await race(q.getter.get(), sleep_for(1ms));
        CHECK(!std::get<0>(ends));
        co_await q.putter.put(1);
        auto first = co_await race(q.getter.get(), sleep_for(1h));
        CHECK(std::get<0>(first).has_value());
        auto other = ipc::queue<int>();
        auto both = co_await race(q.getter.get(), other.getter.get(), sleep_for(1ms));
        CHECK(!std::get<0>(both));
        CHECK(!std::get<1>(both));
        co_await q.putter.put(4);
        CHECK(q.getter.size() == 1);
    });
}

TEST_CASE("a cancelled task takes no item") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        int got = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 3; ++i)
                n.start([&]() -> task<> {
                    co_await q.getter.get();
                    ++got;
                });
            co_await turns();
            n.cancel();
        });
        CHECK(got == 0);
        co_await q.putter.put(1);
        CHECK(q.getter.size() == 1);
    });
}

TEST_CASE("when the first who waits is cancelled, the next one's smaller item goes in") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<std::string>({.max_items = 0, .max_bytes = 4096});
        co_await q.putter.put(std::string(3000, 'a'));
        const std::string large(2000, 'b');
        const std::string small(10, 'c');
        bool over = false;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                bool put = co_await with_timeout(q.putter.put(large), 2ms);
                CHECK(!put);
            });
            n.start([&]() -> task<> {
                co_await q.putter.put(small);
                over = true;
            });
            co_await turns();
            CHECK(!over);
        });
        CHECK(over);
        CHECK(q.getter.size() == 2);
    });
}

TEST_CASE("a loop may end while tasks wait for a queue, which stays usable") {
    for (const char* what : {"", "futex"}) {
        const environment set("RUNNEL_DISABLE", what);
        const support::no_leaks leaks;
        auto q = ipc::queue<int>({.max_items = 1});
        for (int round = 0; round < 3; ++round) {
            loop l;
            l.start([&]() -> task<> { co_await q.getter.get(); });
            l.start([&]() -> task<> { co_await q.getter.join(); });
            for (int i = 0; i < 20; ++i) l.poll();
            CHECK(q.putter.try_put(round));
            const bool taken = [&] {
                for (int i = 0; i < 1000 && !q.getter.empty(); ++i) l.poll();
                return q.getter.empty();
            }();
            CHECK(taken);
            q.getter.task_done();
            CHECK(q.putter.try_put(1));
            l.start([&]() -> task<> { co_await q.putter.put(2); });
            l.start([&]() -> task<> { co_await q.getter.join(); });
            for (int i = 0; i < 20; ++i) l.poll();
            CHECK(q.getter.try_get() == 1);
            if (round == 1) l.poll();
            for (int i = 0; i < 1000 && round == 1 && q.getter.empty(); ++i) l.poll();
            while (q.getter.try_get()) q.getter.task_done();
            q.getter.task_done();
        }
        CHECK(q.getter.empty());
    }
}

TEST_CASE("items of all kinds come out as they were") {
    both_ways([]() -> task<> {
        auto texts = ipc::queue<std::string>();
        auto jobs = ipc::queue<job>();
        auto nothing = ipc::queue<std::tuple<>>();
        const std::string empty;
        const std::string long_text(100'000, 'x');
        co_await texts.putter.put(empty);
        co_await texts.putter.put(long_text);
        auto first = co_await texts.getter.get();
        auto second = co_await texts.getter.get();
        CHECK(first == "");
        CHECK(second == long_text);
        job one;
        one.id = 3;
        one.name = "fft";
        one.samples = {{1.5, 2.5}, {}, {3.5}};
        one.more["x"] = 1;
        one.more["y"] = std::nullopt;
        co_await jobs.putter.put(one);
        auto same = co_await jobs.getter.get();
        CHECK(*same == one);
        const std::tuple<> unit;
        co_await nothing.putter.put(unit);
        co_await nothing.putter.put(unit);
        CHECK(nothing.getter.size() == 2);
        auto there = co_await nothing.getter.get();
        CHECK(there.has_value());
    });
}

TEST_CASE("an array of a size that is no multiple of eight wraps around the ring") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<std::array<std::uint8_t, 13>>({.max_items = 5});
        for (int i = 0; i < 5000; ++i) {
            std::array<std::uint8_t, 13> item;
            item.fill(static_cast<std::uint8_t>(i));
            co_await q.putter.put(item);
            auto got = co_await q.getter.get();
            REQUIRE(*got == item);
        }
    });
}

TEST_CASE("a queue is bounded by bytes, and an item larger than it is refused") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<std::string>({.max_items = 0, .max_bytes = 8192});
        // With its length and the header of an item it has just room.
        std::string most(8192 - 8, 'm');
        while (most.size() > 8000) {
            bool fits = false;
            try {
                fits = q.putter.try_put(most);
            } catch (const std::system_error& error) {
                CHECK(error.code() == errc::message_too_long);
                CHECK(std::string(error.what()).find("put on ipc queue") == 0);
            }
            if (fits) break;
            most.pop_back();
        }
        CHECK(most.size() >= 8192 - 8 - 16);
        CHECK(q.putter.full());
        CHECK(q.getter.size() == 1);
        const std::string more(most.size() + 1, 'x');
        auto code = co_await error_of([&] { return q.putter.put(more); });
        CHECK(code == errc::message_too_long);
        auto got = co_await q.getter.get();
        CHECK(got == most);
        int small = 0;
        while (q.putter.try_put("0123456789")) ++small;
        CHECK(small == 8192 / 24);
        CHECK(q.getter.size() == 8192 / 24);
    });
}

TEST_CASE("bounds that cannot be are refused") {
    CHECK_THROWS_AS(ipc::queue<int>({.max_items = (std::size_t{1} << 30) + 1}),
                    std::invalid_argument);
    CHECK_THROWS_AS(ipc::queue<int>({.max_bytes = (std::size_t{8} << 30) + 1}),
                    std::invalid_argument);
}

TEST_CASE("task_done and join count what was got") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        co_await q.putter.join();  // nothing was ever put
        CHECK_THROWS_AS(q.getter.task_done(), std::invalid_argument);
        for (int i = 0; i < 3; ++i) co_await q.putter.put(i);
        bool joined = false;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                co_await q.putter.join();
                joined = true;
            });
            for (int i = 0; i < 3; ++i) {
                CHECK(!joined);
                co_await q.getter.get();
                co_await turns();
                CHECK(!joined);
                q.getter.task_done();
            }
        });
        CHECK(joined);
        co_await q.getter.join();
        CHECK_THROWS_AS(q.getter.task_done(), std::invalid_argument);
    });
}

TEST_CASE("shutdown drains, or drops what is there") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        co_await q.putter.put(1);
        co_await q.putter.put(2);
        q.getter.shutdown(ipc::drain);
        auto code = co_await error_of([&] { return q.putter.put(3); });
        CHECK(code == errc::closed);
        CHECK(code_of([&] { (void)q.putter.try_put(3); }) == errc::closed);
        auto first = co_await q.getter.get();
        CHECK(first == 1);
        bool waits = co_await with_timeout(q.putter.join(), 1ms);
        CHECK(!waits);
        q.putter.shutdown(ipc::immediate);
        q.putter.shutdown(ipc::drain);  // immediate stays
        auto none = co_await q.getter.get();
        CHECK(!none);
        CHECK(q.getter.empty());
        CHECK(!q.getter.try_get());
        bool still = co_await with_timeout(q.putter.join(), 1ms);
        CHECK(!still);  // the first is in hand
        q.getter.task_done();
        co_await q.putter.join();
    });
}

TEST_CASE("closing a handle ends what is pending on it, and nothing else") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.max_items = 1});
        auto other = q.getter.share();
        std::error_code got;
        std::error_code joined;
        std::optional<int> by_other;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> { got = co_await error_of([&] { return q.getter.get(); }); });
            n.start(
                [&]() -> task<> { joined = co_await error_of([&] { return q.putter.join(); }); });
            n.start([&]() -> task<> { by_other = co_await other.get(); });
            co_await turns();
            q.getter.close();
            co_await turns();
            co_await q.putter.put(5);
        });
        CHECK(got == errc::closed);
        CHECK(by_other == 5);
        CHECK(!joined);  // the other getter's item counts as done when it is gone
        other.close();
        auto code = co_await error_of([&] { return q.getter.get(); });
        CHECK(code == errc::closed);
        CHECK(code_of([&] { (void)q.getter.size(); }) == errc::closed);
        CHECK(code_of([&] { (void)q.getter.share(); }) == errc::closed);
        CHECK(q.getter.closed());
        ipc::putter<int> none;
        code = co_await error_of([&] { return none.put(1); });
        CHECK(code == errc::closed);
    });
}

TEST_CASE("a closed handle ends a put that waits") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.max_items = 1});
        CHECK(q.putter.try_put(1));
        std::error_code code;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> { code = co_await error_of([&] { return q.putter.put(2); }); });
            co_await turns();
            auto moved = std::move(q.putter);
            moved.close();
        });
        CHECK(code == errc::closed);
        auto last = co_await q.getter.get();
        CHECK(last == 1);
        auto end = co_await q.getter.get();
        CHECK(!end);
    });
}

TEST_CASE("a queue is refused under virtual time, except for what does not wait") {
    bool refused = false;
    loop_options options;
    options.virtual_time = true;
    run(
        [&]() -> task<> {
            auto q = ipc::queue<int>();
            CHECK(q.putter.try_put(1));
            try {
                co_await q.getter.get();
            } catch (const std::logic_error&) {
                refused = true;
            }
        },
        options);
    CHECK(refused);
}

TEST_CASE("a handle is of one loop, share() makes one for another") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        co_await q.putter.put(1);
        std::error_code code;
        std::optional<int> got;
        auto mine = q.putter.share();
        std::thread other([&] {
            run([&]() -> task<> {
                code = co_await error_of([&] { return q.putter.put(2); });
                co_await mine.put(3);
            });
            mine.close();
        });
        other.join();
        CHECK(code == errc::wrong_thread);
        CHECK(q.getter.size() == 2);
        got = co_await q.getter.get();
        CHECK(got == 1);
        got = co_await q.getter.get();
        CHECK(got == 3);
    });
}

TEST_CASE("loops of several threads share a queue") {
    both_ways([]() -> task<> {
        constexpr int each = 2000;
        auto q = ipc::queue<int>({.max_items = 16});
        std::atomic<long> sum{0};
        std::atomic<int> count{0};
        std::vector<std::thread> threads;
        for (int t = 0; t < 3; ++t) {
            threads.emplace_back([&, out = q.putter.share(), t]() mutable {
                run([&]() -> task<> {
                    for (int i = 0; i < each; ++i) co_await out.put(t * each + i);
                });
            });
            threads.emplace_back([&, in = q.getter.share()]() mutable {
                run([&]() -> task<> {
                    while (auto item = co_await in.get()) {
                        sum += *item;
                        ++count;
                    }
                });
            });
        }
        q.putter.close();
        for (auto& thread : threads) thread.join();
        CHECK(count == 3 * each);
        CHECK(sum == long{3 * each} * (3 * each - 1) / 2);
        co_return;
    });
}

TEST_CASE("a process has many queues") {
    both_ways([]() -> task<> {
        std::vector<ipc::queue_ends<int>> all;
        for (int i = 0; i < 60; ++i) all.push_back(ipc::queue<int>({.max_items = 4}));
        int sum = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (std::size_t i = 0; i < all.size(); ++i)
                n.start([&, i]() -> task<> {
                    while (auto item = co_await all[i].getter.get()) {
                        sum += *item;
                        if (i + 1 < all.size()) co_await all[i + 1].putter.put(*item);
                    }
                    if (i + 1 < all.size()) all[i + 1].putter.close();
                });
            for (int k = 0; k < 10; ++k) co_await all[0].putter.put(1);
            all[0].putter.close();
        });
        CHECK(sum == 600);
    });
}

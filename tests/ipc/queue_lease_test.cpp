// SPDX-License-Identifier: MIT
// A queue with leases: what was taken and not finished is delivered again.
#include <runnel/ipc/queue.hpp>

#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

using leased_int = std::optional<ipc::lease<int>>;

/// Takes `count` items, says so, and never ends.
task<> take_and_keep(ipc::getter<int> in, unique_fd say, int count) {
    std::vector<ipc::lease<int>> held;
    for (int i = 0; i < count; ++i) {
        auto one = co_await in.get_leased();
        held.push_back(std::move(*one));
    }
    tell(say);
    co_await sleep_for(1h);
}
/// The same by get(), which task_done() would end.
task<> get_and_keep(ipc::getter<int> in, unique_fd say, int count) {
    for (int i = 0; i < count; ++i) co_await in.get();
    tell(say);
    co_await sleep_for(1h);
}
task<> killed_with(ipc::queue_ends<int>& q, decltype(&take_and_keep) what, int count) {
    signal_pipe up;
    auto child = ipc::spawn(what, q.getter.share(), std::move(up.say), count);
    bool there = co_await told(up.hear);
    CHECK(there);
    child.kill();
    co_await child.wait();
}

}  // namespace

TEST_CASE("a leased item is done with when it says so, and not before") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.lease = true});
        for (int i = 0; i < 3; ++i) co_await q.putter.put(i);
        leased_int one = co_await q.getter.get_leased();
        CHECK(**one == 0);
        CHECK(one->deliveries() == 1);
        CHECK(q.getter.size() == 2);
        bool joined = co_await with_timeout(q.putter.join(), 1ms);
        CHECK(!joined);
        one->done();
        one->done();
        one->give_back();  // too late: nothing happens
        CHECK(q.getter.size() == 2);
        for (int i = 1; i < 3; ++i) {
            leased_int next = co_await q.getter.get_leased();
            CHECK(**next == i);
            next->done();
        }
        co_await q.putter.join();
    });
}

TEST_CASE("an item that is dropped or given back comes again, before all others") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.lease = true});
        for (int i = 0; i < 4; ++i) co_await q.putter.put(i);
        {
            leased_int first = co_await q.getter.get_leased();
            leased_int second = co_await q.getter.get_leased();
            second->give_back();
            CHECK(q.getter.size() == 3);
        }
        CHECK(q.getter.size() == 4);
        for (int i = 0; i < 4; ++i) {
            leased_int next = co_await q.getter.get_leased();
            CHECK(**next == i);
            CHECK(next->deliveries() == (i < 2 ? 2 : 1));
            next->done();
        }
    });
}

TEST_CASE("a lease that is given back wakes one who waits") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.lease = true});
        co_await q.putter.put(1);
        leased_int held = co_await q.getter.get_leased();
        std::optional<int> got;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> { got = co_await q.getter.get(); });
            co_await turns();
            CHECK(!got);
            held.reset();
        });
        CHECK(got == 1);
        q.getter.task_done();
        co_await q.putter.join();
    });
}

TEST_CASE("what a killed process had leased is delivered again before all undelivered items") {
    both_ways([]() -> task<> {
        for (const auto how : {&take_and_keep, &get_and_keep}) {
            auto q = ipc::queue<int>({.lease = true});
            for (int i = 0; i < 10; ++i) co_await q.putter.put(i);
            // Somebody who gets all the time, and never waits, is told as well.
            leased_int mine = co_await q.getter.get_leased();
            mine->done();
            signal_pipe up;
            auto child = ipc::spawn(how, q.getter.share(), std::move(up.say), 3);
            bool there = co_await told(up.hear);
            CHECK(there);
            leased_int next = co_await q.getter.get_leased();
            CHECK(**next == 4);
            next->done();
            child.kill();
            co_await child.wait();
            while (q.getter.size() == 5) co_await yield();  // until the death has been noticed
            for (const int i : {1, 2, 3, 5, 6, 7, 8, 9}) {
                leased_int one = co_await q.getter.get_leased();
                CHECK(**one == i);
                CHECK(one->deliveries() == (i < 4 ? 2 : 1));
                one->done();
            }
            co_await q.putter.join();
        }
    });
}

TEST_CASE("what a killed process had leased wakes those who wait, in another process, too") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.lease = true});
        co_await q.putter.put(7);
        signal_pipe up;
        auto holder = ipc::spawn(take_and_keep, q.getter.share(), std::move(up.say), 1);
        co_await told(up.hear);
        auto waiting = ipc::spawn(
            [](ipc::getter<int> in) -> task<int> {
                auto one = co_await in.get_leased();
                one->done();
                co_return **one * 10 + static_cast<int>(one->deliveries());
            },
            q.getter.share());
        co_await until_asleep(waiting.pid());
        holder.kill();
        const int got = co_await waiting.join();
        CHECK(got == 72);
        co_await holder.wait();
        co_await q.putter.join();
    });
}

TEST_CASE("the end waits for leases of others, which may come back") {
    both_ways([]() -> task<> {
        for (const bool shut : {false, true}) {
            auto q = ipc::queue<int>({.lease = true});
            co_await q.putter.put(7);
            signal_pipe up;
            auto holder = ipc::spawn(take_and_keep, q.getter.share(), std::move(up.say), 1);
            co_await told(up.hear);
            if (shut)
                q.putter.shutdown();
            else
                q.putter.close();
            leased_int got;
            bool ended = false;
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start([&]() -> task<> {
                    got = co_await q.getter.get_leased();
                    if (got) got->done();
                    auto end = co_await q.getter.get_leased();
                    ended = !end;
                });
                co_await turns();
                CHECK(!got);
                holder.kill();
            });
            CHECK(got);
            CHECK(ended);
            co_await holder.wait();
        }
    });
}

TEST_CASE("the end comes when the leases of others are done") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.lease = true});
        co_await q.putter.put(7);
        signal_pipe up;
        signal_pipe go;
        auto worker = ipc::spawn(
            [](ipc::getter<int> in, unique_fd say, unique_fd hear) -> task<> {
                auto one = co_await in.get_leased();
                tell(say);
                co_await told(hear);
                one->done();
                tell(say);
                co_await told(hear);
            },
            q.getter.share(), std::move(up.say), std::move(go.hear));
        co_await told(up.hear);
        q.putter.close();
        bool ended = false;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                auto end = co_await q.getter.get_leased();
                ended = !end;
            });
            co_await turns();
            CHECK(!ended);
            tell(go.say);
            co_await told(up.hear);
        });
        CHECK(ended);
        tell(go.say);
        co_await worker.join();
    });
}

TEST_CASE("an item is dropped when it was delivered often enough") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.lease = true, .max_deliveries = 3});
        co_await q.putter.put(1);
        co_await q.putter.put(2);
        for (std::uint32_t i = 1; i <= 3; ++i) {
            leased_int one = co_await q.getter.get_leased();
            CHECK(**one == 1);
            CHECK(one->deliveries() == i);
        }
        leased_int other = co_await q.getter.get_leased();
        CHECK(**other == 2);
        other->done();
        co_await q.putter.join();
        // Deaths count as well.
        co_await q.putter.put(3);
        for (int i = 0; i < 3; ++i) co_await killed_with(q, take_and_keep, 1);
        co_await q.putter.join();
        CHECK(q.getter.empty());
    });
}

TEST_CASE("with leases, get and task_done lease as well") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.lease = true});
        CHECK_THROWS_AS(q.getter.task_done(), std::invalid_argument);
        for (int i = 0; i < 4; ++i) co_await q.putter.put(i);
        auto first = co_await q.getter.get();
        auto second = q.getter.try_get();
        CHECK(first == 0);
        CHECK(second == 1);
        bool joined = co_await with_timeout(q.putter.join(), 1ms);
        CHECK(!joined);
        q.getter.task_done();
        // What a getter has not finished when it goes comes again.
        auto next = q.getter.share();
        ipc::encoder out;
        ipc::encode(out, q.getter);
        std::vector<unique_fd> copies;
        for (const int number : out.handles()) copies.emplace_back(::dup(number));
        auto other = ipc::decode<ipc::getter<int>>(out.bytes(), copies);
        q.getter.close();
        next.close();
        co_await turns();
        for (int i = 1; i < 4; ++i) {
            auto got = co_await other.get();
            CHECK(got == i);
            other.task_done();
        }
        co_await q.putter.join();
        CHECK_THROWS_AS(other.task_done(), std::invalid_argument);
    });
}

TEST_CASE("get_leased needs a queue with leases") {
    auto q = ipc::queue<int>();
    CHECK_THROWS_AS(q.getter.get_leased(), std::invalid_argument);
    CHECK_THROWS_AS(q.getter.try_get_leased(), std::invalid_argument);
    q.getter.close();
    CHECK(code_of([&] { (void)q.getter.try_get_leased(); }) == errc::closed);
}

TEST_CASE("a lease is had without waiting and without a loop, or not") {
    const support::no_leaks leaks;
    auto q = ipc::queue<std::string>({.max_bytes = 1 << 16, .lease = true});
    CHECK(!q.getter.try_get_leased());
    CHECK(q.putter.try_put("one"));
    CHECK(q.putter.try_put("two"));
    {
        auto first = q.getter.try_get_leased();
        REQUIRE(first);
        CHECK(**first == "one");
        CHECK(first->deliveries() == 1);
        CHECK(q.getter.size() == 1);
        CHECK_THROWS_AS(q.getter.task_done(), std::invalid_argument);  // an object has it
    }
    CHECK(q.getter.size() == 2);
    auto again = q.getter.try_get_leased();
    REQUIRE(again);
    CHECK(**again == "one");
    CHECK(again->deliveries() == 2);
    again->done();
    auto second = q.getter.try_get_leased();
    REQUIRE(second);
    CHECK(**second == "two");
    second->done();
    CHECK(!q.getter.try_get_leased());
    run([&]() -> task<> { co_await q.putter.join(); });
    q.putter.shutdown();
    CHECK(!q.getter.try_get_leased());
}

TEST_CASE("who waits with full hands is seen to") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.lease = true});
        const auto waiting = [] {
            std::ostringstream text;
            loop::current()->dump(text);
            return text.str();
        };
        co_await open_nursery([&](nursery& n) -> task<> {
            std::vector<int> got;
            for (int i = 0; i < 2; ++i)
                n.start([&]() -> task<> {
                    // Who forgets task_done().
                    while (auto item = co_await q.getter.get()) got.push_back(*item);
                });
            co_await turns();
            CHECK(waiting().find("get on ipc queue") != std::string::npos);
            CHECK(waiting().find("hands full") == std::string::npos);
            for (int i = 0; i < 253; ++i) co_await q.putter.put(i);
            for (int i = 0; i < 10'000 && got.size() < 252; ++i) co_await yield();
            co_await turns();
            CHECK(got.size() == 252);
            const std::string text = waiting();
            const auto first = text.find("get on ipc queue: hands full");
            CHECK(first != std::string::npos);
            CHECK(text.find("get on ipc queue: hands full", first + 1) != std::string::npos);
            q.getter.task_done();
            for (int i = 0; i < 10'000 && got.size() < 253; ++i) co_await yield();
            CHECK(got.size() == 253);
            CHECK(waiting().find("hands full") == std::string::npos);
            n.cancel();
        });
    });
}

TEST_CASE("long items survive their getters") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<std::string>(
            {.max_items = 0, .max_bytes = std::size_t{32} << 20, .lease = true});
        const std::string text(1'000'000, 'L');
        co_await q.putter.put(text);
        for (int i = 0; i < 3; ++i) {
            auto child = ipc::spawn(
                [](ipc::getter<std::string> in) -> task<> {
                    auto one = co_await in.get_leased();
                    ::_exit(one && (*one)->size() == 1'000'000 ? 0 : 1);
                },
                q.getter.share());
            const auto status = co_await child.wait();
            CHECK(status.code() == 0);
        }
        const std::uint64_t before = bytes_in_memory();
        auto one = co_await q.getter.get_leased();
        CHECK(**one == text);
        CHECK(one->deliveries() == 4);
        one->done();
        CHECK(bytes_in_memory() + 900'000 < before);
    });
}

TEST_CASE("a process has no more than 252 leases, and waits for one to end") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.lease = true});
        for (int i = 0; i < 254; ++i) co_await q.putter.put(i);
        std::vector<ipc::lease<int>> held;
        for (int i = 0; i < 252; ++i) {
            auto one = co_await q.getter.get_leased();
            held.push_back(std::move(*one));
        }
        auto more = co_await with_timeout(q.getter.get_leased(), 2ms);
        CHECK(!more);
        leased_int next;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> { next = co_await q.getter.get_leased(); });
            co_await turns();
            held[17].done();
        });
        CHECK(**next == 252);
        next->done();
        held.clear();
        CHECK(q.getter.size() == 252);
        auto oldest = co_await q.getter.get_leased();
        CHECK(**oldest == 0);
    });
}

TEST_CASE("full hands are not the end, when nobody is left to put") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.lease = true});
        for (int i = 0; i < 254; ++i) co_await q.putter.put(i);
        q.putter.close();
        std::vector<ipc::lease<int>> held;
        for (int i = 0; i < 252; ++i) {
            auto one = co_await q.getter.get_leased();
            held.push_back(std::move(*one));
        }
        auto more = co_await with_timeout(q.getter.get_leased(), 2ms);
        CHECK(!more);
        CHECK(!q.getter.try_get());
        for (int i = 252; i < 254; ++i) {
            held.back().done();
            held.pop_back();
            auto next = co_await q.getter.get_leased();
            REQUIRE(next.has_value());
            CHECK(**next == i);
            held.push_back(std::move(*next));
        }
        auto end = co_await q.getter.get_leased();
        CHECK(!end);
    });
}

TEST_CASE("immediate shutdown drops leases that come back, and join waits for those in hands") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.lease = true});
        for (int i = 0; i < 3; ++i) co_await q.putter.put(i);
        leased_int mine = co_await q.getter.get_leased();
        leased_int back = co_await q.getter.get_leased();
        back->give_back();
        q.putter.shutdown(ipc::immediate);
        auto end = co_await q.getter.get_leased();
        CHECK(!end);
        bool joined = co_await with_timeout(q.putter.join(), 1ms);
        CHECK(!joined);
        mine->give_back();
        co_await q.putter.join();
        CHECK(q.getter.empty());
    });
}

TEST_CASE("leases of one who is killed come back to one without a loop") {
    auto q = ipc::queue<int>({.lease = true});
    CHECK(q.putter.try_put(1));
    run([&]() -> task<> { co_await killed_with(q, get_and_keep, 1); });
    CHECK(q.getter.try_get() == 1);
    q.getter.task_done();
    CHECK(!q.getter.try_get());
}

// SPDX-License-Identifier: MIT
// What CPython's tests pin for multiprocessing's Queue, JoinableQueue and SimpleQueue, and for
// shutdown of queue.Queue; and the ways in which its queues hang after a SIGKILL.
#include <chrono>
#include <csignal>
#include <stdexcept>
#include <vector>

#include <runnel/ipc/queue.hpp>
#include <runnel/ipc/value.hpp>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using clock_type = std::chrono::steady_clock;

namespace {

/// Of some size, and some of them cannot be encoded.
struct stubborn {
    explicit stubborn(bool is_fine) : fine(is_fine) {}
    bool fine;
};

}  // namespace

template <>
struct runnel::ipc::codec<stubborn> {
    static constexpr std::uint64_t signature = 0x73747562;
    static void encode(encoder& out, const stubborn& one) {
        out.write(std::uint32_t{7});
        if (!one.fine) throw std::runtime_error("not this one");
        out.write(std::uint32_t{8});
    }
    static stubborn decode(decoder& in) {
        const auto seven = in.read<std::uint32_t>();
        return stubborn(seven == 7 && in.read<std::uint32_t>() == 8);
    }
};

TEST_CASE("test_put: a put without waiting fails at once, one with a timeout after it",
          "[cpython]") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.max_items = 6});
        for (int i = 1; i <= 6; ++i) CHECK(q.putter.try_put(i));
        CHECK(!q.putter.empty());
        CHECK(q.putter.full());
        CHECK(!q.putter.try_put(7));
        const auto begin = clock_type::now();
        bool put = co_await with_timeout(q.putter.put(7), 20ms);
        CHECK(!put);
        CHECK(clock_type::now() - begin >= 20ms);
        bool now = co_await with_timeout(q.putter.put(7), 0s);
        CHECK(!now);
        auto drained = ipc::spawn(
            [](ipc::getter<int> in) -> task<> {
                for (int i = 0; i < 6; ++i) co_await in.get();
            },
            q.getter.share());
        co_await drained.join();
        CHECK(!q.putter.full());
        CHECK(q.putter.empty());
    });
}

TEST_CASE("test_get: items come in order, then a get fails at once or after its timeout",
          "[cpython]") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        auto child = ipc::spawn(
            [](ipc::putter<int> out) -> task<> {
                for (int i = 2; i <= 5; ++i) co_await out.put(i);
            },
            q.putter.share());
        co_await child.join();
        CHECK(!q.getter.empty());
        for (int i = 2; i <= 5; ++i) CHECK(q.getter.try_get() == i);
        CHECK(q.getter.empty());
        CHECK(!q.getter.try_get());
        const auto begin = clock_type::now();
        auto got = co_await with_timeout(q.getter.get(), 20ms);
        CHECK(!got);
        CHECK(clock_type::now() - begin >= 20ms);
    });
}

TEST_CASE("test_fork: what was put before a fork comes out in the child before what is put there",
          "[cpython]") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        for (int i = 0; i < 10; ++i) co_await q.putter.put(i);
        auto child = ipc::spawn(
            [](ipc::putter<int> out) -> task<> {
                for (int i = 10; i < 20; ++i) co_await out.put(i);
            },
            q.putter.share());
        for (int i = 0; i < 20; ++i) {
            auto got = co_await q.getter.get();
            CHECK(got == i);
        }
        CHECK(q.getter.empty());
        co_await child.join();
    });
}

TEST_CASE("test_qsize: it is exact", "[cpython]") {
    auto q = ipc::queue<int>();
    CHECK(q.getter.size() == 0);
    CHECK(q.putter.try_put(1));
    CHECK(q.getter.size() == 1);
    CHECK(q.putter.try_put(5));
    CHECK(q.getter.size() == 2);
    CHECK(q.getter.try_get() == 1);
    CHECK(q.getter.size() == 1);
    CHECK(q.getter.try_get() == 5);
    CHECK(q.getter.size() == 0);
}

TEST_CASE("test_task_done: join waits for all workers to be done", "[cpython]") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        std::vector<ipc::process<int>> workers;
        for (int i = 0; i < 4; ++i)
            workers.push_back(ipc::spawn(
                [](ipc::getter<int> in) -> task<int> {
                    int count = 0;
                    while (auto item = co_await in.get()) {
                        ++count;
                        in.task_done();
                    }
                    co_return count;
                },
                q.getter.share()));
        for (int i = 0; i < 10; ++i) co_await q.putter.put(i);
        co_await q.putter.join();
        CHECK(q.putter.empty());
        q.putter.close();
        int all = 0;
        for (const auto& worker : workers) {
            const int count = co_await worker.join();
            all += count;
        }
        CHECK(all == 10);
    });
}

TEST_CASE("test_queue_join: join twice, task_done once too often is an error", "[cpython]") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        co_await q.putter.put(1);
        co_await q.getter.get();
        q.getter.task_done();
        co_await q.putter.join();
        co_await q.putter.join();
        CHECK_THROWS_AS(q.getter.task_done(), std::invalid_argument);
    });
}

TEST_CASE("test_queue_task_done: too many are an error, before the first item and after the last",
          "[cpython]") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        CHECK_THROWS_AS(q.getter.task_done(), std::invalid_argument);
        CHECK_THROWS_AS(q.getter.share().task_done(), std::invalid_argument);
        co_await q.putter.put(1);
        CHECK_THROWS_AS(q.getter.task_done(), std::invalid_argument);  // nobody has it yet
        co_await q.getter.get();
        q.getter.task_done();
        CHECK_THROWS_AS(q.getter.task_done(), std::invalid_argument);
        co_await q.putter.join();
    });
}

TEST_CASE("test_negative_timeout_raises_exception: here it is one of no time", "[cpython]") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.max_items = 1});
        auto none = co_await with_timeout(q.getter.get(), -1s);
        CHECK(!none);
        bool put = co_await with_timeout(q.putter.put(borrowed<1>), -1s);
        CHECK(put);
        put = co_await with_timeout(q.putter.put(borrowed<2>), -1s);
        CHECK(!put);
        auto one = co_await with_timeout(q.getter.get(), -1s);
        REQUIRE(one);
        CHECK(**one == 1);
        CHECK(q.getter.empty());
    });
}

TEST_CASE("test_closed_queue_put_get_exceptions: closed queues refuse", "[cpython]") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        q.putter.close();
        q.getter.close();
        const int item = 1;  // put borrows it until it is over
        auto code = co_await error_of([&] { return q.putter.put(item); });
        CHECK(code == errc::closed);
        code = co_await error_of([&] { return q.getter.get(); });
        CHECK(code == errc::closed);
        CHECK(code_of([&] { (void)q.getter.empty(); }) == errc::closed);
        q.putter.close();  // twice is fine
    });
}

TEST_CASE("test_closed_queue_empty_exceptions: a closed queue is neither empty nor full",
          "[cpython]") {
    both_ways([]() -> task<> {
        auto unused = ipc::queue<int>();
        auto used = ipc::queue<int>();
        co_await used.putter.put(1);
        for (auto* q : {&unused, &used}) {
            q->getter.close();
            CHECK(code_of([&] { (void)q->getter.empty(); }) == errc::closed);
            CHECK(code_of([&] { (void)q->getter.full(); }) == errc::closed);
        }
    });
}

TEST_CASE("_TestQueue.test_timeout: a get that waits comes back in time, and not before",
          "[cpython]") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        for (const auto limit : {-1ms, 0ms, 30ms}) {
            const auto begin = clock_type::now();
            auto got = co_await with_timeout(q.getter.get(), limit);
            CHECK(!got);
            CHECK(clock_type::now() - begin >= limit);
        }
    });
}

TEST_CASE("BaseQueueTestMixin.basic_queue_test: first in, first out, full, and no longer",
          "[cpython]") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.max_items = 3});
        for (int round = 0; round < 2; ++round) {
            CHECK(q.putter.empty());
            for (const int item : {111, 333, 222}) co_await q.putter.put(item);
            CHECK(q.putter.full());
            CHECK(q.putter.size() == 3);
            for (const int item : {111, 333, 222}) {
                auto got = co_await q.getter.get();
                CHECK(got == item);
                CHECK(!q.putter.full());
            }
        }
    });
}

TEST_CASE("test_queue_feeder_donot_stop_onexc: an item that cannot be encoded leaves no trace",
          "[cpython]") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<stubborn>({.max_items = 1});
        const stubborn bad(false);
        const stubborn good(true);
        std::string why;
        try {
            co_await q.putter.put(bad);
        } catch (const std::runtime_error& error) {
            why = error.what();
        }
        CHECK(why == "not this one");
        CHECK_THROWS_AS(q.putter.try_put(bad), std::runtime_error);
        CHECK(q.getter.size() == 0);
        co_await q.putter.put(good);
        auto got = co_await with_timeout(q.getter.get(), 10s);
        REQUIRE(got);
        CHECK((*got)->fine);
    });
}

TEST_CASE("TestSimpleQueue: empty, then not, then empty, close twice", "[cpython]") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        CHECK(q.getter.empty());
        auto child = ipc::spawn([](ipc::putter<int> out) -> task<> { co_await out.put(1); },
                                q.putter.share());
        co_await child.join();
        CHECK(!q.getter.empty());
        auto got = co_await q.getter.get();
        CHECK(got == 1);
        CHECK(q.getter.empty());
        q.getter.close();
        q.getter.close();
        CHECK(code_of([&] { (void)q.getter.empty(); }) == errc::closed);
    });
}

TEST_CASE("test_shutdown_allowed_transitions: immediate stays", "[cpython]") {
    auto q = ipc::queue<int>();
    CHECK(q.putter.try_put(1));
    q.putter.shutdown();
    q.putter.shutdown();
    CHECK(q.getter.size() == 1);
    q.putter.shutdown(ipc::immediate);
    CHECK(q.getter.size() == 0);
    q.putter.shutdown(ipc::drain);
    CHECK(!q.getter.try_get());
}

TEST_CASE("test_shutdown_immediate: task_done is an error for what was dropped, and join returns",
          "[cpython]") {
    both_ways([]() -> task<> {
        for (const bool shut : {false, true}) {
            auto q = ipc::queue<int>();
            co_await q.putter.put(1);
            co_await q.putter.put(2);
            auto first = co_await q.getter.get();
            CHECK(first == 1);
            if (shut) q.putter.shutdown(ipc::immediate);
            auto second = co_await q.getter.get();
            CHECK(second.has_value() == !shut);
            q.getter.task_done();  // what was in hands still is
            if (shut)
                CHECK_THROWS_AS(q.getter.task_done(), std::invalid_argument);
            else
                CHECK_NOTHROW(q.getter.task_done());
            co_await q.putter.join();
        }
    });
}

namespace {

void count_in(ipc::value<int> counter) { counter.fetch_add(1); }

}  // namespace

TEST_CASE("test_shutdown_all_methods_in_many_threads: all who wait are told", "[cpython]") {
    both_ways([]() -> task<> {
        for (const auto how : {ipc::drain, ipc::immediate}) {
            auto full = ipc::queue<int>({.max_items = 1});
            auto empty = ipc::queue<int>();
            co_await full.putter.put(1);
            co_await empty.putter.put(1);
            co_await empty.getter.get();  // joined, and never done
            const ipc::value<int> told(0);
            std::vector<ipc::process<>> all;
            for (int i = 0; i < 4; ++i)
                all.push_back(ipc::spawn(
                    [](ipc::putter<int> out, ipc::value<int> counter) -> task<> {
                        const int item = 2;
                        auto code = co_await error_of([&] { return out.put(item); });
                        if (code == errc::closed) count_in(std::move(counter));
                    },
                    full.putter.share(), told.share()));
            for (int i = 0; i < 6; ++i)
                all.push_back(ipc::spawn(
                    [](ipc::getter<int> in, ipc::value<int> counter) -> task<> {
                        auto got = co_await in.get();
                        if (!got) count_in(std::move(counter));
                    },
                    empty.getter.share(), told.share()));
            for (int i = 0; i < 2; ++i)
                all.push_back(ipc::spawn(
                    [](ipc::putter<int> out, ipc::value<int> counter) -> task<> {
                        co_await out.join();
                        count_in(std::move(counter));
                    },
                    full.putter.share(), told.share()));
            for (auto& one : all) co_await until_asleep(one.pid());
            full.putter.shutdown(how);
            empty.putter.shutdown(how);
            co_await told.until([](int n) { return n >= 10; });
            if (how == ipc::drain) {  // and joined only when what there was is done
                co_await full.getter.get();
                full.getter.task_done();
            }
            for (auto& one : all) co_await one.join();
            CHECK(told.load() == 12);
        }
    });
}

TEST_CASE("test_shutdown_pending_get: who waits for an item is told at once", "[cpython]") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        auto child = ipc::spawn(
            [](ipc::getter<int> in) -> task<int> {
                auto got = co_await in.get();
                co_return got ? 1 : 0;
            },
            q.getter.share());
        co_await until_asleep(child.pid());
        q.putter.shutdown();
        const int got = co_await child.join();
        CHECK(got == 0);
    });
}

TEST_CASE("killed: a reader inside get leaves the queue to the others", "[cpython]") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        auto reader =
            ipc::spawn([](ipc::getter<int> in) -> task<> { co_await in.get(); }, q.getter.share());
        co_await until_asleep(reader.pid());
        reader.kill();
        co_await reader.wait();
        co_await q.putter.put(1);
        auto got = co_await with_timeout(q.getter.get(), 1s);
        REQUIRE(got);
        CHECK(**got == 1);
    });
}

TEST_CASE("killed: a writer inside a put of 4 MiB does not block a get beyond its timeout",
          "[cpython]") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<std::string>();
        for (int i = 0; i < 10; ++i) {
            auto writer = ipc::spawn(
                [](ipc::putter<std::string> out) -> task<> {
                    const std::string text(4 << 20, 'w');
                    for (;;) co_await out.put(text);
                },
                q.putter.share());
            auto some = co_await with_timeout(q.getter.get(), 5s);
            CHECK(some);
            writer.kill();
            co_await writer.wait();
            bool more = true;
            while (more) {
                auto got = co_await with_timeout(q.getter.get(), 1ms);
                more = got && *got;
                if (more) CHECK((*got)->size() == std::size_t{4} << 20);
            }
            const std::string text("after it");
            co_await q.putter.put(text);
            auto got = co_await with_timeout(q.getter.get(), 5s);
            CHECK(**got == text);
        }
    });
}

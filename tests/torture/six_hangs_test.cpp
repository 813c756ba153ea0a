// SPDX-License-Identifier: MIT
// The six ways in which the primitives of Python's multiprocessing hang for ever, or take everything
// down, once a process that uses them is killed. Each of them, here, with the same in runnel.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <runnel/ipc.hpp>
#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/leaks.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

template <class F>
void in_time(F body) {
    const support::no_leaks leaks;
    bool done = false;
    run([&]() -> task<> {
        const bool ended = co_await with_timeout(body(), 20s);
        done = ended;
    });
    CHECK(done);
}

/// Gets one item, tells so, and waits in get for the next one.
task<> get_for_ever(ipc::getter<int> from, ipc::sender<int> told) {
    while (auto got = co_await from.get()) co_await told.send(*got);
}

/// Puts large items, as fast as it goes.
task<> put_large_for_ever(ipc::putter<std::string> to) {
    const std::string large(4 << 20, 'x');
    for (;;) co_await to.put(large);
}

task<> hold_for_ever(ipc::mutex lock, ipc::sender<int> told) {
    auto held = co_await lock.lock();
    co_await told.send(1);
    co_await sleep_for(1h);
}

/// A worker of a pool: what it takes it answers, but over job 3 it stays, if it is the first.
task<> work(ipc::getter<int> jobs, ipc::putter<int> results, ipc::sender<int> stays) {
    while (auto job = co_await jobs.get_leased()) {
        if (**job == 3 && job->deliveries() == 1) {
            co_await stays.send(::getpid());
            co_await sleep_for(1h);
        }
        const int square = **job * **job;
        co_await results.put(square);
        job->done();
    }
}

task<int> task_of_executor(int number) {
    if (number == 2) {
        ::raise(SIGKILL);
        co_await sleep_for(1h);
    }
    co_return number * 10;
}

task<> wait_once(ipc::event event) { co_await event.wait(); }

/// Tells when it waits: the other task runs when this one is asleep.
task<> wait_for_ever(ipc::event event, ipc::sender<int> told) {
    co_await open_nursery([&](nursery& n) -> task<> {
        n.start(wait_once, event.share());
        co_await yield();
        co_await told.send(1);
    });
}

}  // namespace

TEST_CASE("Python hangs: a reader is killed inside Queue.get", "[six_hangs]") {
    in_time([]() -> task<> {
        auto ends = ipc::queue<int>();
        auto told = ipc::pipe<int>(ipc::simplex);
        auto reader = ipc::spawn(get_for_ever, ends.getter.share(), std::move(told.sender));
        co_await ends.putter.put(1);
        auto first = co_await told.receiver.recv();
        CHECK(first == 1);
        // It has the next get before it, or is in it.
        reader.kill();
        co_await reader.wait();
        co_await ends.putter.put(2);
        auto second = co_await with_timeout(ends.getter.get(), 5s);
        REQUIRE(second.has_value());
        CHECK(*second == 2);
        CHECK(ends.getter.empty());
    });
}

TEST_CASE("Python hangs: a writer is killed inside a put of 4 MiB", "[six_hangs]") {
    in_time([]() -> task<> {
        auto ends = ipc::queue<std::string>({.max_bytes = std::size_t{16} << 20});
        auto kept = ends.putter.share();
        auto writer = ipc::spawn(put_large_for_ever, std::move(ends.putter));
        for (int i = 0; i < 3; ++i) {
            auto large = co_await ends.getter.get();
            CHECK(large->size() == std::size_t{4} << 20);
        }
        writer.kill();
        co_await writer.wait();
        // What there is is whole, and then get keeps to its time.
        while (auto left = ends.getter.try_get()) CHECK(left->size() == std::size_t{4} << 20);
        const auto before = std::chrono::steady_clock::now();
        auto late = co_await with_timeout(ends.getter.get(), 50ms);
        CHECK_FALSE(late.has_value());
        CHECK(std::chrono::steady_clock::now() - before < 2s);
        const std::string small = "small";
        co_await kept.put(small);
        auto got = co_await ends.getter.get();
        CHECK(got == small);
    });
}

TEST_CASE("Python hangs: the holder of a Lock is killed", "[six_hangs]") {
    in_time([]() -> task<> {
        ipc::mutex lock;
        auto told = ipc::pipe<int>(ipc::simplex);
        auto holder = ipc::spawn(hold_for_ever, lock.share(), std::move(told.sender));
        auto holds = co_await told.receiver.recv();
        CHECK(holds == 1);
        CHECK_FALSE(lock.try_lock().has_value());
        holder.kill();
        auto held = co_await lock.lock();  // it need not be waited for
        CHECK(held.owner_died());
        held.unlock();
        co_await holder.wait();
        auto again = co_await lock.lock();
        CHECK_FALSE(again.owner_died());
    });
}

TEST_CASE("Python hangs: a worker of a Pool is killed, and its result never comes", "[six_hangs]") {
    in_time([]() -> task<> {
        auto jobs = ipc::queue<int>({.lease = true});
        auto results = ipc::queue<int>();
        auto stays = ipc::pipe<int>(ipc::simplex);
        std::vector<ipc::process<>> pool;
        for (int i = 0; i < 3; ++i)
            pool.push_back(ipc::spawn(work, jobs.getter.share(), results.putter.share(),
                                      stays.sender.share()));
        for (int i = 0; i < 8; ++i) co_await jobs.putter.put(i);
        auto victim = co_await stays.receiver.recv();
        REQUIRE(victim.has_value());
        for (const auto& worker : pool)
            if (worker.pid() == *victim) worker.kill();
        co_await jobs.putter.join();  // all are done, by the others
        std::vector<int> all;
        while (auto one = results.getter.try_get()) all.push_back(*one);
        std::sort(all.begin(), all.end());
        CHECK(all == std::vector{0, 1, 4, 9, 16, 25, 36, 49});
        jobs.putter.close();
        int killed = 0;
        for (const auto& worker : pool) {
            const auto status = co_await worker.wait();
            if (!status.success()) ++killed;
        }
        CHECK(killed == 1);
    });
}

TEST_CASE("Python fails all: a worker of a ProcessPoolExecutor is killed", "[six_hangs]") {
    in_time([]() -> task<> {
        std::vector<ipc::process<int>> all;
        for (int i = 0; i < 4; ++i) all.push_back(ipc::spawn(task_of_executor, int(i)));
        std::vector<int> results;
        int failed = 0;
        for (const auto& one : all) {
            try {
                const int result = co_await one.join();
                results.push_back(result);
            } catch (const ipc::child_failed& e) {
                CHECK(e.status() == ipc::exit_status::signalled(SIGKILL));
                ++failed;
            }
        }
        CHECK(results == std::vector{0, 10, 30});
        CHECK(failed == 1);
    });
}

TEST_CASE("Python hangs: a process that waits for an Event is killed", "[six_hangs]") {
    in_time([]() -> task<> {
        ipc::event event;
        auto told = ipc::pipe<int>(ipc::simplex);
        auto waiter = ipc::spawn(wait_for_ever, event.share(), std::move(told.sender));
        auto waits = co_await told.receiver.recv();
        CHECK(waits == 1);
        waiter.kill();
        co_await waiter.wait();
        event.set();
        CHECK(event.is_set());
        event.clear();
        auto other = ipc::spawn(wait_once, event.share());
        event.set();
        co_await other.join();
    });
}

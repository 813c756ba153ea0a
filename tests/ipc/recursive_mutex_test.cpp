// SPDX-License-Identifier: MIT
#include <runnel/ipc/recursive_mutex.hpp>

#include <csignal>
#include <stdexcept>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

task<int> depth_of(const ipc::recursive_mutex& m, int left) {
    auto held = co_await m.lock();
    if (left == 0) co_return 1;
    const int below = co_await depth_of(m, left - 1);
    co_return below + 1;
}

}  // namespace

TEST_CASE("a task locks an ipc recursive mutex that it holds") {
    both_ways([]() -> task<> {
        const ipc::recursive_mutex m;
        const int depth = co_await depth_of(m, 10);
        CHECK(depth == 11);
        auto outer = co_await m.lock();
        auto inner = co_await m.share().lock();
        auto third = co_await with_timeout(m.lock(), 1s);
        CHECK(third.has_value());
        outer.unlock();  // in any order
        third.reset();
        bool other_has_tried = false;
        bool other_has_it = false;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                auto got = co_await with_timeout(m.lock(), 1ms);
                CHECK(!got);
                other_has_tried = true;
                auto mine = co_await m.lock();
                other_has_it = bool(mine);
            });
            while (!other_has_tried) co_await yield();
            co_await turns();
            CHECK(!other_has_it);
            inner.unlock();
        });
        CHECK(other_has_it);
    });
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::recursive_mutex&>().lock())>);
}

TEST_CASE("processes exclude each other by an ipc recursive mutex, and a death is told") {
    both_ways([]() -> task<> {
        const ipc::recursive_mutex m;
        signal_pipe up;
        auto holder = ipc::spawn(
            [](ipc::recursive_mutex its, unique_fd say) -> task<> {
                auto one = co_await its.lock();
                auto two = co_await its.lock();
                one.unlock();
                tell(say);
                co_await sleep_for(1h);
            },
            m.share(), std::move(up.say));
        bool held = co_await told(up.hear);
        CHECK(held);
        auto got = co_await with_timeout(m.lock(), 2ms);
        CHECK(!got);
        holder.kill();
        auto mine = co_await m.lock();
        CHECK(mine.owner_died());
        auto again = co_await m.lock();
        CHECK(again.owner_died());
        mine.unlock();
        again.unlock();
        auto next = co_await m.lock();
        CHECK(!next.owner_died());
        co_await holder.wait();
    });
}

TEST_CASE("an ipc recursive mutex is tried without waiting, by no task") {
    both_ways([]() -> task<> {
        const ipc::recursive_mutex m;
        auto tried = m.try_lock();
        REQUIRE(tried);
        CHECK(*tried);
        CHECK(!tried->owner_died());
        CHECK(!m.try_lock());
        auto itself = co_await with_timeout(m.lock(), 1ms);
        CHECK(!itself);
        tried.reset();
        auto outer = co_await m.lock();
        auto inner = co_await m.lock();
        CHECK(!m.try_lock());  // not even for the task that has it
        outer.unlock();
        CHECK(!m.share().try_lock());
        inner.unlock();
        tried = m.try_lock();
        CHECK(tried);
        tried->unlock();
        auto child = ipc::spawn(
            [](ipc::recursive_mutex its) {
                auto held = its.try_lock();
                if (!held || its.try_lock()) ::_exit(2);
                ::raise(SIGKILL);
            },
            m.share());
        const auto status = co_await child.wait();
        CHECK(status == ipc::exit_status::signalled(SIGKILL));
        tried = m.try_lock();
        CHECK((tried && tried->owner_died()));
    });
}

TEST_CASE("an ipc recursive mutex that was moved from") {
    ipc::recursive_mutex m;
    const ipc::recursive_mutex other = std::move(m);
    CHECK_THROWS_AS(m.lock(), std::invalid_argument);      // NOLINT: what is tested
    CHECK_THROWS_AS(m.share(), std::invalid_argument);     // NOLINT
    CHECK_THROWS_AS(m.try_lock(), std::invalid_argument);  // NOLINT
}

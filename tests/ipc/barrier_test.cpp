// SPDX-License-Identifier: MIT
#include <runnel/ipc/barrier.hpp>

#include <algorithm>
#include <set>
#include <stdexcept>

#include <runnel/ipc/pipe.hpp>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

/// Arrives `times` times; each number goes to `out`.
task<> pass(ipc::barrier b, ipc::sender<std::uint32_t> out, int times) {
    for (int i = 0; i < times; ++i) {
        const auto number = co_await b.arrive_and_wait();
        co_await out.send(number);
    }
}
/// Arrives once, says so, and is never there again.
task<> pass_once(ipc::barrier b, unique_fd say) {
    co_await b.arrive_and_wait();
    tell(say);
    co_await sleep_for(1h);
}
task<> wait_in(ipc::barrier b, unique_fd say) {
    b.enlist();
    tell(say);
    co_await b.arrive_and_wait();
}

}  // namespace

TEST_CASE("an ipc barrier lets all go when the last has arrived, and numbers them") {
    both_ways([]() -> task<> {
        const ipc::barrier b(3);
        CHECK(b.parties() == 3);
        std::multiset<std::uint32_t> numbers;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 3; ++i)
                n.start([&]() -> task<> {
                    for (int round = 0; round < 10; ++round) {
                        const auto number = co_await b.arrive_and_wait();
                        numbers.insert(number);
                    }
                });
            co_return;
        });
        for (std::uint32_t i = 0; i < 3; ++i) CHECK(numbers.count(i) == 10);
        CHECK(numbers.size() == 30);
        CHECK(b.waiting() == 0);
        const ipc::barrier alone(1);
        for (int i = 0; i < 3; ++i) {
            const auto number = co_await alone.arrive_and_wait();
            CHECK(number == 0);
        }
    });
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::barrier&>().arrive_and_wait())>);
    CHECK_THROWS_AS(ipc::barrier(0), std::invalid_argument);
}

TEST_CASE("processes pass an ipc barrier a thousand times, in step") {
    both_ways([]() -> task<> {
        constexpr int times = 1000;
        const ipc::barrier b(4);
        auto numbers = ipc::pipe<std::uint32_t>(ipc::simplex);
        std::vector<ipc::process<>> all;
        for (int i = 0; i < 3; ++i)
            all.push_back(ipc::spawn(pass, b.share(), numbers.sender.share(), times));
        std::vector<int> seen(4);
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                for (int i = 0; i < 3 * times; ++i) {
                    auto one = co_await numbers.receiver.recv();
                    ++seen.at(*one);
                }
            });
            for (int i = 0; i < times; ++i) {
                const auto mine = co_await b.arrive_and_wait();
                ++seen.at(mine);
            }
        });
        CHECK(std::all_of(seen.begin(), seen.end(), [](int n) { return n == times; }));
        for (auto& one : all) co_await one.join();
        CHECK(!b.broken());
    });
}

TEST_CASE("who is cancelled in an ipc barrier has not arrived") {
    both_ways([]() -> task<> {
        const ipc::barrier b(2);
        auto got = co_await with_timeout(b.arrive_and_wait(), 1ms);
        CHECK(!got);
        CHECK(b.waiting() == 0);
        auto ends = co_await race(b.arrive_and_wait(), sleep_for(1ms));
        CHECK(!std::get<0>(ends));
        got = co_await with_timeout(b.arrive_and_wait(), 1ms);
        CHECK(!got);
        CHECK(!b.broken());
        auto both = co_await when_all(b.arrive_and_wait(), b.arrive_and_wait());
        CHECK(std::get<0>(both) + std::get<1>(both) == 1);
    });
}

TEST_CASE("a broken ipc barrier tells who waits and who comes, until it is reset") {
    both_ways([]() -> task<> {
        const ipc::barrier b(3);
        std::vector<std::error_code> codes;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 2; ++i)
                n.start([&]() -> task<> {
                    const auto code = co_await error_of(b.arrive_and_wait());
                    codes.push_back(code);
                });
            co_await turns();
            CHECK(b.waiting() == 2);
            b.abort();
        });
        auto code = co_await error_of(b.arrive_and_wait());
        codes.push_back(code);
        CHECK(codes == std::vector(3, std::make_error_code(std::errc::operation_canceled)));
        CHECK(b.broken());
        b.reset();
        CHECK(!b.broken());
        CHECK(b.waiting() == 0);
        co_await when_all(b.arrive_and_wait(), b.arrive_and_wait(), b.arrive_and_wait());
    });
}

TEST_CASE("reset of an ipc barrier tells those who wait") {
    both_ways([]() -> task<> {
        const ipc::barrier b(2);
        signal_pipe up;
        auto child = ipc::spawn(
            [](ipc::barrier its, unique_fd say) -> task<bool> {
                its.enlist();
                tell(say);
                const auto code = co_await error_of(its.arrive_and_wait());
                co_return code == std::errc::operation_canceled;
            },
            b.share(), std::move(up.say));
        bool is_up = co_await told(up.hear);
        CHECK(is_up);
        while (b.waiting() == 0) co_await yield();
        co_await sleep_for(2ms);
        b.reset();
        bool was_told = co_await child.join();
        CHECK(was_told);
        co_await when_all(b.arrive_and_wait(), b.arrive_and_wait());
    });
}

TEST_CASE("the death of a process that waits breaks an ipc barrier at once") {
    both_ways([]() -> task<> {
        const ipc::barrier b(3);
        signal_pipe up;
        auto victim = ipc::spawn(wait_in, b.share(), up.say.duplicate());
        bool is_up = co_await told(up.hear);
        CHECK(is_up);
        std::error_code code;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                const auto told_of = co_await error_of(b.arrive_and_wait());
                code = told_of;
            });
            while (b.waiting() != 2) co_await yield();
            co_await sleep_for(2ms);
            victim.kill();
        });
        CHECK(code == std::errc::owner_dead);
        CHECK(b.broken());
        code = co_await error_of(b.arrive_and_wait());
        CHECK(code == std::errc::owner_dead);
        b.reset();
        CHECK(!b.broken());
        co_await when_all(b.arrive_and_wait(), b.arrive_and_wait(), b.arrive_and_wait());
        co_await victim.wait();
    });
}

TEST_CASE("the death of a process that took part, and is elsewhere, breaks an ipc barrier") {
    both_ways([]() -> task<> {
        const ipc::barrier b(2);
        signal_pipe up;
        auto victim = ipc::spawn(pass_once, b.share(), up.say.duplicate());
        co_await b.arrive_and_wait();
        bool passed = co_await told(up.hear);
        CHECK(passed);
        std::error_code code;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                const auto told_of = co_await error_of(b.arrive_and_wait());
                code = told_of;
            });
            co_await sleep_for(3ms);
            victim.kill();
        });
        CHECK(code == std::errc::owner_dead);
        co_await victim.wait();
    });
}

TEST_CASE("a process that ends after its last round breaks no ipc barrier") {
    both_ways([]() -> task<> {
        const ipc::barrier b(2);
        for (int i = 0; i < 2; ++i) {
            auto child = ipc::spawn(
                [](ipc::barrier its) -> task<> { co_await its.arrive_and_wait(); }, b.share());
            co_await b.arrive_and_wait();
            co_await child.join();
            CHECK(!b.broken());
        }
    });
}

TEST_CASE("processes in an ipc barrier are killed at random: all are told, and it can be reset") {
    const std::uint64_t start = announced_seed("barrier_test");
    both_ways([start]() -> task<> {
        std::mt19937_64 random(start);
        const ipc::barrier b(3);
        constexpr auto work = [](ipc::barrier its) -> task<> {
            its.enlist();
            for (;;) co_await its.arrive_and_wait();
        };
        int rounds = 0;
        for (int i = 0; i < 40; ++i) {
            auto one = ipc::spawn(work, b.share());
            auto two = ipc::spawn(work, b.share());
            bool over = false;
            co_await open_nursery([&](nursery& n) -> task<> {
                const int before = rounds;
                n.start([&]() -> task<> {
                    try {
                        for (;; ++rounds) co_await b.arrive_and_wait();
                    } catch (const std::system_error& error) {
                        over = error.code() == std::errc::owner_dead;
                    }
                });
                while (rounds == before) co_await sleep_for(50us);
                co_await sleep_for(std::chrono::microseconds(random() % 2000));
                (random() % 2 == 0 ? one : two).kill();
            });
            CHECK(over);
            one.kill();
            two.kill();
            co_await one.wait();
            co_await two.wait();
            b.reset();
        }
        CHECK(rounds >= 40);
    });
}

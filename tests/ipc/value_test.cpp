// SPDX-License-Identifier: MIT
#include <runnel/ipc/value.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <thread>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

struct sample {
    std::array<std::int64_t, 100> all{};
    std::int64_t number = 0;
};
sample of(std::int64_t n) {
    sample s;
    s.all.fill(n);
    s.number = n;
    return s;
}
bool whole(const sample& s) {
    return std::all_of(s.all.begin(), s.all.end(), [&](auto n) { return n == s.number; });
}
struct pair {
    char first = 'a';
    float second = 0;
};

}  // namespace

TEST_CASE("a shared value of one word is loaded and changed") {
    const ipc::value<int> v(7);
    CHECK(v.load() == 7);
    v.store(8);
    const ipc::value<int> same = v.share();
    CHECK(same.exchange(9) == 8);
    CHECK(v.fetch_add(2) == 9);
    CHECK(v.fetch_add(-12) == 11);
    int expected = 5;
    CHECK(!v.compare_exchange(expected, 1));
    CHECK(expected == -1);
    CHECK(v.compare_exchange(expected, std::numeric_limits<int>::max()));
    CHECK(v.fetch_add(1) == std::numeric_limits<int>::max());
    CHECK(v.load() == std::numeric_limits<int>::min());
    CHECK(v.update([](int n) { return n / 2; }) == std::numeric_limits<int>::min() / 2);
    const ipc::value<double> d(0.5);
    CHECK(d.fetch_add(0.25) == 0.5);
    CHECK(d.load() == 0.75);
    const ipc::value<pair> p;
    p.store({'b', 1.5F});
    CHECK(p.load().first == 'b');
    CHECK(p.load().second == 1.5F);
    CHECK(!ipc::value<bool>().load());
}

TEST_CASE("a large shared value is whole, and its change is one step") {
    const ipc::value<sample> v;
    CHECK(whole(v.load()));
    v.store(of(3));
    CHECK(v.load().number == 3);
    CHECK(v.exchange(of(4)).number == 3);
    auto expected = of(1);
    CHECK(!v.compare_exchange(expected, of(2)));
    CHECK(expected.number == 4);
    CHECK(v.compare_exchange(expected, of(5)));
    const auto next = v.update([](const sample& s) { return of(s.number + 1); });
    CHECK(next.number == 6);
    CHECK(whole(v.load()));
    CHECK_THROWS_AS(v.update([](const sample&) -> sample { throw std::runtime_error("no"); }),
                    std::runtime_error);
    CHECK(v.load().number == 6);
}

TEST_CASE("processes count in a shared value") {
    both_ways([]() -> task<> {
        const ipc::value<std::int64_t> small(0);
        const ipc::value<sample> large;
        constexpr auto count = [](ipc::value<std::int64_t> a, ipc::value<sample> b) -> task<> {
            for (int i = 0; i < 500; ++i) {
                a.fetch_add(1);
                b.update([](const sample& s) { return of(s.number + 1); });
            }
            co_return;
        };
        std::vector<ipc::process<>> all;
        for (int i = 0; i < 4; ++i) all.push_back(ipc::spawn(count, small.share(), large.share()));
        bool torn = false;
        while (small.load() < 2000) {
            torn = torn || !whole(large.load());
            co_await yield();
        }
        for (auto& one : all) co_await one.join();
        CHECK(!torn);
        CHECK(large.load().number == 2000);
    });
}

TEST_CASE("a task waits until a shared value is what it wants, others wait for other values") {
    both_ways([]() -> task<> {
        const ipc::value<int> v(0);
        int now = co_await v.until([](int n) { return n == 0; });
        CHECK(now == 0);
        auto child = ipc::spawn(
            [](ipc::value<int> its) -> task<> {
                for (int i = 1; i <= 10; ++i) {
                    co_await sleep_for(200us);
                    its.store(i);
                }
            },
            v.share());
        int passed = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int limit : {10, 3, 7})
                n.start(
                    [&](int least) -> task<> {
                        const int got =
                            co_await v.until([least](int found) { return found >= least; });
                        CHECK(got >= least);
                        ++passed;
                    },
                    limit);
            co_return;
        });
        CHECK(passed == 3);
        co_await child.join();
        auto none = co_await with_timeout(v.until([](int n) { return n > 10; }), 1ms);
        CHECK(!none);
        bool thrown = false;
        try {
            co_await v.until([](int) -> bool { throw std::runtime_error("no"); });
        } catch (const std::runtime_error&) {
            thrown = true;
        }
        CHECK(thrown);
    });
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::value<int>&>().until(
                       [](int) { return true; }))>);
}

TEST_CASE("a large shared value is waited for, from two loops of a process as well") {
    both_ways([]() -> task<> {
        const ipc::value<sample> v;
        std::thread other([&] {
            run([&]() -> task<> {
                for (std::int64_t i = 1; i < 100; i += 2) {
                    co_await v.until([&](const sample& s) { return s.number == i; });
                    v.store(of(i + 1));
                }
            });
        });
        for (std::int64_t i = 1; i < 100; i += 2) {
            v.store(of(i));
            const auto got = co_await v.until([&](const sample& s) { return s.number == i + 1; });
            CHECK(whole(got));
        }
        other.join();
    });
}

TEST_CASE("a writer that is killed leaves a shared value whole, and readers wait for nobody") {
    const std::uint64_t start = announced_seed("value_test");
    both_ways([start]() -> task<> {
        std::mt19937_64 random(start);
        const ipc::value<sample> large;
        const ipc::value<std::uint64_t> small(0);
        constexpr auto write = [](ipc::value<sample> a, ipc::value<std::uint64_t> b) -> task<> {
            for (std::int64_t i = 1;; ++i) {
                a.store(of(i));
                b.fetch_add(1);
            }
            co_return;
        };
        int torn = 0;
        int stalled = 0;
        for (int i = 0; i < 30; ++i) {
            auto one = ipc::spawn(write, large.share(), small.share());
            auto two = ipc::spawn(write, large.share(), small.share());
            const std::uint64_t before = small.load();
            auto moved = co_await with_timeout(
                small.until([before](std::uint64_t n) { return n > before + 20; }), 10s);
            if (!moved) ++stalled;
            co_await sleep_for(std::chrono::microseconds(random() % 1000));
            one.kill();
            two.kill();
            co_await one.wait();
            co_await two.wait();
            if (!whole(large.load())) ++torn;
            large.store(of(0));
            if (large.load().number != 0) ++torn;
        }
        CHECK(torn == 0);
        CHECK(stalled == 0);
    });
}

TEST_CASE("a shared value of another type is refused, and one that was moved from") {
    ipc::value<std::int32_t> v(1);
    ipc::encoder out;
    ipc::encode(out, v);
    std::vector<unique_fd> handles;
    for (const int number : out.handles())
        handles.emplace_back(::fcntl(number, F_DUPFD_CLOEXEC, 3));
    std::string why;
    try {
        auto wrong = ipc::decode<ipc::value<float>>(out.bytes(), handles);
    } catch (const std::system_error& error) {
        CHECK(error.code() == errc::protocol);
        why = error.what();
    }
    CHECK(why.find("attach on ipc value: it was made for another type") == 0);
    const auto other = std::move(v);
    CHECK_THROWS_AS(v.load(), std::invalid_argument);  // NOLINT: what is tested
    CHECK(other.load() == 1);
    STATIC_REQUIRE(!ipc::shareable<int*>);
    STATIC_REQUIRE(!ipc::shareable<std::string>);
    STATIC_REQUIRE(!ipc::shareable<unique_fd>);
}

// SPDX-License-Identifier: MIT
#include <runnel/ipc/array.hpp>

#include <algorithm>
#include <array>
#include <numeric>
#include <stdexcept>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

struct record {
    std::int64_t id = 0;
    std::array<char, 24> text{};
};

}  // namespace

TEST_CASE("a shared array is zeroed, and its elements are atomic") {
    const ipc::array<int> a(1000);
    CHECK(a.size() == 1000);
    for (std::size_t i = 0; i < a.size(); ++i) REQUIRE(a.load(i) == 0);
    a.store(999, 5);
    const ipc::array<int> same = a.share();
    CHECK(same.exchange(999, 6) == 5);
    CHECK(a.fetch_add(999, 1) == 6);
    int expected = 1;
    CHECK(!a.compare_exchange(999, expected, 2));
    CHECK(expected == 7);
    CHECK(a.compare_exchange(999, expected, 2));
    CHECK_THROWS_AS(a.load(1000), std::out_of_range);
    CHECK_THROWS_AS(a.store(1000, 1), std::out_of_range);
    CHECK_THROWS_AS(ipc::array<int>(static_cast<std::size_t>(-1) / 2), std::invalid_argument);
    CHECK(ipc::array<int>(std::size_t{0}).size() == 0);
    const std::vector<double> initial{1.5, 2.5};
    CHECK(ipc::array<double>(std::span<const double>(initial)).load(1) == 2.5);
}

TEST_CASE("all of a shared array is used under its guard") {
    both_ways([]() -> task<> {
        const ipc::array<record> a(10);
        auto all = co_await a.lock();
        CHECK(all);
        CHECK(!all.owner_died());
        CHECK(all.size() == 10);
        for (record& one : all) one.id = 1;
        all[9].id = 5;
        CHECK(std::accumulate(all.begin(), all.end(), std::int64_t{0},
                              [](std::int64_t n, const record& r) { return n + r.id; }) == 14);
        CHECK_THROWS_AS(all[10], std::out_of_range);
        CHECK(!a.try_lock());
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                auto late = co_await with_timeout(a.share().lock(), 1ms);
                CHECK(!late);
            });
            co_return;
        });
        all.unlock();
        CHECK(all.size() == 0);
        auto again = a.try_lock();
        CHECK(again.has_value());
        CHECK((*again)[9].id == 5);
    });
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::array<int>&>().lock())>);
}

TEST_CASE("processes count in a shared array") {
    both_ways([]() -> task<> {
        const ipc::array<std::uint64_t> bins(16);
        std::vector<ipc::process<>> all;
        for (int i = 0; i < 4; ++i)
            all.push_back(ipc::spawn(
                [](ipc::array<std::uint64_t> its) -> task<> {
                    for (std::size_t n = 0; n < 16000; ++n) its.fetch_add(n % 16, 1);
                    co_return;
                },
                bins.share()));
        for (auto& one : all) co_await one.join();
        auto seen = co_await bins.lock();
        CHECK(std::all_of(seen.begin(), seen.end(), [](auto n) { return n == 4000; }));
    });
}

TEST_CASE("the next guard of a shared array is told that one died") {
    both_ways([]() -> task<> {
        const ipc::array<int> a(3);
        signal_pipe up;
        auto child = ipc::spawn(
            [](ipc::array<int> its, unique_fd say) -> task<> {
                auto all = co_await its.lock();
                all[0] = 1;
                tell(say);
                co_await sleep_for(1h);
            },
            a.share(), std::move(up.say));
        bool held = co_await told(up.hear);
        CHECK(held);
        child.kill();
        auto all = co_await a.lock();
        CHECK(all.owner_died());
        CHECK(all[0] == 1);
        co_await child.wait();
    });
}

TEST_CASE("a shared array of another type is refused") {
    const ipc::array<std::int32_t> a(4);
    ipc::encoder out;
    ipc::encode(out, a);
    const auto handles = [&] {
        std::vector<unique_fd> all;
        for (const int number : out.handles())
            all.emplace_back(::fcntl(number, F_DUPFD_CLOEXEC, 3));
        return all;
    };
    auto one = handles();
    std::string why;
    try {
        auto wrong = ipc::decode<ipc::array<std::uint32_t>>(out.bytes(), one);
    } catch (const std::system_error& error) {
        CHECK(error.code() == errc::protocol);
        why = error.what();
    }
    CHECK(why.find("attach on ipc array: it was made for another type") == 0);
    auto two = handles();
    CHECK(ipc::decode<ipc::array<std::int32_t>>(out.bytes(), two).size() == 4);
}

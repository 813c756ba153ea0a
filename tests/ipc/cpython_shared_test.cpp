// SPDX-License-Identifier: MIT
// What CPython's own tests (Lib/test/_test_multiprocessing.py) demand of shared state. Each test is
// named after the one there.
#include <array>
#include <cerrno>
#include <stdexcept>

#include <runnel/ipc/array.hpp>
#include <runnel/ipc/list.hpp>
#include <runnel/ipc/shared_memory.hpp>
#include <runnel/ipc/value.hpp>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

std::error_code error(int number) { return {number, std::system_category()}; }

}  // namespace

TEST_CASE("_TestValue.test_value: types i, d, h, q, c, changed by a child", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::value<int> i(4343);
        const ipc::value<double> d(3.625);
        const ipc::value<short> h(-232);
        const ipc::value<long long> q(1LL << 33);
        const ipc::value<char> c('x');
        auto child = ipc::spawn(
            [](ipc::value<int> a, ipc::value<double> b, ipc::value<short> s,
               ipc::value<long long> l, ipc::value<char> t) {
                a.store(24234);
                b.store(-4.25);
                s.store(4232);
                l.store(2LL << 33);
                t.store('y');
            },
            i.share(), d.share(), h.share(), q.share(), c.share());
        co_await child.join();
        CHECK(i.load() == 24234);
        CHECK(d.load() == -4.25);
        CHECK(h.load() == 4232);
        CHECK(q.load() == 2LL << 33);
        CHECK(c.load() == 'y');
    });
}

TEST_CASE("_TestArray.test_array: elements, a change of all by a child, no element beyond",
          "[cpython]") {
    both_ways([]() -> task<> {
        const std::vector<int> initial{680, 626, 934, 821, 150, 233, 548, 982, 714, 831};
        const ipc::array<int> a{std::span<const int>(initial)};
        CHECK(a.size() == 10);
        CHECK(a.load(4) == 150);
        auto child = ipc::spawn(
            [](ipc::array<int> its) -> task<> {
                auto all = co_await its.lock();
                for (std::size_t i = 1; i < all.size(); ++i) all[i] += all[i - 1];
            },
            a.share());
        co_await child.join();
        CHECK(a.load(9) == 6519);
        CHECK_THROWS_AS(a.load(10), std::out_of_range);
        CHECK_THROWS_AS(a.store(10, 0), std::out_of_range);
    });
}

TEST_CASE("_TestArray.test_array_from_size: zero, each time", "[cpython]") {
    for (int round = 0; round < 3; ++round) {
        const ipc::array<int> a(10);
        for (std::size_t i = 0; i < 10; ++i) {
            CHECK(a.load(i) == 0);
            a.store(i, static_cast<int>(i));
        }
    }
}

TEST_CASE("_TestSharedMemory.test_invalid_shared_memory_creation", "[cpython]") {
    CHECK_THROWS_AS(ipc::shared_memory(0), std::invalid_argument);
    CHECK_THROWS_AS(ipc::shared_memory::create_named("runnel-c", 0), std::invalid_argument);
    CHECK_THROWS_AS(ipc::shared_memory(static_cast<std::size_t>(-1)), std::invalid_argument);
}

TEST_CASE("_TestSharedMemory.test_shared_memory_basics", "[cpython]") {
    const support::no_leaks leaks;
    const std::string name = "runnel-basics-" + std::to_string(::getpid());
    {
        const auto made = ipc::shared_memory::create_named(name, 512, ipc::shared_name::keep);
        CHECK(made.name() == name);
        CHECK(made.size() == 512);
        made.bytes()[0] = std::byte{42};
        auto also = ipc::shared_memory::open_named(name);
        CHECK(also.size() == 512);
        CHECK(also.view()[0] == std::byte{42});
        CHECK(code_of([&] { (void)ipc::shared_memory::create_named(name, 512); }) == error(EEXIST));
        ipc::shared_memory::unlink(name);
        CHECK(also.view()[0] == std::byte{42});
        CHECK(code_of([&] { ipc::shared_memory::unlink(name); }) == error(ENOENT));
        CHECK(code_of([&] { (void)ipc::shared_memory::open_named(name); }) == error(ENOENT));
        also = ipc::shared_memory(1);
        CHECK(made.view()[0] == std::byte{42});
    }
}

TEST_CASE("_TestSharedMemory: a name with an embedded null, names that collide", "[cpython]") {
    const support::no_leaks leaks;
    CHECK_THROWS_AS(ipc::shared_memory::create_named(std::string_view("\0abc", 4), 1),
                    std::invalid_argument);
    CHECK_THROWS_AS(ipc::shared_memory::open_named(std::string_view("\0abc", 4)),
                    std::invalid_argument);
    const auto one = ipc::shared_memory::create_named("", 1);
    const auto two = ipc::shared_memory::create_named("", 1);
    CHECK(one.name() != two.name());
}

TEST_CASE(
    "_TestSharedMemory.test_shared_memory_across_processes, and untracking: who attaches and "
    "ends takes nothing with it",
    "[cpython]") {
    both_ways([]() -> task<> {
        const auto m = ipc::shared_memory::create_named("", 512);
        auto child = ipc::spawn(
            [](std::string name) {
                const auto opened = ipc::shared_memory::open_named(name);
                opened.bytes()[1] = std::byte{7};
            },
            m.name());
        co_await child.join();
        CHECK(m.view()[1] == std::byte{7});
        auto killed = ipc::spawn(
            [](std::string name) {
                const auto opened = ipc::shared_memory::open_named(name);
                opened.bytes()[2] = std::byte{8};
                ::raise(SIGKILL);
            },
            m.name());
        co_await killed.wait();
        CHECK(m.view()[2] == std::byte{8});
        CHECK(ipc::shared_memory::open_named(m.name()).size() == 512);
    });
}

TEST_CASE("_TestSharedMemory.test_shared_memory_cleaned_after_process_termination", "[cpython]") {
    both_ways([]() -> task<> {  // which counts the names in /dev/shm
        signal_pipe up;
        auto child = ipc::spawn(
            [](unique_fd say) -> task<> {
                const ipc::shared_memory m(10);
                tell(say);
                co_await sleep_for(1h);
            },
            std::move(up.say));
        bool is_up = co_await told(up.hear);
        CHECK(is_up);
        child.kill();
        co_await child.wait();
    });
}

TEST_CASE("_TestSharedMemory.test_shared_memory_ShareableList_basics", "[cpython]") {
    using item = ipc::list::item;
    const ipc::list::bytes howdy{std::byte{'H'}, std::byte{'o'}, std::byte{'W'}, std::byte{'d'},
                                 std::byte{'Y'}};
    const ipc::list l({"howdy", howdy, -273.154, 100, std::monostate(), true, 42});
    CHECK(l.size() == 7);
    CHECK(l.get(1) == item(howdy));
    CHECK_THROWS_AS(l.get(7), std::out_of_range);
    CHECK_THROWS_AS(l.set(7, 1), std::out_of_range);
    CHECK(l.count(42) == 1);
    CHECK(l.index("howdy") == 0);
    CHECK(!l.index("nothing"));
    l.set(6, "short");  // another kind
    CHECK(l.get(6) == item("short"));
    CHECK_THROWS_AS(l.set(4, "longer than there is room"), std::length_error);
    CHECK(l.get(4) == item(std::monostate()));
    l.set(3, 42);
    const ipc::list same = l.share();
    CHECK(same.get(3) == item(42));
}

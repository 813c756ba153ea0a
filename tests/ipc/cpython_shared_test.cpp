// SPDX-License-Identifier: MIT
// What CPython's own tests (Lib/test/_test_multiprocessing.py) demand of shared state. Each test is
// named after the one there.
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <runnel/ipc/array.hpp>
#include <runnel/ipc/list.hpp>
#include <runnel/ipc/mutex.hpp>
#include <runnel/ipc/pipe.hpp>
#include <runnel/ipc/shared_memory.hpp>
#include <runnel/ipc/value.hpp>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

std::error_code error(int number) { return {number, std::system_category()}; }

/// How many of the next random numbers are the same one, and how many have been asked for.
int same_numbers = 0;
int numbers = 0;

}  // namespace

// The C library's, for the whole program: but for the names of shared memory nobody asks for it.
extern "C" ::ssize_t getrandom(void* into, std::size_t size, unsigned flags) {
    ++numbers;
    if (same_numbers == 0) return ::syscall(SYS_getrandom, into, size, flags);
    --same_numbers;
    std::memset(into, 0xab, size);
    return static_cast<::ssize_t>(size);
}

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

TEST_CASE("_TestValue.test_getobj_getlock: a value has no lock, and one beside it serves",
          "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::value<int> v(0);
        const ipc::mutex lock;
        std::vector<ipc::process<>> all;
        for (int i = 0; i < 2; ++i)
            all.push_back(ipc::spawn(
                [](ipc::value<int> its, ipc::mutex one) -> task<> {
                    for (int k = 0; k < 100; ++k) {
                        const auto held = co_await one.lock();
                        its.store(its.load() + 1);
                    }
                },
                v.share(), lock.share()));
        for (auto& one : all) co_await one.join();
        CHECK(v.load() == 200);
    });
}

TEST_CASE("_TestArray.test_getobj_getlock_obj: an array's lock is for all of it", "[cpython]") {
    both_ways([]() -> task<> {
        const ipc::array<int> a(10);
        signal_pipe tried;
        auto held = co_await a.lock();
        auto child = ipc::spawn(
            [](ipc::array<int> its, unique_fd say) -> task<int> {
                if (its.try_lock()) co_return 1;
                tell(say);
                auto all = co_await its.lock();
                co_return all[0] == 7 && all[9] == 7 ? 0 : 2;
            },
            a.share(), std::move(tried.say));
        co_await told(tried.hear);
        held[0] = 7;
        held[9] = 7;
        held.unlock();
        const int wrong = co_await child.join();
        CHECK(wrong == 0);
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

TEST_CASE("_TestSharedMemory: a name with an embedded null", "[cpython]") {
    CHECK_THROWS_AS(ipc::shared_memory::create_named(std::string_view("\0abc", 4), 1),
                    std::invalid_argument);
    CHECK_THROWS_AS(ipc::shared_memory::open_named(std::string_view("\0abc", 4)),
                    std::invalid_argument);
}

TEST_CASE("_TestSharedMemory.test_shared_memory_basics: a random name that is taken is replaced",
          "[cpython]") {
    const support::no_leaks leaks;
    same_numbers = 3;
    numbers = 0;
    const auto one = ipc::shared_memory::create_named("", 1);
    CHECK(one.name() == "psm_abababab");
    CHECK(numbers == 1);
    const auto two = ipc::shared_memory::create_named("", 1);
    CHECK(numbers == 4);
    CHECK(same_numbers == 0);
    CHECK(two.name() != one.name());
    CHECK(ipc::shared_memory::open_named(two.name()).size() == 1);
    // A name that was asked for is not exchanged for another.
    CHECK(code_of([&] { (void)ipc::shared_memory::create_named(one.name(), 1); }) == error(EEXIST));
    CHECK(numbers == 4);
}

TEST_CASE("_TestSharedMemory.test_shared_memory_pickle_unpickle: a handle travels", "[cpython]") {
    both_ways([]() -> task<> {
        const auto m = ipc::shared_memory::create_named("", 64);
        m.bytes()[3] = std::byte{5};
        auto child =
            ipc::spawn([](ipc::shared_memory its) { its.bytes()[4] = its.view()[3]; }, m.share());
        co_await child.join();
        CHECK(m.view()[4] == std::byte{5});
    });
}

TEST_CASE(
    "_TestSharedMemory.test_shared_memory_pickle_unpickle_dead_object: it lives without its name",
    "[cpython]") {
    both_ways([]() -> task<> {
        const auto m = ipc::shared_memory::create_named("", 64);
        ipc::shared_memory::unlink(m.name());
        auto child =
            ipc::spawn([](ipc::shared_memory its) { its.bytes()[4] = std::byte{6}; }, m.share());
        co_await child.join();
        CHECK(m.view()[4] == std::byte{6});
        CHECK(code_of([&] { (void)ipc::shared_memory::open_named(m.name()); }) == error(ENOENT));
    });
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
                // There a tracker unlinks the name of memory whose process was killed. Here that is
                // what memory without a name is for, of which nothing can stay; a name that its
                // maker, killed, could not unlink stays until somebody else does.
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

TEST_CASE("_TestSharedMemory.test_shared_memory_ShareableList_basics: a negative index is none",
          "[cpython]") {
    const ipc::list l({1, 2, 3});
    const auto last = static_cast<std::size_t>(-1);  // the last one there
    CHECK_THROWS_AS(l.get(last), std::out_of_range);
    CHECK_THROWS_AS(l.set(last, 4), std::out_of_range);
    CHECK_THROWS_AS(l.capacity(last), std::out_of_range);
    CHECK(l.get(2) == ipc::list::item(3));
}

TEST_CASE(
    "_TestSharedMemory.test_shared_memory_ShareableList_pickling: both see each other's items",
    "[cpython]") {
    both_ways([]() -> task<> {
        using item = ipc::list::item;
        const ipc::list l({0, "text", 1.5});
        auto child = ipc::spawn(
            [](ipc::list its) -> ipc::list {
                if (its.size() != 3 || its.get(1) != item("text")) ::_exit(2);
                its.set(0, 10);
                return its;
            },
            l.share());
        const ipc::list back = co_await child.join();
        CHECK(l.get(0) == item(10));
        CHECK(back.get(0) == item(10));
        back.set(2, -2.5);
        CHECK(l.get(2) == item(-2.5));
        auto ends = ipc::pipe<ipc::list>(ipc::simplex);
        co_await ends.sender.send(l);
        auto third = co_await ends.receiver.recv();
        REQUIRE(third);
        third->set(1, "tree");
        CHECK(l.get(1) == item("tree"));
        CHECK(third->size() == l.size());
    });
}

TEST_CASE(
    "_TestSharedMemory.test_shared_memory_ShareableList_pickling_dead_object: it lives on in what "
    "was sent",
    "[cpython]") {
    both_ways([]() -> task<> {
        using item = ipc::list::item;
        auto ends = ipc::pipe<ipc::list>(ipc::simplex);
        {
            const ipc::list gone({7, true});
            co_await ends.sender.send(gone);
        }
        auto got = co_await ends.receiver.recv();
        REQUIRE(got);
        CHECK(got->get(0) == item(7));
        auto child = ipc::spawn([](ipc::list its) { its.set(1, false); }, std::move(*got));
        co_await child.join();
        auto made = ipc::spawn([] { return ipc::list({"from a child"}); });
        const ipc::list its = co_await made.join();
        CHECK(its.get(0) == item("from a child"));
    });
}

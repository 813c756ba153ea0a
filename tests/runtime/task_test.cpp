// SPDX-License-Identifier: MIT
#include <csignal>
#include <memory>
#include <stdexcept>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/witness.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

task<int> twice(int n) { co_return 2 * n; }
task<int> fails(const char* text) {
    throw std::runtime_error(text);
    co_return 0;
}
task<> waits(event& e, std::string& log, char name) {
    const witness w(log, name);
    co_await e.wait();
    log += '!';
}
task<> nested(event& e, std::string& log) {
    const witness w(log, 'o');
    co_await waits(e, log, 'i');
    log += '!';
}
task<long> chain(long depth) {
    long below = 0;
    if (depth > 0) below = co_await chain(depth - 1);
    co_return below + 1;
}
task<> chain_to(event& e, int depth, int& destroyed, bool& deep) {
    struct count {
        int& n;
        ~count() { ++n; }
    } const counted{destroyed};
    if (depth > 0) co_await chain_to(e, depth - 1, destroyed, deep);
    deep = true;
    co_await e.wait();
}

}  // namespace

TEST_CASE("a task gives its value to who awaits it") {
    const int value = run([]() -> task<int> {
        const int four = co_await twice(2);
        co_return four + co_await twice(3);
    });
    CHECK(value == 10);
}

TEST_CASE("a task gives a reference, and what can only be moved") {
    int object = 1;
    run([&]() -> task<> {
        int& same = co_await [](int& n) -> task<int&> { co_return n; }(object);
        CHECK(&same == &object);
        auto owned =
            co_await []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); }();
        CHECK(*owned == 7);
    });
}

TEST_CASE("what a task throws comes out of its await") {
    run([]() -> task<> {
        std::string text;
        try {
            co_await fails("no");
        } catch (const std::runtime_error& e) {
            text = e.what();
        }
        CHECK(text == "no");
    });
}

TEST_CASE("a task does not run before it is awaited, and not at all if dropped") {
    bool ran = false;
    auto work = [](bool& flag) -> task<> {
        flag = true;
        co_return;
    };
    run([&]() -> task<> {
        auto made = work(ran);
        CHECK(!ran);
        co_await std::move(made);
        CHECK(ran);
        CHECK(!made);
    });
    ran = false;
    {
        const auto dropped = work(ran);
    }
    CHECK(!ran);
}

TEST_CASE("a task that is awaited twice throws invalid_argument") {
    run([]() -> task<> {
        auto once = twice(1);
        const int first = co_await once;
        CHECK(first == 2);
        std::string refused;
        try {
            co_await once;
        } catch (const std::invalid_argument& e) {
            refused = e.what();
        }
        CHECK(refused == "await on task: it was awaited, started or moved away before");
    });
}

TEST_CASE("a cancelled task is unwound innermost first, once, and never runs on") {
    std::string log;
    event e;
    loop l;
    l.start(nested, std::ref(e), std::ref(log));
    l.poll();
    CHECK(log.empty());
    l.cancel();
    l.run();
    CHECK(log == "io");
    e.set();
    CHECK(log == "io");
}

TEST_CASE("a loop that is destroyed while everything waits unwinds all of it") {
    std::string log;
    event e;
    {
        loop l;
        l.start(nested, std::ref(e), std::ref(log));
        l.start(waits, std::ref(e), std::ref(log), '2');
        l.start(
            [](event& u, std::string& g) -> task<> {
                const witness w(g, '3');
                co_await race(waits(u, g, 'r'), sleep_for(1h));
            },
            std::ref(e), std::ref(log));
        l.poll();
    }
    CHECK(log == "io2r3");
}

TEST_CASE("a loop that is destroyed before its first turn runs no task") {
    std::string log;
    event e;
    {
        loop l;
        l.start(waits, std::ref(e), std::ref(log), 'a');
    }
    CHECK(log.empty());
}

TEST_CASE("cancellation is met at the next await after a value was delivered") {
    std::string log;
    event e;
    loop l;
    l.start(
        [](event& u, std::string& g) -> task<> {
            const witness w(g, '.');
            co_await u.wait();
            g += "delivered";
            co_await yield();
            g += "never";
        },
        std::ref(e), std::ref(log));
    l.poll();
    e.set();     // completed first,
    l.cancel();  // then cancelled
    l.run();
    CHECK(log == "delivered.");
}

TEST_CASE("catch (...) does not see a cancellation") {
    bool caught = false;
    event e;
    loop l;
    l.start(
        [](event& u, bool& c) -> task<> {
            try {
                co_await u.wait();
            } catch (...) {
                c = true;
            }
        },
        std::ref(e), std::ref(caught));
    l.poll();
    l.cancel();
    l.run();
    CHECK(!caught);
}

TEST_CASE("a million awaits that complete at once leave the stack flat") {
    const long sum = run([]() -> task<long> {
        long total = 0;
        for (int i = 0; i < 1'000'000; ++i) total += co_await twice(1);
        co_return total;
    });
    CHECK(sum == 2'000'000);
}

TEST_CASE("ten thousand nested awaits, and their return, leave the stack flat") {
    const long depth = run(chain(10'000));
    CHECK(depth == 10'001);
}

TEST_CASE("an error travels up ten thousand nested awaits") {
    struct thrower {
        static task<> at(int depth) {
            const int below = depth - 1;
            if (below < 0) throw std::runtime_error("bottom");
            co_await at(below);
        }
    };
    CHECK_THROWS_AS(run(thrower::at(10'000)), std::runtime_error);
}

TEST_CASE("a chain of ten thousand tasks is cancelled without recursion") {
    int destroyed = 0;
    bool deep = false;
    event e;
    loop l;
    l.start(chain_to, std::ref(e), 10'000, std::ref(destroyed), std::ref(deep));
    while (!deep) l.poll();
    CHECK(destroyed == 0);
    l.cancel();
    l.run();
    CHECK(destroyed == 10'001);
}

TEST_CASE("a task that awaits only what is ready does not starve others") {
    event always;
    always.set();
    bool other = false;
    loop l;
    l.start(
        [](event& e, bool& stop) -> task<> {
            bool going = true;
            while (going) {
                co_await e.wait();
                going = !stop;
            }
        },
        std::ref(always), std::ref(other));
    l.start(
        [](bool& ran) -> task<> {
            ran = true;
            co_return;
        },
        std::ref(other));
    l.run();
    CHECK(other);
}

TEST_CASE("a task that loops over tasks that end at once does not starve others") {
    bool other = false;
    loop l;
    l.start(
        [](bool& stop) -> task<> {
            while (!stop) co_await twice(1);
            co_return;
        },
        std::ref(other));
    l.start(
        [](bool& ran) -> task<> {
            ran = true;
            co_return;
        },
        std::ref(other));
    l.run();
    CHECK(other);
}

// GCC before 13 misplaces the frame of such a body (PR106188).
namespace {
task<bool> more(int& left) { co_return left-- > 0; }
task<> without_local(int& left, int& rounds) {
    while (co_await more(left)) ++rounds;
}
}  // namespace

TEST_CASE("a body without a variable of its own that awaits in a condition runs") {
    int left = 3;
    int rounds = 0;
    run(without_local(left, rounds));
    CHECK(rounds == 3);
}

TEST_CASE("such a body is cancelled like any other") {
    int left = 1'000'000'000;
    int rounds = 0;
    {
        loop l;
        l.start(without_local, std::ref(left), std::ref(rounds));
        l.poll();
    }
    CHECK(rounds > 0);
    CHECK(left > 0);
}

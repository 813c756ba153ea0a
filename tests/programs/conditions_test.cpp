// SPDX-License-Identifier: MIT
// Programs as users write them: awaiting in conditions, with nothing declared before (GCC
// PR106188).
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <runnel/runnel.hpp>

#include "programs/expect.hpp"
#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

// Gives true a few times. Knows if it was copied bit by bit.
class countdown {
public:
    explicit countdown(int n) : left_(n), self_(this) {}
    countdown(countdown&& other) noexcept : left_(other.left_), self_(this) {}
    ~countdown() {
        if (self_ != this) std::abort();
    }
    task<bool> next() {
        co_await yield();
        co_return left_-- > 0;
    }
    task<std::optional<std::string>> item() {
        co_await yield();
        if (left_-- <= 0) co_return std::nullopt;
        co_return std::string(40, 'i');
    }
    task<int> number() { co_return left_--; }

private:
    int left_;
    countdown* self_;
};

task<> loop_while(countdown& c, int& turns) {
    while (co_await c.next()) ++turns;
}
task<> loop_do(countdown& c, int& turns) {
    do {
        ++turns;
        co_await yield();
    } while (co_await c.next());
}
task<> loop_for(countdown& c, int& turns) {
    for (; co_await c.next(); co_await yield()) turns += 1;
}
task<int> branch_if(countdown& c) {
    if (co_await c.next()) co_return 1;
    co_return 2;
}
task<int> branch_else(countdown& c) {
    if (!co_await c.next())
        co_return 1;
    else if (co_await c.next())
        co_return 2;
    else
        co_return 3;
}
task<std::string> branch_switch(countdown& c) {
    switch (co_await c.number()) {
        case 1: co_return "one";
        case 2: {
            switch (co_await c.number()) {
                case 1: co_return "two, one";
                default: co_return "two";
            }
        }
        default: co_return "many";
    }
}

}  // namespace

TEST_CASE("while, do and for await in their conditions") {
    int turns = 0;
    countdown a(3), b(3), c(3);
    run(loop_while(a, turns));
    CHECK(turns == 3);
    run(loop_do(b, turns));
    CHECK(turns == 7);
    run(loop_for(c, turns));
    CHECK(turns == 10);
}

TEST_CASE("if and else await in their conditions") {
    countdown one(1), none(0);
    CHECK(run(branch_if(one)) == 1);
    CHECK(run(branch_if(none)) == 2);
    countdown two(2);
    CHECK(run(branch_else(two)) == 2);
    CHECK(run(branch_else(none)) == 1);
}

TEST_CASE("switch awaits in its condition") {
    countdown one(1), two(2), many(9);
    CHECK(run(branch_switch(one)) == "one");
    CHECK(run(branch_switch(two)) == "two, one");
    CHECK(run(branch_switch(many)) == "many");
}

namespace {
task<> consume(countdown c, std::unique_ptr<int> total, std::string name, int& out) {
    while (auto item = co_await c.item()) *total += int(item->size());
    while (co_await c.next()) out = -1;
    if (co_await c.next()) out = -2;
    out += *total + int(name.size());
}
task<> consume_only_conditions(countdown c, std::unique_ptr<int> total, int& out) {
    while ((co_await c.item()).has_value()) out += ++*total;
}
}  // namespace

TEST_CASE("parameters by value survive a body that begins with a condition") {
    int out = 0;
    run(consume(countdown(2), std::make_unique<int>(1), std::string(30, 'n'), out));
    CHECK(out == 80 + 1 + 30);
    out = 0;
    run(consume_only_conditions(countdown(3), std::make_unique<int>(0), out));
    CHECK(out == 6);
}

namespace {
task<bool> wait_for(event& e) {
    if (co_await with_timeout(e.wait(), 20s)) co_return true;
    co_return false;
}
task<bool> wait_briefly(event& e) {
    if (!co_await with_timeout(e.wait(), 1ms)) co_return false;
    co_return true;
}
}  // namespace

TEST_CASE("if with_timeout, in a body of its own") {
    event set, unset;
    set.set();
    CHECK(run(wait_for(set)));
    CHECK_FALSE(run(wait_briefly(unset)));
}

TEST_CASE("a lambda whose body is a loop") {
    int turns = 0;
    countdown c(4);
    auto body = [&]() -> task<> {
        while (co_await c.next()) ++turns;
    };
    run(body);
    CHECK(turns == 4);
    run([&]() -> task<> {
        if (co_await c.next()) ++turns;
    });
    CHECK(turns == 4);
}

namespace {
template <class Source, class F>
task<> for_each(Source& s, F f) {
    while (co_await s.next()) f();
}
struct machine {
    countdown c{3};
    int turns = 0;
    task<int> operate() {
        while (co_await c.next()) co_await step();
        co_return turns;
    }
    task<> step() {
        if (turns % 2 == 0 || co_await c.next()) ++turns;
    }
};
}  // namespace

TEST_CASE("loops in templates and in member functions") {
    countdown c(5);
    int n = 0;
    run(for_each(c, [&n] { ++n; }));
    CHECK(n == 5);
    machine m;
    CHECK(run(m.operate()) == 2);
}

namespace {
task<> throw_in_condition() {
    auto bad = []() -> task<bool> {
        co_await yield();
        throw std::runtime_error("in the condition");
    };
    while (co_await bad()) {
    }
}
task<bool> bad() {
    co_await yield();
    throw std::runtime_error("in the condition");
}
task<> throw_in_bare_condition() {
    while (co_await bad()) {
    }
}
task<> throw_in_bare_body(countdown c) {
    while (co_await c.next()) throw std::runtime_error("in the body");
}
}  // namespace

TEST_CASE("exceptions leave such bodies") {
    CHECK_THROWS_AS(run(throw_in_condition()), std::runtime_error);
    CHECK_THROWS_AS(run(throw_in_bare_condition()), std::runtime_error);
    CHECK_THROWS_AS(run(throw_in_bare_body(countdown(1))), std::runtime_error);
}

namespace {
task<> wait_for_ever(event& e, std::shared_ptr<int> held) {
    while (co_await as_result(e.wait())) ++*held;
}
task<> nested_waits(event& e, std::shared_ptr<int> held) {
    if (co_await with_timeout(wait_for_ever(e, held), 1h)) ++*held;
}
}  // namespace

TEST_CASE("such bodies are cancelled, dropped and started in nurseries") {
    auto held = std::make_shared<int>(0);
    event never;
    run([&]() -> task<> {
        bool done = co_await with_timeout(nested_waits(never, held), 1ms);
        CHECK_FALSE(done);
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 10; ++i) n.start(wait_for_ever, std::ref(never), held);
            co_await yield();
            CHECK(held.use_count() >= 11);
            n.cancel();
        });
        auto dropped = wait_for_ever(never, held);
        CHECK(held.use_count() == 2);
    });
    CHECK(held.use_count() == 1);
}

namespace {
task<int> either(countdown& c) {
    if (co_await c.next() && co_await c.next()) co_return 2;
    if (co_await c.next() || co_await c.next()) co_return 1;
    co_return co_await c.next() ? 5 : 6;  // only the condition awaits
}
task<int> mixed(countdown& c, bool skip) {
    if (skip) co_return 0;
    for (int i = 0; co_await c.next(); ++i)
        if (i == 2) co_return i;
    co_return -1;
}
task<char> small(countdown& c) {
    if (co_await c.next()) co_return 'y';
    co_return 'n';
}
task<std::array<char, 100>> large(countdown& c) {
    while (co_await c.next()) {
    }
    std::array<char, 100> all{};
    all.back() = 'z';
    co_return all;
}
task<int&> reference(countdown& c, int& a, int& b) {
    if (co_await c.next()) co_return a;
    co_return b;
}
}  // namespace

TEST_CASE("&&, || and ?: of awaits, in bodies of all result types") {
    countdown c(2), d(0), e(5);
    CHECK(run(either(c)) == 2);
    CHECK(run(either(d)) == 6);
    CHECK(run(mixed(e, true)) == 0);
    CHECK(run(mixed(e, false)) == 2);
    CHECK(run(small(e)) == 'y');
    CHECK(run(large(e)).back() == 'z');
    int one = 1, two = 2;
    CHECK(&run([&]() -> task<int&> { co_return co_await reference(e, one, two); }) == &two);
}

namespace {
task<int> ackermann(int m, int n) {
    if (m == 0) co_return n + 1;
    if (n == 0) co_return co_await ackermann(m - 1, 1);
    co_return co_await ackermann(m - 1, co_await ackermann(m, n - 1));
}
task<bool> odd(int n);
task<bool> even(int n) {
    if (n == 0 || co_await odd(n - 1)) co_return true;
    co_return false;
}
task<bool> odd(int n) {
    if (n != 0 && co_await even(n - 1)) co_return true;
    co_return false;
}
}  // namespace

TEST_CASE("mutual recursion in conditions") {
    CHECK(run(even(1000)));
    CHECK_FALSE(run(odd(200)));
    CHECK(run(ackermann(2, 3)) == 9);
}

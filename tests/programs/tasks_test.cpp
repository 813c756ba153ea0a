// SPDX-License-Identifier: MIT
// Programs as users write them: tasks, their values and their errors.
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include <runnel/runnel.hpp>

#include "programs/expect.hpp"
#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

task<int> twice(int n) { co_return 2 * n; }

task<int> slow_twice(int n) {
    co_await sleep_for(1ms);
    co_return 2 * n;
}

task<std::string> text(std::string s) {
    co_await yield();
    co_return s;
}

}  // namespace

TEST_CASE("add the results of two calls") {
    const int sum =
        run([]() -> task<int> { co_return co_await twice(2) + co_await slow_twice(3); });
    CHECK(sum == 10);
}

namespace {
task<int> fibonacci(int n) {
    if (n < 2) co_return n;
    co_return co_await fibonacci(n - 1) + co_await fibonacci(n - 2);
}
}  // namespace

TEST_CASE("recurse") { CHECK(run(fibonacci(15)) == 610); }

namespace {
task<std::string> greeting(std::string name) {
    co_return "hello, " + co_await text(name) + std::string("! ") +
        std::to_string(co_await twice(21));
}
}  // namespace

TEST_CASE("build a string of awaited parts") {
    CHECK(run(greeting("everybody in the house")) == "hello, everybody in the house! 42");
}

namespace {
task<std::unique_ptr<int>> boxed(std::unique_ptr<int> p) {
    co_await yield();
    ++*p;
    co_return p;
}
}  // namespace

TEST_CASE("pass something move-only through tasks") {
    auto p = run([]() -> task<std::unique_ptr<int>> {
        co_return co_await boxed(co_await boxed(std::make_unique<int>(5)));
    });
    CHECK(*p == 7);
}

namespace {
struct account {
    int cents = 0;
    task<> deposit(int n) {
        co_await yield();
        cents += n;
    }
    task<bool> withdraw(int n) {
        if (n > cents) co_return false;
        co_await yield();
        cents -= n;
        co_return true;
    }
    task<int> drain() const { co_return cents; }
};
}  // namespace

TEST_CASE("member functions are coroutines") {
    account mine;
    run([&]() -> task<> {
        co_await mine.deposit(100);
        expect(co_await mine.withdraw(30));
        expect(!co_await mine.withdraw(300));
    });
    CHECK(run(mine.drain()) == 70);
}

namespace {
template <class T>
task<T> sum(std::vector<task<T>> parts) {
    T total{};
    for (auto& part : parts) total += co_await part;
    co_return total;
}
template <class F, class... Args>
auto retry(int times, F f, Args... args) -> decltype(f(args...)) {
    for (int i = 1;; ++i) {
        try {
            co_return co_await f(args...);
        } catch (const std::runtime_error&) {
            if (i == times) throw;
        }
    }
}
}  // namespace

TEST_CASE("keep tasks in a vector and add them up") {
    std::vector<task<std::string>> parts;
    for (auto s : {"a", "b", "c"}) parts.push_back(text(s));
    CHECK(run(sum(std::move(parts))) == "abc");
}

TEST_CASE("retry what fails, in a template") {
    int calls = 0;
    auto flaky = [&](int succeed_at) -> task<int> {
        co_await yield();
        if (++calls < succeed_at) throw std::runtime_error("not yet");
        co_return calls;
    };
    CHECK(run(retry(5, flaky, 3)) == 3);
    calls = 0;
    CHECK_THROWS_AS(run(retry(2, flaky, 3)), std::runtime_error);
}

TEST_CASE("an exception crosses three tasks") {
    auto thrower = []() -> task<int> {
        co_await yield();
        throw std::out_of_range("deep");
    };
    auto middle = [&]() -> task<int> {
        std::string held(50, 'x');
        co_return 1 + co_await thrower();
    };
    std::string caught;
    run([&]() -> task<> {
        try {
            co_await middle();
        } catch (const std::out_of_range& e) {
            caught = e.what();
        }
    });
    CHECK(caught == "deep");
}

namespace {
task<std::vector<int>&> append(std::vector<int>& v, int n) {
    co_await yield();
    v.push_back(n);
    co_return v;
}
}  // namespace

TEST_CASE("a task gives a reference") {
    std::vector<int> v;
    run([&]() -> task<> {
        auto& same = co_await append(v, 1);
        (co_await append(same, 2)).push_back(3);
    });
    CHECK(v == std::vector<int>{1, 2, 3});
}

namespace {
task<std::optional<std::string>> find(const std::map<int, std::string>& in, int key) {
    co_await yield();
    auto at = in.find(key);
    if (at == in.end()) co_return std::nullopt;
    co_return at->second;
}
}  // namespace

TEST_CASE("look up something that may be missing") {
    const std::map<int, std::string> names{{1, "one"}, {2, "two"}};
    const std::string got = run([&]() -> task<std::string> {
        std::string all;
        for (int i = 0; i < 4; ++i) {
            if (auto name = co_await find(names, i))
                all += *name;
            else
                all += '-';
        }
        all += (co_await find(names, 7)).value_or("nothing");
        co_return all;
    });
    CHECK(got == "-onetwo-nothing");
}

namespace {
struct report {
    int lines;
    std::string first;
    std::vector<std::string> words;
};
task<report> analyse(std::string s) {
    report r;
    r.lines = 1;
    r.first = co_await text(s);
    r.words.push_back(s + "!");
    co_return r;
}
task<std::tuple<int, std::string>> both() { co_return std::tuple(1, std::string(40, 'b')); }
}  // namespace

TEST_CASE("a task gives a structure") {
    run([]() -> task<> {
        auto r = co_await analyse("some words that are longer than the small buffer");
        CHECK(r.words.at(0).size() == r.first.size() + 1);
        auto [n, s] = co_await both();
        CHECK(n == 1);
        CHECK(s == std::string(40, 'b'));
        expect((co_await analyse("x")).first == "x");
    });
}

TEST_CASE("await through std::function and a table of handlers") {
    std::map<std::string, std::function<task<int>(int)>> handlers;
    int base = 100;
    handlers["twice"] = twice;
    handlers["add"] = [&base](int n) -> task<int> { co_return base + n; };
    handlers["slow"] = [](int n) { return slow_twice(n); };
    const int total = run([&]() -> task<int> {
        int all = 0;
        for (auto& [name, handler] : handlers) all += co_await handler(1);
        co_return all + co_await handlers.at("add")(5);
    });
    CHECK(total == 101 + 2 + 2 + 105);
}

namespace {
task<std::variant<int, std::string>> parse(std::string s) {
    co_await yield();
    if (!s.empty() && s[0] >= '0' && s[0] <= '9') co_return std::stoi(s);
    co_return s;
}
}  // namespace

TEST_CASE("visit an awaited variant") {
    const std::size_t n = run([]() -> task<std::size_t> {
        std::size_t all = 0;
        for (std::string s : std::vector<std::string>{"12", "four"})
            all += std::visit(
                [](auto& v) -> std::size_t {
                    if constexpr (std::is_same_v<std::decay_t<decltype(v)>, int>)
                        return std::size_t(v);
                    else
                        return v.size();
                },
                *std::make_unique<std::variant<int, std::string>>(co_await parse(s)));
        co_return all;
    });
    CHECK(n == 16);
}

namespace {
struct node {
    int value;
    std::vector<std::unique_ptr<node>> children;
};
task<int> sum_tree(const node& n) {
    int total = n.value;
    for (auto& child : n.children) total += co_await sum_tree(*child);
    co_return total;
}
}  // namespace

TEST_CASE("walk a tree") {
    node root{1, {}};
    for (int i = 0; i < 3; ++i) {
        root.children.push_back(std::make_unique<node>());
        root.children.back()->value = 10;
        root.children.back()->children.push_back(std::make_unique<node>());
        root.children.back()->children.back()->value = 100;
    }
    CHECK(run(sum_tree(root)) == 331);
}

TEST_CASE("a million awaits that are done at once") {
    const long n = run([]() -> task<long> {
        long total = 0;
        for (int i = 0; i < 1'000'000; ++i) total += co_await twice(1);
        co_return total;
    });
    CHECK(n == 2'000'000);
}

namespace {
task<int> deep(int n) {
    if (n == 0) co_return 0;  // not ?: in a co_return, see runtime/GCC12.md
    co_return 1 + co_await deep(n - 1);
}
}  // namespace

TEST_CASE("ten thousand tasks deep") { CHECK(run(deep(10'000)) == 10'000); }

TEST_CASE("a task that is never awaited does nothing") {
    bool ran = false;
    auto lazy = [&]() -> task<> {
        ran = true;
        co_return;
    };
    {
        auto t = lazy();
        CHECK(bool(t));
    }
    CHECK_FALSE(ran);
}

TEST_CASE("awaiting a task twice is an error with a name") {
    std::string said;
    run([&]() -> task<> {
        auto t = twice(1);
        int once = co_await t;
        CHECK(once == 2);
        try {
            once = co_await t;
        } catch (const std::invalid_argument& e) {
            said = e.what();
        }
    });
    CHECK(said.find("awaited") != said.npos);
}

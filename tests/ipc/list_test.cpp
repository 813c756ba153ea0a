// SPDX-License-Identifier: MIT
#include <runnel/ipc/list.hpp>

#include <stdexcept>

#include <runnel/ipc/value.hpp>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;
using item = ipc::list::item;

TEST_CASE("a shared list gives what was put in, of any kind") {
    const ipc::list::bytes raw{std::byte{1}, std::byte{0}, std::byte{0}};
    const ipc::list l({"text", raw, -273.154, 100, std::monostate(), true, 42, ""});
    CHECK(l.size() == 8);
    CHECK(l.get(0) == item("text"));
    CHECK(l.get(1) == item(raw));  // with its zeros
    CHECK(l.get(2) == item(-273.154));
    CHECK(l.get(3) == item(100));
    CHECK(l.get(4) == item(std::monostate()));
    CHECK(l.get(5) == item(true));
    const ipc::list same = l.share();
    same.set(0, "\u00e9\u00e9\u00e9\u00e9");  // 8 bytes
    CHECK(l.get(0) == item("\u00e9\u00e9\u00e9\u00e9"));
    l.set(0, 1);
    l.set(3, "12345678");
    CHECK(same.get(0) == item(1));
    CHECK(same.get(3) == item("12345678"));
    CHECK(l.count(1) == 1);
    CHECK(l.index(42) == 6);
    CHECK(!l.index(1.0));
    CHECK(l.capacity(7) == 8);
    CHECK(ipc::list(std::span<const item>()).size() == 0);
}

TEST_CASE("mistakes with a shared list") {
    ipc::list l({1, "123456789"});
    CHECK_THROWS_AS(l.get(2), std::out_of_range);
    CHECK_THROWS_AS(l.set(2, 1), std::out_of_range);
    CHECK_THROWS_AS(l.set(0, "123456789"), std::length_error);
    CHECK_THROWS_AS(l.set(1, std::string(17, 'x')), std::length_error);
    l.set(1, std::string(16, 'x'));
    std::string why;
    try {
        l.set(0, "123456789");
    } catch (const std::length_error& error) {
        why = error.what();
    }
    CHECK(why.find("exceed the available storage") != why.npos);
    const ipc::list other = std::move(l);
    CHECK_THROWS_AS(l.size(), std::invalid_argument);  // NOLINT: what is tested
}

TEST_CASE("processes write to a shared list and are killed: what is read is whole") {
    const std::uint64_t start = announced_seed("list_test");
    both_ways([start]() -> task<> {
        std::mt19937_64 random(start);
        const ipc::list l({std::string(1000, 'a'), 0});
        const ipc::value<std::uint64_t> steps(0);
        constexpr auto write = [](ipc::list its, ipc::value<std::uint64_t> made) -> task<> {
            for (int i = 0;; ++i) {
                its.set(0, std::string(static_cast<std::size_t>(i % 1000),
                                       static_cast<char>('a' + i % 26)));
                its.set(1, i);
                made.fetch_add(1);
            }
            co_return;
        };
        int torn = 0;
        for (int i = 0; i < 20; ++i) {
            auto one = ipc::spawn(write, l.share(), steps.share());
            auto two = ipc::spawn(write, l.share(), steps.share());
            const std::uint64_t before = steps.load();
            while (steps.load() < before + 100) {
                const item got = l.get(0);
                const auto& text = std::get<std::string>(got);
                if (text.find_first_not_of(text[0]) != text.npos) ++torn;
                co_await yield();
            }
            co_await sleep_for(std::chrono::microseconds(random() % 1000));
            one.kill();
            two.kill();
            co_await one.wait();
            co_await two.wait();
            const item got = l.get(0);
            const auto& text = std::get<std::string>(got);
            if (text.find_first_not_of(text[0]) != text.npos) ++torn;
        }
        CHECK(torn == 0);
        l.set(1, "after");
        CHECK(l.get(1) == item("after"));
    });
}

TEST_CASE("a shared list comes back from a child") {
    both_ways([]() -> task<> {
        auto child = ipc::spawn([]() -> task<ipc::list> {
            ipc::list l({"made", 7});
            co_return l;
        });
        const ipc::list l = co_await child.join();
        CHECK(l.get(0) == item("made"));
        CHECK(l.get(1) == item(7));
    });
}

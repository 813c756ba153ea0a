// SPDX-License-Identifier: MIT
#include <stdexcept>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/witness.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {
task<> clean(std::string& log, std::chrono::seconds length = 1s) {
    const witness w(log, '.');
    co_await sleep_for(length);
    log += "clean";
}
}  // namespace

TEST_CASE("the clean-up runs after a value, and the value is given") {
    std::string log;
    const int value = run(
        [&]() -> task<int> {
            auto body = [](std::string& l) -> task<int> {
                co_await sleep_for(1h);
                l += "body ";
                co_return 5;
            };
            co_return co_await finally(body(log), clean(log));
        },
        virtual_time);
    CHECK(value == 5);
    CHECK(log == "body clean.");
}

TEST_CASE("the clean-up runs after an error, and the error is thrown") {
    std::string log;
    auto body = []() -> task<> {
        co_await yield();
        throw std::runtime_error("body");
    };
    CHECK_THROWS_AS(run([&]() -> task<> { co_await finally(body(), clean(log)); }, virtual_time),
                    std::runtime_error);
    CHECK(log == "clean.");
}

TEST_CASE("the clean-up runs uncancelled when the body is cancelled") {
    std::string log;
    run(
        [&]() -> task<> {
            auto work = [&]() -> task<> {
                const witness w(log, 'w');
                co_await finally(sleep_for(1h), clean(log));
                log += "never";
            };
            const bool done = co_await with_timeout(work(), 1ms);
            CHECK(!done);
        },
        virtual_time);
    CHECK(log == "clean.w");
}

TEST_CASE("the clean-up runs even if the body was cancelled before it began") {
    std::string log;
    run(
        [&]() -> task<> {
            co_await open_nursery([&](nursery& n) -> task<> {
                n.cancel();
                co_await finally(sleep_for(1h), clean(log));
                log += "never";
            });
        },
        virtual_time);
    CHECK(log == "clean.");
}

TEST_CASE("an error of the clean-up is thrown when the body has none, and suppressed else") {
    auto fails = [](const char* text) -> task<> {
        co_await yield();
        throw std::runtime_error(text);
    };
    std::string one, two;
    std::size_t others = 0;
    run(
        [&]() -> task<> {
            try {
                co_await finally(sleep_for(1s), fails("cleanup"));
            } catch (const std::runtime_error& e) {
                one = e.what();
            }
            try {
                co_await finally(fails("body"), fails("cleanup"));
            } catch (const std::runtime_error& e) {
                two = e.what();
                others = suppressed_errors().size();
            }
        },
        virtual_time);
    CHECK(one == "cleanup");
    CHECK(two == "body");
    CHECK(others == 1);
}

TEST_CASE("a clean-up that is late is cancelled, and on_error hears of it") {
    std::string log;
    int reports = 0;
    loop l(virtual_time);
    l.on_error([&](std::exception_ptr) { ++reports; });
    l.start(
        [](std::string& g) -> task<> {
            co_await finally(sleep_for(1s), clean(g, 1h), 10s);
            g += " body's end stands";
        },
        std::ref(log));
    l.run();
    CHECK(log == ". body's end stands");
    CHECK(reports == 1);
}

TEST_CASE("clean-ups of nested tasks run innermost first") {
    std::string log;
    auto note = [](std::string& l, char c) -> task<> {
        co_await sleep_for(1ms);
        l += c;
    };
    auto inner = [&]() -> task<> { co_await finally(sleep_for(1h), note(log, 'i')); };
    auto outer = [&]() -> task<> { co_await finally(inner(), note(log, 'o')); };
    run(
        [&]() -> task<> {
            const bool done = co_await with_timeout(outer(), 1ms);
            CHECK(!done);
        },
        virtual_time);
    CHECK(log == "io");
}

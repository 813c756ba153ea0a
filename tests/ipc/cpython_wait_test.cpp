// SPDX-License-Identifier: MIT
// What CPython's own tests pin for multiprocessing.connection.wait, one test each, named after the
// original in Lib/test/_test_multiprocessing.py.
#include <chrono>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

#include <runnel/ipc.hpp>

#include "message_tools.hpp"
#include "support/catch.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {
using clock_type = std::chrono::steady_clock;
}

TEST_CASE("TestWait.test_wait", "[cpython]") {
    run([]() -> task<> {
        std::vector<ipc::receiver<int>> readers;
        std::vector<ipc::process<void>> children;
        for (int i = 0; i < 4; ++i) {
            auto ends = ipc::pipe<int>(ipc::simplex);
            readers.push_back(std::move(ends.receiver));
            children.push_back(ipc::spawn(
                [](ipc::sender<int> out) -> task<> {
                    for (int j = 0; j < 10; ++j) co_await out.send(j);
                },
                std::move(ends.sender)));
        }
        int messages = 0, ends_seen = 0;
        while (!readers.empty()) {
            std::vector<ipc::waitable> all(readers.begin(), readers.end());
            auto ready = co_await ipc::wait_any(all);
            CHECK(!ready.empty());
            for (auto i = ready.rbegin(); i != ready.rend(); ++i) {
                auto got = co_await readers[*i].recv();
                messages += got.has_value();
                if (!got) {
                    ++ends_seen;
                    readers.erase(readers.begin() + static_cast<std::ptrdiff_t>(*i));
                }
            }
        }
        CHECK(messages == 40);
        CHECK(ends_seen == 4);
        for (const auto& child : children) co_await child.join();
    });
}

TEST_CASE("TestWait.test_wait_socket", "[cpython]") {
    run([]() -> task<> {
        int two[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, two) == 0);
        const unique_fd here(two[0]);
        unique_fd there(two[1]);
        auto ends = ipc::pipe<int>();
        REQUIRE(::write(there.get(), "x", 1) == 1);
        auto ready = co_await ipc::wait_any(ends.first, here.get());
        CHECK(ready.to_string() == "10");
        char byte = 0;
        REQUIRE(::read(here.get(), &byte, 1) == 1);
        there.reset();
        ready = co_await ipc::wait_any(ends.first, here.get());
        CHECK(ready.to_string() == "10");
    });
}

TEST_CASE("TestWait.test_wait_timeout", "[cpython]") {
    run([]() -> task<> {
        auto one = ipc::pipe<int>();
        auto two = ipc::pipe<int>();
        const auto began = clock_type::now();
        auto none = co_await with_timeout(ipc::wait_any(one.first, two.first), 50ms);
        CHECK(!none);
        CHECK(clock_type::now() - began >= 50ms);
        co_await two.second.send(1);
        auto ready = co_await with_timeout(ipc::wait_any(one.first, two.first), 20s);
        REQUIRE(ready.has_value());
        CHECK(ready->to_string() == "10");
    });
}

TEST_CASE("TestWait.test_wait_integer", "[cpython]") {
    run([]() -> task<> {
        auto one = ipc::pipe<int>(), two = ipc::pipe<int>();
        auto go = ipc::pipe<int>(ipc::simplex);
        auto child = ipc::spawn(
            [](ipc::receiver<int> in) -> task<> {
                auto end = co_await in.recv();
                (void)end;
            },
            std::move(go.receiver));
        auto none =
            co_await with_timeout(ipc::wait_any(one.first, child.sentinel(), two.first), 10ms);
        CHECK(!none);
        go.sender.close();
        auto ready = co_await ipc::wait_any(one.first, child.sentinel(), two.first);
        CHECK(ready.to_string() == "010");
        co_await one.second.send(1);
        ready = co_await ipc::wait_any(one.first, child.sentinel(), two.first);
        CHECK(ready.to_string() == "011");
        co_await two.second.send(1);
        ready = co_await ipc::wait_any(one.first, child.sentinel(), two.first);
        CHECK(ready.to_string() == "111");
        co_await child.join();
    });
}

TEST_CASE("TestWait.test_neg_timeout", "[cpython]") {
    run([]() -> task<> {
        auto ends = ipc::pipe<int>();
        const auto began = clock_type::now();
        auto none = co_await with_timeout(ipc::wait_any(ends.first), -1s);
        CHECK(!none);
        CHECK(clock_type::now() - began < 500ms);
    });
}

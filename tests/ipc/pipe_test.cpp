// SPDX-License-Identifier: MIT
#include <runnel/ipc/pipe.hpp>

#include <string>
#include <vector>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"

using namespace runnel;

TEST_CASE("a message sent is received") {
    run([]() -> task<> {
        auto ends = ipc::pipe<int>(ipc::simplex);
        co_await ends.sender.send(42);
        auto got = co_await ends.receiver.recv();
        CHECK(got == 42);
        ends.sender.close();
        auto end = co_await ends.receiver.recv();
        CHECK(!end);
    });
}
TEST_CASE("a string sent is received") {
    run([]() -> task<> {
        auto ends = ipc::pipe<std::string>();
        for (std::size_t size : {0ul, 1ul, 100ul, 65534ul, 65536ul, 1ul << 24}) {
            const std::string text(size, 'x');
            co_await ends.first.send(text);
            auto ready = co_await ends.second.poll();
            CHECK(ready);
            auto got = co_await ends.second.recv();
            CHECK(got == text);
        }
    });
}

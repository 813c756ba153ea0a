// SPDX-License-Identifier: MIT
#include <runnel/runnel.hpp>

#include "support/catch.hpp"

using namespace runnel;

TEST_CASE("tasks that yield take turns") {
    std::string order;
    auto turns = [](std::string& to, char name) -> task<> {
        for (int i = 0; i < 3; ++i) {
            to += name;
            co_await yield();
        }
    };
    loop l;
    l.start(turns, std::ref(order), 'a');
    l.start(turns, std::ref(order), 'b');
    l.run();
    CHECK(order == "ababab");
}

TEST_CASE("a yield that is cancelled while it waits for its turn returns, the next await ends it") {
    std::string log;
    loop l;
    l.start(
        [](std::string& g, loop& own) -> task<> {
            own.cancel();
            co_await yield();
            g += "never";
        },
        std::ref(log), std::ref(l));
    l.start(
        [](std::string& g) -> task<> {
            co_await yield();
            g += "never";
        },
        std::ref(log));
    l.run();
    CHECK(log.empty());
}

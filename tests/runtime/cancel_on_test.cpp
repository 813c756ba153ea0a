// SPDX-License-Identifier: MIT
#include <stop_token>
#include <thread>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/witness.hpp"

using namespace runnel;
using namespace std::chrono_literals;

TEST_CASE("a stop ends the wait, without one the value comes") {
    run([]() -> task<> {
        std::stop_source stop;
        event e;
        e.set();
        const bool came = co_await cancel_on(stop.get_token(), e.wait());
        CHECK(came);
        e.clear();
        stop.request_stop();
        const bool stopped = co_await cancel_on(stop.get_token(), e.wait());
        CHECK(!stopped);
    });
}

TEST_CASE("a task that is stopped is unwound first") {
    std::string log;
    run(
        [&]() -> task<> {
            std::stop_source stop;
            auto work = [](std::string& l) -> task<int> {
                const witness w(l, 'w');
                co_await sleep_for(1h);
                co_return 1;
            };
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start(
                    [](std::stop_source& s) -> task<> {
                        co_await sleep_for(1ms);
                        s.request_stop();
                    },
                    std::ref(stop));
                auto got = co_await cancel_on(stop.get_token(), work(log));
                CHECK(!got);
                CHECK(log == "w");
            });
        },
        virtual_time);
}

TEST_CASE("a value that came together with the stop is delivered") {
    run([]() -> task<> {
        std::stop_source stop;
        event e;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(
                [](event& set, std::stop_source& s) -> task<> {
                    co_await yield();
                    set.set();
                    s.request_stop();
                },
                std::ref(e), std::ref(stop));
            const bool got = co_await cancel_on(stop.get_token(), e.wait());
            CHECK(got);
        });
    });
}

TEST_CASE("a stop may come from another thread at any moment") {
    for (int round = 0; round < 200; ++round) {
        std::stop_source stop;
        std::atomic<bool> go{false};
        std::jthread other([&] {
            while (!go.load()) std::this_thread::yield();
            stop.request_stop();
        });
        int ends = 0;
        run([&]() -> task<> {
            event e;
            go.store(true);
            for (int i = 0; i < round % 7; ++i) co_await yield();
            const bool got = co_await cancel_on(stop.get_token(), e.wait());
            CHECK(!got);
            ++ends;
        });
        CHECK(ends == 1);
    }
}

TEST_CASE("a stop from another thread races with the completion and the cancellation of the task") {
    for (int round = 0; round < 200; ++round) {
        std::stop_source stop;
        std::atomic<bool> go{false};
        std::jthread other([&] {
            while (!go.load()) std::this_thread::yield();
            stop.request_stop();
        });
        int unwound = 0;
        run([&]() -> task<> {
            struct count {
                int& n;
                ~count() { ++n; }
            };
            event e;
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start(
                    [](event& w, std::stop_token t, int& u) -> task<> {
                        const count counted{u};
                        co_await cancel_on(t, w.wait());
                    },
                    std::ref(e), stop.get_token(), std::ref(unwound));
                co_await yield();
                go.store(true);
                for (int i = 0; i < round % 11; ++i) co_await yield();
                if (round % 2 == 0) e.set();
                n.cancel();
            });
        });
        CHECK(unwound == 1);
    }
}

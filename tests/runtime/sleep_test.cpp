// SPDX-License-Identifier: MIT
// Sleeping, and virtual time.
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/witness.hpp"

using namespace runnel;
using namespace std::chrono_literals;

TEST_CASE("a sleep is never shorter than asked for") {
    run([]() -> task<> {
        const auto begun = std::chrono::steady_clock::now();
        co_await sleep_for(3ms);
        CHECK(std::chrono::steady_clock::now() - begun >= 3ms);
        co_await sleep_until(begun);  // long past
        co_await sleep_for(-1h);
    });
}

TEST_CASE("a sleep is one system call: the one that waits carries its deadline") {
    run([]() -> task<> {
        loop& l = *loop::current();
        for (int i = 0; i < 10; ++i)
            co_await io::nop();  // the loop's own requests are on their way
        bool slept = false;
        // On a busy machine one may be over before the loop has come to wait for it.
        for (int i = 0; i < 20 && !slept; ++i) {
            const loop_stats before = l.stats();
            co_await sleep_for(20ms);
            const loop_stats after = l.stats();
            CHECK(after.submissions == before.submissions);
            CHECK(after.enters - before.enters <= 1);
            slept = after.enters - before.enters == 1 && after.sleeps - before.sleeps == 1;
        }
        CHECK(slept);
    });
}

TEST_CASE("under virtual time years pass at once, and exactly") {
    const auto really = std::chrono::steady_clock::now();
    run(
        []() -> task<> {
            const auto begun = loop::current()->now();
            for (int i = 0; i < 1000; ++i) co_await sleep_for(24h);
            CHECK(loop::current()->now() - begun == 24'000h);
        },
        virtual_time);
    CHECK(std::chrono::steady_clock::now() - really < 30s);
}

TEST_CASE("under virtual time deadlines come in order, equal ones in the order of arming") {
    std::string order;
    auto note = [](std::string& to, std::chrono::hours when, char name) -> task<> {
        co_await sleep_for(when);
        to += name;
    };
    run(
        [&]() -> task<> {
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start(note, std::ref(order), 3h, 'd');
                n.start(note, std::ref(order), 1h, 'a');
                n.start(note, std::ref(order), 2h, 'b');
                n.start(note, std::ref(order), 2h, 'c');
                co_return;
            });
        },
        virtual_time);
    CHECK(order == "abcd");
}

TEST_CASE("under virtual time the clock stands still while anything can run") {
    run(
        []() -> task<> {
            const auto begun = loop::current()->now();
            bool slept = false;
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start(
                    [](bool& done) -> task<> {
                        co_await sleep_for(1ns);
                        done = true;
                    },
                    std::ref(slept));
                for (int i = 0; i < 10'000; ++i) {
                    co_await yield();
                    if (slept) break;
                }
                CHECK(!slept);
                CHECK(loop::current()->now() == begun);
            });
        },
        virtual_time);
}

TEST_CASE("under virtual time the clock stands still while a request is in the kernel") {
    int fds[2];
    REQUIRE(::pipe(fds) == 0);
    const unique_fd out(fds[0]), in(fds[1]);
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
        loop_options options = virtual_time;
        options.chaos.seed = seed;
        run(
            [&]() -> task<> {
                char c = 0;
                const auto begun = loop::current()->now();
                co_await open_nursery([&](nursery& n) -> task<> {
                    n.start(
                        [](int fd) -> task<> {
                            for (int i = 0; i < 50; ++i) co_await io::nop();
                            REQUIRE(::write(fd, "x", 1) == 1);
                        },
                        in.get());
                    auto got = co_await with_timeout(
                        io::read(out.get(), std::as_writable_bytes(std::span(&c, 1))), 1ns);
                    CHECK(got == 1u);
                });
                CHECK(loop::current()->now() == begun);
            },
            options);
    }
}

TEST_CASE("under virtual time a timeout of zero ends a request in the kernel") {
    int fds[2];
    REQUIRE(::pipe(fds) == 0);
    const unique_fd out(fds[0]), in(fds[1]);
    run(
        [&]() -> task<> {
            char c = 0;
            auto got = co_await with_timeout(
                io::read(out.get(), std::as_writable_bytes(std::span(&c, 1))), 0s);
            CHECK(!got);
        },
        virtual_time);
}

TEST_CASE("a sleeping loop that is destroyed does not wait for the sleep") {
    const auto begun = std::chrono::steady_clock::now();
    {
        loop l;
        l.start([]() -> task<> { co_await sleep_for(1h); });
        l.poll();
    }
    CHECK(std::chrono::steady_clock::now() - begun < 60s);
}

// SPDX-License-Identifier: MIT
#include <runnel/ipc/event.hpp>

#include <atomic>
#include <stdexcept>
#include <thread>

#include <sys/mman.h>
#include <sys/syscall.h>

#include <runnel/io.hpp>
#include <runnel/loop.hpp>

#include "support/system_calls.hpp"
#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

task<> wait_and_say(ipc::event e, unique_fd say, unique_fd after) {
    tell(say);
    co_await e.wait();
    tell(after);
}
ipc::event* handled = nullptr;

}  // namespace

TEST_CASE("an ipc event that is set is waited for without waiting") {
    both_ways([]() -> task<> {
        ipc::event e;
        CHECK(!e.is_set());
        e.set();
        e.set();
        CHECK(e.is_set());
        co_await e.wait();
        const ipc::event same = e.share();
        CHECK(same.is_set());
        same.clear();
        same.clear();
        CHECK(!e.is_set());
        bool got = co_await with_timeout(e.wait(), 1ms);
        CHECK(!got);
    });
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::event&>().wait())>);
}

TEST_CASE("set wakes all tasks that wait, of all processes") {
    both_ways([]() -> task<> {
        ipc::event e;
        signal_pipe up;
        signal_pipe after;
        std::vector<ipc::process<>> children;
        for (int i = 0; i < 3; ++i)
            children.push_back(
                ipc::spawn(wait_and_say, e.share(), up.say.duplicate(), after.say.duplicate()));
        int own = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 3; ++i)
                n.start([&]() -> task<> {
                    co_await e.wait();
                    ++own;
                });
            for (int i = 0; i < 3; ++i) {
                bool is_up = co_await told(up.hear);
                CHECK(is_up);
            }
            co_await sleep_for(2ms);
            CHECK(own == 0);
            e.set();
        });
        CHECK(own == 3);
        for (auto& one : children) co_await one.join();
    });
}

TEST_CASE("a set that is cleared at once has woken those who waited") {
    both_ways([]() -> task<> {
        ipc::event e;
        signal_pipe up;
        signal_pipe after;
        auto child = ipc::spawn(wait_and_say, e.share(), std::move(up.say), after.say.duplicate());
        bool is_up = co_await told(up.hear);
        CHECK(is_up);
        co_await sleep_for(2ms);
        int own = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                co_await e.wait();
                ++own;
            });
            co_await turns();
            e.set();
            e.clear();
        });
        CHECK(own == 1);
        bool passed = co_await told(after.hear);
        CHECK(passed);
        co_await child.join();
        CHECK(!e.is_set());
    });
}

TEST_CASE("two processes alternate by two ipc events") {
    both_ways([]() -> task<> {
        ipc::event there;
        ipc::event back;
        constexpr int times = 500;
        auto child = ipc::spawn(
            [](ipc::event hear, ipc::event say) -> task<> {
                for (int i = 0; i < times; ++i) {
                    co_await hear.wait();
                    hear.clear();
                    say.set();
                }
            },
            there.share(), back.share());
        for (int i = 0; i < times; ++i) {
            there.set();
            co_await back.wait();
            back.clear();
            if (i % 50 == 0) co_await sleep_for(1ms);  // long enough for the other to sleep
        }
        co_await child.join();
    });
}

TEST_CASE("one set of an ipc event is one, even if it is cleared at once") {
    // Somebody sleeps, as far as the event knows, and has cleared it before set() is over.
    if (!io::has_futex_wait()) return;  // then both are under a lock
    ipc::event e;
    handled = &e;
    loop l;
    static_cast<void>(l.fd());
    bool woken = false;
    l.start([&]() -> task<> {
        co_await e.wait();
        woken = true;
    });
    l.poll();
    static int wakes;
    wakes = 0;
    support::on_system_call = [](const support::system_call& call) {
        if (call.number != SYS_futex || !call.result) return;
        if (++wakes < 10) handled->clear();
    };
    e.set();
    support::on_system_call = nullptr;
    CHECK(wakes == 1);
    CHECK(!e.is_set());
    for (int i = 0; i < 100 && !woken; ++i) l.poll();
    CHECK(woken);
}

TEST_CASE("an ipc event is set from a signal handler") {
    both_ways([]() -> task<> {
        ipc::event e;
        handled = &e;
        struct ::sigaction act{};
        struct ::sigaction before{};
        act.sa_handler = [](int) { handled->set(); };
        ::sigaction(SIGUSR1, &act, &before);
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> { co_await e.wait(); });
            co_await turns();
            ::kill(::getpid(), SIGUSR1);
        });
        CHECK(e.is_set());
        ::sigaction(SIGUSR1, &before, nullptr);
    });
}

TEST_CASE("processes that wait for an ipc event are killed, and set blocks nobody") {
    both_ways([]() -> task<> {
        ipc::event e;
        signal_pipe up;
        signal_pipe after;
        std::vector<ipc::process<>> children;
        for (int i = 0; i < 4; ++i)
            children.push_back(
                ipc::spawn(wait_and_say, e.share(), up.say.duplicate(), after.say.duplicate()));
        for (int i = 0; i < 4; ++i) {
            bool is_up = co_await told(up.hear);
            CHECK(is_up);
        }
        co_await sleep_for(2ms);
        for (int i = 0; i < 3; ++i) {
            children[i].kill();
            co_await children[i].wait();
        }
        e.set();
        co_await children[3].join();
        co_await e.wait();
    });
}

TEST_CASE("processes that set an ipc event are killed at random, and every set is seen") {
    const std::uint64_t start = announced_seed("event_test");
    both_ways([start]() -> task<> {
        std::mt19937_64 random(start);
        for (int round = 0; round < 60; ++round) {
            ipc::event e;
            auto setter = ipc::spawn(
                [](ipc::event its) -> task<> {
                    for (;;) {
                        its.set();
                        its.clear();
                    }
                },
                e.share());
            // Whenever it dies: if the flag is set, nobody sleeps over it.
            int passed = 0;
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start([&]() -> task<> {
                    for (;;) {
                        co_await e.wait();
                        ++passed;
                        co_await yield();
                    }
                });
                co_await sleep_for(std::chrono::microseconds(random() % 3000));
                setter.kill();
                co_await setter.wait();
                co_await turns();
                const int before = passed;
                if (e.is_set()) {
                    while (passed == before) co_await yield();
                } else {
                    e.set();
                    while (passed == before) co_await sleep_for(100us);
                }
                n.cancel();
            });
            CHECK(passed > 0);
        }
    });
}

TEST_CASE("an ipc event in a race, and one whose loop ends while it is waited for") {
    both_ways([]() -> task<> {
        ipc::event e;
        auto ends = co_await race(e.share().wait(), sleep_for(1ms));
        CHECK(!std::get<0>(ends));
        std::thread other([&] {
            loop l;
            l.start([](ipc::event its) -> task<> { co_await its.wait(); }, e.share());
            for (int i = 0; i < 3; ++i) l.poll();
        });
        other.join();
        // Two loops, one after the other, on a thread of their own.
        std::atomic<int> state = 0;
        std::thread sleeper([&] {
            run([&]() -> task<> {
                bool got = co_await with_timeout(e.wait(), 1ms);
                state = got ? -1 : 1;
            });
            run([&]() -> task<> { co_await e.wait(); });
        });
        while (state == 0) co_await sleep_for(100us);
        co_await sleep_for(2ms);
        e.set();
        sleeper.join();
        CHECK(state == 1);
    });
}

TEST_CASE("an ipc event that was moved from, and what was no event") {
    ipc::event e;
    const ipc::event other = std::move(e);
    CHECK_THROWS_AS(e.set(), std::invalid_argument);    // NOLINT: what is tested
    CHECK_THROWS_AS(e.share(), std::invalid_argument);  // NOLINT
    unique_fd memory(::memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ipc::encoder out;
    out.write_handle(memory.get());
    out.write_handle(-1);
    out.write_handle(-1);
    std::vector<unique_fd> handles;
    handles.push_back(memory.duplicate());
    CHECK_THROWS_AS(ipc::decode<ipc::event>(out.bytes(), handles), std::system_error);
}

TEST_CASE("an ipc event is refused under virtual time") {
    loop_options options;
    options.virtual_time = true;
    bool refused = false;
    run(
        [&]() -> task<> {
            ipc::event e;
            try {
                co_await e.wait();
            } catch (const std::logic_error&) {
                refused = true;
            }
        },
        options);
    CHECK(refused);
}

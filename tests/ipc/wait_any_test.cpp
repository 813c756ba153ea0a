// SPDX-License-Identifier: MIT
#include <runnel/ipc/wait_any.hpp>

#include <csignal>

#include <runnel/ipc.hpp>

#include "message_tools.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

template <class T>
concept can_be_waited_for = std::convertible_to<const T&, ipc::waitable>;
static_assert(can_be_waited_for<ipc::receiver<int>> && can_be_waited_for<ipc::connection<int>>);
static_assert(!can_be_waited_for<ipc::sender<int>> && can_be_waited_for<int>);
static_assert(atomic_awaitable<decltype(ipc::wait_any(1, 2))>);

template <class A>
task<std::error_code> error_of(A awaited) {
    std::error_code code;
    try {
        static_cast<void>(co_await std::move(awaited));
    } catch (const std::system_error& e) {
        code = e.code();
    }
    co_return code;
}

}  // namespace

TEST_CASE("wait_any gives all that are ready, of different types, and takes nothing") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            auto one = ipc::pipe<int>();
            auto two = ipc::pipe<std::string>(ipc::simplex);
            auto three = ipc::pipe<ipc::bytes>();
            const std::string text(300000, 'x');
            co_await two.sender.send(text);
            three.second.close();
            for (int i = 0; i < 2; ++i) {
                auto ready = co_await ipc::wait_any(one.first, two.receiver, three.first);
                CHECK(ready.to_string() == "110");
            }
            auto got = co_await two.receiver.recv();
            CHECK((got == text));
            std::vector<ipc::waitable> all{one.first, two.receiver};
            co_await one.second.send(1);
            auto which = co_await ipc::wait_any(all);
            CHECK(which == std::vector<std::size_t>{0});
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("wait_any wakes for a message that comes later") {
    run([]() -> task<> {
        auto one = ipc::pipe<int>();
        auto two = ipc::pipe<int>(ipc::simplex);
        std::string which;
        auto wait = [&]() -> task<> {
            auto ready = co_await ipc::wait_any(one.first, two.receiver);
            which = ready.to_string();
        };
        auto send = [&]() -> task<> {
            co_await sleep_for(1ms);
            co_await two.sender.send(1);
        };
        co_await when_all(wait(), send());
        CHECK(which == "10");
        auto got = co_await two.receiver.recv();
        CHECK(got == 1);
    });
}

TEST_CASE("wait_any ends by a timeout, by a close, and at once where an end is closed already") {
    run([]() -> task<> {
        auto one = ipc::pipe<int>();
        auto two = ipc::pipe<int>();
        auto none = co_await with_timeout(ipc::wait_any(one.first, two.first), 1ms);
        CHECK(!none);
        std::vector<ipc::waitable> nobody;
        auto empty = co_await ipc::wait_any(nobody);
        CHECK(empty.empty());

        std::error_code code;
        auto wait = [&]() -> task<> {
            code = co_await error_of(ipc::wait_any(one.first, two.first));
        };
        auto drop = [&]() -> task<> {
            co_await yield();
            two.first = {};
        };
        co_await when_all(wait(), drop());
        CHECK(code == errc::closed);
        code = co_await error_of(ipc::wait_any(one.first, two.first));
        CHECK(code == errc::closed);
        const auto bad = co_await error_of(ipc::wait_any(one.first, 1000000));
        CHECK(bad == std::errc::bad_file_descriptor);
    });
}

TEST_CASE("wait_any leaves nothing behind when its loop is destroyed while it waits") {
    const descriptor_count before;
    {
        auto one = ipc::pipe<int>();
        auto two = ipc::pipe<int>();
        loop l;
        l.start([&]() -> task<> {
            auto ready = co_await ipc::wait_any(one.first, two.first);
            (void)ready;
        });
        for (int i = 0; i < 3; ++i) l.poll();
    }
    CHECK(before.unchanged());
}

TEST_CASE("wait_any goes by the sentinel of a process, and by the end of one that was killed") {
    run([]() -> task<> {
        auto ends = ipc::pipe<int>(ipc::simplex);
        auto child = ipc::spawn(
            [](ipc::sender<int> out) -> task<> {
                co_await out.send(1);
                co_await sleep_for(20s);
            },
            std::move(ends.sender));
        auto first = co_await ipc::wait_any(child.sentinel(), ends.receiver);
        CHECK(first.to_string() == "10");
        auto got = co_await ends.receiver.recv();
        CHECK(got == 1);
        child.kill();
        bool gone = false, end = false;
        while (!gone || !end) {
            auto ready = co_await ipc::wait_any(child.sentinel(), ends.receiver);
            gone |= ready[0];
            end |= ready[1];
        }
        auto nothing = co_await ends.receiver.recv();
        CHECK(!nothing);
        auto status = co_await child.wait();
        CHECK(!status.success());
    });
}

// SPDX-License-Identifier: MIT
#include <runnel/ipc/wait_any.hpp>

#include <csignal>

#include <runnel/ipc.hpp>

#include "message_tools.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"
#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

template <class T>
concept can_be_waited_for = std::convertible_to<const T&, ipc::waitable>;
static_assert(can_be_waited_for<ipc::receiver<int>> && can_be_waited_for<ipc::connection<int>>);
static_assert(!can_be_waited_for<ipc::sender<int>> && can_be_waited_for<int>);
static_assert(!can_be_waited_for<bool> && !can_be_waited_for<long> && !can_be_waited_for<char>);
static_assert(atomic_awaitable<decltype(ipc::wait_any(1, 2))>);

/// What it came to; timed_out if it did not end.
task<std::error_code> with_timeout_or(task<std::error_code> awaited) {
    auto code = co_await with_timeout(std::move(awaited), 2s);
    co_return code.value_or(std::make_error_code(std::errc::timed_out));
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

TEST_CASE("wait_any refuses what cannot be waited for, even where something else is ready") {
    run([]() -> task<> {
        auto one = ipc::pipe<int>();
        auto two = ipc::pipe<int>();
        co_await one.second.send(1);
        const auto bad = [](auto... all) { return error_of(ipc::wait_any(all...)); };
        std::error_code code = co_await with_timeout_or(bad(-1, one.first.native_handle()));
        CHECK(code == std::errc::bad_file_descriptor);
        code = co_await with_timeout_or(bad(one.first.native_handle(), -5));
        CHECK(code == std::errc::bad_file_descriptor);
        two.first.close();
        code = co_await with_timeout_or(error_of(ipc::wait_any(two.first, one.first)));
        CHECK(code == errc::closed);
        std::vector<ipc::waitable> some{one.first, two.first};
        code = co_await with_timeout_or(error_of(ipc::wait_any(some)));
        CHECK(code == errc::closed);
        some = {one.first, -1};
        code = co_await with_timeout_or(error_of(ipc::wait_any(some)));
        CHECK(code == std::errc::bad_file_descriptor);
        const ipc::receiver<int> none;
        code = co_await with_timeout_or(error_of(ipc::wait_any(one.first, none)));
        CHECK(code == errc::closed);
    });
}

TEST_CASE("what is waited for may be known for longer than the loop is there") {
    std::vector<ipc::waitable> known;
    auto one = ipc::pipe<int>();
    run([&]() -> task<> {
        known.emplace_back(one.first);
        const auto ready = co_await with_timeout(ipc::wait_any(known), 1ms);
        CHECK(!ready);
    });
    one.first.close();  // in no loop
    CHECK(known.front().native_handle() == -1);
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

// SPDX-License-Identifier: MIT
// Several messages at a time.
#include <numeric>

#include <runnel/ipc/pipe.hpp>
#include <runnel/runnel.hpp>

#include "message_tools.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"
#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

template <class T>
concept has_batches =
    requires(ipc::connection<T>& c, std::span<const T> v) { c.send_batch(v), c.recv_batch(); };
static_assert(has_batches<int> && has_batches<std::array<double, 100>>);
static_assert(!has_batches<std::string> && !has_batches<unique_fd> && !has_batches<ipc::bytes>);

std::vector<int> counted(int from, int count) {
    std::vector<int> made(static_cast<std::size_t>(count));
    std::iota(made.begin(), made.end(), from);
    return made;
}

}  // namespace

TEST_CASE("a batch arrives in order, and mixes with single messages") {
    run([]() -> task<> {
        auto ends = ipc::pipe<int>(ipc::simplex);
        const std::vector<int> five = counted(0, 5);
        auto sent = co_await ends.sender.send_batch(five);
        CHECK(sent == 5);
        co_await ends.sender.send(5);
        auto first = co_await ends.receiver.recv();
        CHECK(first == 0);
        auto two = co_await ends.receiver.recv_batch(2);
        CHECK(two == counted(1, 2));
        auto rest = co_await ends.receiver.recv_batch();
        CHECK(rest == counted(3, 3));
        auto none = co_await ends.sender.send_batch(std::span<const int>());
        CHECK(none == 0);
        const bool any = co_await ends.receiver.poll();
        CHECK(!any);
    });
}

TEST_CASE("a stream of batches keeps its order, however they are cut") {
    run([]() -> task<> {
        auto ends = ipc::pipe<int>(ipc::simplex);
        constexpr int count = 20000;
        const std::vector<int> all = counted(0, count);
        auto send = [&]() -> task<> {
            std::span<const int> left = all;
            while (!left.empty()) {
                const std::size_t sent = co_await ends.sender.send_batch(left);
                left = left.subspan(sent);
            }
            ends.sender.close();
        };
        std::vector<int> got;
        auto receive = [&]() -> task<> {
            for (;;) {
                auto some = co_await ends.receiver.recv_batch(got.size() % 70 + 1);
                if (some.empty()) break;
                got.insert(got.end(), some.begin(), some.end());
            }
        };
        co_await when_all(send(), receive());
        CHECK((got == all));
    });
}

TEST_CASE("a batch waits for its first message only, and can time out with none taken") {
    run([]() -> task<> {
        auto ends = ipc::pipe<int>();
        auto none = co_await with_timeout(ends.first.recv_batch(), 1ms);
        CHECK(!none);
        std::vector<int> got;
        auto receive = [&]() -> task<> { got = co_await ends.first.recv_batch(); };
        auto send = [&]() -> task<> {
            co_await yield();
            co_await ends.second.send(1);
        };
        co_await when_all(receive(), send());
        CHECK(got == counted(1, 1));
    });
}

TEST_CASE("a batch to nobody throws broken_pipe, from nobody is empty, on a closed end throws") {
    run([]() -> task<> {
        auto ends = ipc::pipe<int>();
        const std::vector<int> two = counted(0, 2);
        ends.second.close();
        auto end = co_await ends.first.recv_batch();
        CHECK(end.empty());
        const auto broken = co_await error_of(ends.first.send_batch(two));
        CHECK(broken == std::errc::broken_pipe);
        ends.first.close();
        const auto in = co_await error_of(ends.first.recv_batch());
        const auto out = co_await error_of(ends.first.send_batch(two));
        CHECK(in == errc::closed);
        CHECK(out == errc::closed);
    });
}

TEST_CASE("a malformed message behind good ones is told after them") {
    run([]() -> task<> {
        for (int kind = 0; kind < 4; ++kind) {
            auto ends = ipc::pipe<int>();
            const int to = ends.first.native_handle();
            raw_message bad = message_of(9);
            if (kind == 0) bad.head.magic = 1;
            if (kind == 1) bad.head.length = 3;
            if (kind == 2) bad.body += "more";
            if (kind == 3) bad.head.handles = 1;
            REQUIRE(message_of(7).post(to));
            REQUIRE(message_of(8).post(to));
            REQUIRE(bad.post(to));
            auto good = co_await ends.second.recv_batch();
            CHECK(good == counted(7, 2));
            CHECK(ends.second.closed());
            const auto told = co_await error_of(ends.second.recv_batch());
            CHECK(told == errc::protocol);
            const auto again = co_await error_of(ends.second.recv());
            CHECK(again == errc::protocol);

            auto other = ipc::pipe<int>();
            REQUIRE(bad.post(other.first.native_handle()));
            const auto first = co_await error_of(other.second.recv_batch());
            CHECK(first == errc::protocol);
            CHECK(other.second.closed());
        }
    });
}

TEST_CASE("batches need, but for what is given, no allocation") {
    run([]() -> task<> {
        auto ends = ipc::pipe<int>(ipc::simplex);
        const std::vector<int> many = counted(0, 64);
        for (int i = 0; i < 4; ++i) {
            const std::size_t before = allocations();
            auto sent = co_await ends.sender.send_batch(many);
            const std::size_t between = allocations();
            auto got = co_await ends.receiver.recv_batch(sent);
            const std::size_t after = allocations();
            CHECK(got.size() == sent);
            if (i == 0) continue;  // the first ones of a thread make the buffers of all
            CHECK(between == before);
            CHECK(after <= between + 1);
        }
    });
}

namespace {

/// A number whose bytes may be those of none.
struct fussy {
    int value = 0;
};
struct not_wanted {};

}  // namespace

template <>
struct ipc::codec<fussy> {
    static constexpr std::uint64_t signature = 0x6675737379;
    static constexpr std::size_t fixed_size = 4;
    static void encode(encoder& out, const fussy& from) { out.write(from.value); }
    static fussy decode(decoder& in) {
        const fussy made{in.read<int>()};
        if (made.value == 13) throw not_wanted();
        if (made.value == 14) throw std::system_error(EDOM, std::system_category());
        return made;
    }
};

TEST_CASE("whatever a codec throws for one of a batch, those before it are received") {
    run([]() -> task<> {
        for (const int bad : {13, 14}) {
            auto ends = ipc::pipe<fussy>();
            const std::vector<fussy> all{{1}, {2}, {bad}, {3}};
            co_await ends.first.send_batch(all);
            auto good = co_await ends.second.recv_batch();
            REQUIRE(good.size() == 2);
            CHECK(good[1].value == 2);
            CHECK(ends.second.closed());
            const auto told = co_await error_of(ends.second.recv_batch());
            CHECK(told == errc::protocol);

            auto other = ipc::pipe<fussy>();
            const auto alone = std::span(all).subspan(2);
            co_await other.first.send_batch(alone);
            bool thrown = false;
            try {
                auto got = co_await other.second.recv_batch();
                CHECK(got.empty());
            } catch (const not_wanted&) {
                thrown = bad == 13;
            } catch (const std::system_error& e) {
                thrown = e.code().value() == EDOM;
            }
            CHECK(thrown);
            CHECK(other.second.closed());
        }
    });
}

// SPDX-License-Identifier: MIT
#include <runnel/ipc/bytes.hpp>

#include <string>
#include <string_view>

#include <runnel/ipc/pipe.hpp>
#include <runnel/runnel.hpp>

#include "message_tools.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

ipc::bytes some(std::size_t size) {
    ipc::bytes made(size);
    for (std::size_t i = 0; i != size; ++i) made[i] = static_cast<std::byte>(i * 7 + i / 251);
    return made;
}
bool same(const std::optional<ipc::bytes>& got, std::string_view text) {
    return got && std::ranges::equal(*got, bytes_of(text));
}
template <class A>
task<std::string> refusal(A awaited) {
    std::string why = "nothing was refused";
    try {
        static_cast<void>(co_await std::move(awaited));
    } catch (const std::exception& e) {
        why = e.what();
    }
    co_return why;
}
bool mentions(const std::string& text, const char* what) {
    UNSCOPED_INFO(text);
    return text.find(what) != std::string::npos;
}

template <class T>
concept has_bytes = requires(T& t, std::span<const std::byte> b) { t.send_bytes(b); };
static_assert(has_bytes<ipc::connection<ipc::bytes>> && has_bytes<ipc::sender<ipc::bytes>>);
static_assert(!has_bytes<ipc::receiver<ipc::bytes>> && !has_bytes<ipc::connection<std::string>>);

}  // namespace

TEST_CASE("bytes of any size come out as they went in, whichever way they are received") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            auto ends = ipc::pipe<ipc::bytes>();
            constexpr std::size_t limit = ipc::detail::largest_datagram_body;
            for (const std::size_t size :
                 {std::size_t{0}, std::size_t{1}, std::size_t{100}, limit, limit + 1,
                  std::size_t{1} << 20, (std::size_t{4} << 20) + 3}) {
                const ipc::bytes all = some(size);
                ipc::bytes room(size + 3);
                co_await ends.first.send(all);
                auto a = co_await ends.second.recv();
                CHECK((a == all));
                co_await ends.first.send_bytes(all);
                auto b = co_await ends.second.recv_bytes();
                CHECK((b == all));
                co_await ends.first.send_bytes(all);
                auto n = co_await ends.second.recv_bytes_into(room, 3);
                CHECK(n == size);
                CHECK((std::equal(all.begin(), all.end(), room.begin() + 3)));
            }
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("a message of bytes is its bytes and no count") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>();
        co_await ends.first.send_bytes(bytes_of("abc"));
        char text[100];
        const auto n = ::recv(ends.second.native_handle(), text, sizeof text, 0);
        CHECK(n == 24 + 3);
        CHECK(std::string_view(text + 24, 3) == "abc");
    });
}

TEST_CASE("an offset or size beyond the buffer is refused, but not before a closed handle") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>();
        const auto text = bytes_of("abcde");
        std::array<std::byte, 4> room{};
        const std::string a = co_await refusal(ends.first.send_bytes(text, 6));
        CHECK(mentions(a, "send_bytes: offset 6"));
        const std::string b = co_await refusal(ends.first.send_bytes(text, 2, 4));
        CHECK(mentions(b, "send_bytes: size 4"));
        const std::string c = co_await refusal(ends.first.recv_bytes_into(room, 5));
        CHECK(mentions(c, "recv_bytes_into: offset 5"));
        const bool any = co_await ends.second.poll();
        CHECK(!any);
        ends.first.close();
        const std::string d = co_await refusal(ends.first.send_bytes(text, 6));
        CHECK(mentions(d, "closed"));
        const std::string e = co_await refusal(ends.first.recv_bytes_into(room, 5));
        CHECK(mentions(e, "closed"));
        auto end = co_await ends.second.recv_bytes_into(room);
        CHECK(!end);
    });
}

TEST_CASE("a message longer than asked for is lost, and the next one comes") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
            for (const std::size_t size : {std::size_t{11}, std::size_t{300000}}) {
                const ipc::bytes all = some(size);
                co_await ends.sender.send(all);
                co_await ends.sender.send_bytes(bytes_of("next"));
                std::error_code code;
                try {
                    auto got = co_await ends.receiver.recv_bytes(10);
                    CHECK(!got);
                } catch (const std::system_error& e) {
                    code = e.code();
                }
                CHECK(code == errc::message_too_long);
                auto next = co_await ends.receiver.recv_bytes(4);
                CHECK(same(next, "next"));
            }
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("a buffer that is too short gets nothing, and the message is in the exception") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
            for (const std::size_t size : {std::size_t{11}, std::size_t{300000}}) {
                const ipc::bytes all = some(size);
                co_await ends.sender.send(all);
                co_await ends.sender.send_bytes(bytes_of("next"));
                std::array<std::byte, 12> room{};
                std::optional<ipc::buffer_too_short> thrown;
                try {
                    auto n = co_await ends.receiver.recv_bytes_into(room, 2);
                    CHECK(!n);
                } catch (const ipc::buffer_too_short& e) {
                    thrown = e;
                }
                REQUIRE(thrown.has_value());
                CHECK(thrown->code() == errc::message_too_long);
                CHECK((thrown->message() == all));
                CHECK((thrown->take_message() == all));
                CHECK(room == std::array<std::byte, 12>{});
                auto next = co_await ends.receiver.recv_bytes_into(room);
                CHECK(next == 4u);
            }
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("bytes that are sent or received into a buffer cost no allocation") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
        const ipc::bytes small = some(1000), large = some(1 << 20);
        ipc::bytes room(1 << 20);
        std::size_t during = 1;
        for (int i = 0; i < 4; ++i) {
            const std::size_t before = allocations();
            co_await ends.sender.send_bytes(small);
            auto a = co_await ends.receiver.recv_bytes_into(room);
            co_await ends.sender.send_bytes(large);
            auto b = co_await ends.receiver.recv_bytes_into(room);
            during = allocations() - before;
            CHECK(a == small.size());
            CHECK(b == large.size());
        }
        CHECK(during == 0);
    });
}

TEST_CASE("waiting for bytes ends by a timeout, a close, or the peer's end") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>();
        std::array<std::byte, 10> room{};
        auto none = co_await with_timeout(ends.first.recv_bytes_into(room), 1ms);
        CHECK(!none);
        auto nothing = co_await with_timeout(ends.first.recv_bytes(), 1ms);
        CHECK(!nothing);
        std::string closed;
        auto wait = [&]() -> task<> { closed = co_await refusal(ends.first.recv_bytes()); };
        auto close = [&]() -> task<> {
            co_await yield();
            ends.first.close();
        };
        co_await when_all(wait(), close());
        CHECK(mentions(closed, "closed"));
        auto end = co_await ends.second.recv_bytes();
        CHECK(!end);
    });
}

TEST_CASE("ends know what they can do") {
    auto both = ipc::pipe<ipc::bytes>();
    auto one = ipc::pipe<int>(ipc::simplex);
    CHECK((both.first.readable() && both.first.writable()));
    CHECK((one.receiver.readable() && !one.receiver.writable()));
    CHECK((!one.sender.readable() && one.sender.writable()));
    both.first.close();
    one.receiver.close();
    one.sender.close();
    CHECK((!both.first.readable() && !both.first.writable() && both.first.closed()));
    CHECK((!one.receiver.readable() && !one.sender.writable()));
}

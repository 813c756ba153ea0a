// SPDX-License-Identifier: MIT
// Programs as users write them: bytes, lines, servers and clients.
#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <runnel/runnel.hpp>

#include "programs/expect.hpp"
#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

task<> echo(byte_stream peer) {
    std::array<std::byte, 64> buffer;
    while (auto n = co_await peer.read(buffer)) co_await peer.write_all(std::span(buffer).first(n));
}
task<> upper(byte_stream& peer) {
    while (auto line = co_await peer.read_until('\n')) {
        std::transform(line->begin(), line->end(), line->begin(),
                       [](char c) { return char(std::toupper(c)); });
        co_await peer.write_all(*line + "\n");
    }
}
task<std::string> ask(byte_stream& server, std::string question) {
    co_await server.write_all(question + "\n");
    auto answer = co_await server.read_until('\n');
    co_return answer.value_or("(none)");
}

}  // namespace

TEST_CASE("an echo server and its client") {
    const std::string got = run([]() -> task<std::string> {
        auto ends = make_socket_pair();
        std::string all;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(echo, std::move(ends.first));
            co_await ends.second.write_all("one\ntwo\n");
            for (int i = 0; i < 2; ++i)
                if (auto line = co_await ends.second.read_until('\n')) all += *line + ";";
            ends.second.close();
        });
        co_return all;
    });
    CHECK(got == "one;two;");
}

TEST_CASE("questions and answers, line by line") {
    run([]() -> task<> {
        auto [server, client] = make_socket_pair();
        auto& s = server;
        auto& c = client;
        co_await open_nursery([&s, &c](nursery& n) -> task<> {
            n.start(upper, std::ref(s));
            std::string all = co_await ask(c, "hello") + " " + co_await ask(c, "world");
            CHECK(all == "HELLO WORLD");
            c.close();
        });
    });
}

TEST_CASE("copy a large text through a pipe") {
    const std::string sent(300'000, 'x');
    const std::string got = run([&]() -> task<std::string> {
        auto ends = make_pipe();
        auto writer = [](byte_writer to, const std::string& text) -> task<> {
            co_await to.write_all(text);
        };
        auto both = co_await when_all(writer(std::move(ends.writer), sent),
                                      ends.reader.read_all(1'000'000));
        co_return std::get<1>(both);
    });
    CHECK(got == sent);
}

TEST_CASE("a header of fixed size, then a body") {
    struct header {
        std::uint32_t kind, length;
    };
    run([]() -> task<> {
        auto ends = make_pipe();
        header h{7, 5};
        co_await ends.writer.write_all(std::as_bytes(std::span(&h, 1)));
        co_await ends.writer.write_all("abcde");
        header got{};
        co_await ends.reader.read_exactly(std::as_writable_bytes(std::span(&got, 1)));
        std::string body(got.length, ' ');
        co_await ends.reader.read_exactly(std::as_writable_bytes(std::span(body)));
        CHECK(body == "abcde");
    });
}

TEST_CASE("a client gives up on a silent server") {
    run([]() -> task<> {
        auto [silent, client] = make_socket_pair();
        if (auto line = co_await with_timeout(client.read_until('\n'), 1ms))
            FAIL("there is nothing to read");
        bool closed = false;
        try {
            silent.close();
            co_await client.write_all("x");
        } catch (const std::system_error& e) {
            closed = e.code() == std::errc::broken_pipe;
        }
        CHECK(closed);
        expect(!co_await client.read_until('\n'));
    });
}

TEST_CASE("a chat: everybody hears everybody") {
    std::map<std::string, std::string> heard;
    run([&]() -> task<> {
        std::vector<byte_stream> members;
        std::vector<byte_stream> seats;
        for (int i = 0; i < 3; ++i) {
            auto [a, b] = make_socket_pair();
            members.push_back(std::move(a));
            seats.push_back(std::move(b));
        }
        auto room = [&](byte_stream& seat) -> task<> {
            while (auto line = co_await seat.read_until('\n'))
                for (auto& other : seats)
                    if (&other != &seat) co_await other.write_all(*line + "\n");
        };
        auto member = [&](byte_stream& me, std::string name) -> task<> {
            co_await me.write_all(name + " says hello\n");
            for (int i = 0; i < 2; ++i) heard[name] += *co_await me.read_until('\n') + ".";
        };
        co_await open_nursery([&](nursery& n) -> task<> {
            for (auto& seat : seats) n.start(room, std::ref(seat));
            co_await when_all(member(members[0], "ann"), member(members[1], "bob"),
                              member(members[2], "cyd"));
            n.cancel();
        });
    });
    CHECK(heard.size() == 3);
    CHECK(heard["ann"].find("bob says hello.") != std::string::npos);
    CHECK(heard["cyd"].find("ann says hello.") != std::string::npos);
}

TEST_CASE("a proxy copies in both directions until one side ends") {
    auto pump = [](byte_stream& from, byte_stream& to) -> task<> {
        std::array<std::byte, 100> buffer;
        for (;;) {
            std::size_t n = co_await from.read(buffer);
            if (n == 0) break;
            co_await to.write_all(std::span(buffer).first(n));
        }
        to.close();
    };
    const std::string got = run([&]() -> task<std::string> {
        auto left = make_socket_pair();
        auto right = make_socket_pair();
        std::string answer;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                co_await race(pump(left.second, right.first), pump(right.first, left.second));
            });
            n.start(echo, std::move(right.second));
            co_await left.first.write_all("through the proxy");
            std::array<std::byte, 17> buffer;
            co_await left.first.read_exactly(buffer);
            answer.assign(reinterpret_cast<const char*>(buffer.data()), buffer.size());
            left.first.close();
        });
        co_return answer;
    });
    CHECK(got == "through the proxy");
}

TEST_CASE("errors say what was done to what") {
    std::string said;
    run([&]() -> task<> {
        auto ends = make_pipe();
        ends.reader.close();
        try {
            co_await ends.writer.write_all("x");
        } catch (const std::system_error& e) {
            said = e.what();
        }
        auto closed = co_await as_result(ends.reader.read_until('\n'));
        CHECK(closed.error() == errc::closed);
    });
    CHECK(said.find("write") != std::string::npos);
}

TEST_CASE("a server that serves two at once and stops") {
    int served = 0;
    run([&]() -> task<> {
        event stop;
        std::vector<byte_stream> clients;
        auto session = [&](byte_stream peer) -> task<> {
            while (auto line = co_await peer.read_until('\n')) {
                ++served;
                if (*line == "stop") stop.set();
            }
        };
        co_await open_nursery(isolate([](std::exception_ptr) {}), [&](nursery& n) -> task<> {
            for (int i = 0; i < 2; ++i) {
                auto ends = make_socket_pair();
                clients.push_back(std::move(ends.second));
                n.start(session, std::move(ends.first));
            }
            for (auto& c : clients) co_await c.write_all("one\ntwo\n");
            co_await clients[1].write_all("stop\n");
            co_await stop.wait();
            for (auto& c : clients) c.close();
            expect(co_await n.join_or_cancel_after(10s));
        });
    });
    CHECK(served == 5);
}

TEST_CASE("raw operations on a descriptor") {
    run([]() -> task<> {
        int fds[2];
        REQUIRE(::pipe(fds) == 0);
        unique_fd in(fds[0]), out(fds[1]);
        expect(co_await io::write(out.get(), std::as_bytes(std::span("abc", 3))) == 3);
        if ((co_await readable(in.get()) & POLLIN) == 0) FAIL("not readable");
        std::array<std::byte, 3> buffer;
        std::size_t n = co_await io::read(in.get(), buffer);
        CHECK(n == 3);
        if (co_await with_timeout(readable(in.get()), 1ms)) FAIL("nothing is there");
        expect(co_await writable(out.get()) != 0);
    });
}

TEST_CASE("lines into words, counted") {
    std::map<std::string, int> counts;
    run([&]() -> task<> {
        auto ends = make_pipe();
        co_await ends.writer.write_all("a b a\nb a\n");
        ends.writer.close();
        while (auto line = co_await ends.reader.read_until('\n')) {
            std::istringstream words(*line);
            for (std::string w; words >> w;) ++counts[w];
        }
    });
    CHECK(counts["a"] == 3);
    CHECK(counts["b"] == 2);
}

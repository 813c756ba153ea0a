// SPDX-License-Identifier: MIT
// What CPython's own tests pin for multiprocessing's Pipe, Connection and connection.wait, one test
// each, named after the original in Lib/test/_test_multiprocessing.py.
#include <algorithm>
#include <csignal>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <runnel/ipc.hpp>

#include "message_tools.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

using clock_type = std::chrono::steady_clock;

ipc::bytes owned(std::string_view text) {
    const auto all = bytes_of(text);
    return {all.begin(), all.end()};
}

/// What an operation throws: "closed", "argument", "broken_pipe", ..., or "" for nothing.
template <class A>
task<std::string> thrown(A awaited) {
    std::string what;
    try {
        static_cast<void>(co_await std::move(awaited));
    } catch (const std::invalid_argument&) {
        what = "argument";
    } catch (const std::system_error& e) {
        what = e.code().message();
    }
    co_return what;
}
const std::string closed = make_error_code(errc::closed).message();

task<> echo(ipc::connection<ipc::bytes> peer) {
    const ipc::bytes sentinel;
    for (;;) {
        auto message = co_await peer.recv_bytes();
        if (!message || message->empty()) break;
        co_await peer.send_bytes(*message);
    }
}

template <class T>
concept sends = requires(T& t) { t.send(1); };
template <class T>
concept receives = requires(T& t) { t.recv(); };
template <class T>
concept polls = requires(T& t) { t.poll(); };

struct fixed_file {
    std::string path = "/tmp/runnel-test-XXXXXX";
    unique_fd file{::mkstemp(path.data())};
    ~fixed_file() { ::unlink(path.c_str()); }
    [[nodiscard]] std::string content() const {
        std::string text(100, '\0');
        text.resize(static_cast<std::size_t>(::pread(file.get(), text.data(), text.size(), 0)));
        return text;
    }
};

task<> write_to(ipc::connection<unique_fd> from, std::string text) {
    auto fd = co_await from.recv();
    if (fd && ::write(fd->get(), text.data(), text.size()) < 0) std::abort();
}

}  // namespace

TEST_CASE("_TestConnection.test_connection", "[cpython]") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>();
        auto child = ipc::spawn(echo, std::move(ends.second));
        auto& conn = ends.first;

        const ipc::bytes message = owned("hello world");
        co_await conn.send(message);
        auto got = co_await conn.recv();
        CHECK(got == message);
        co_await conn.send_bytes(message);
        auto n_message = co_await conn.recv_bytes();
        CHECK(n_message == message);

        // recv_bytes_into, at the beginning, at an offset, and into too small a buffer.
        std::array<std::byte, 40> buffer{};
        co_await conn.send_bytes(message);
        auto n = co_await conn.recv_bytes_into(buffer);
        CHECK(n == message.size());
        CHECK(std::ranges::equal(std::span(buffer).first(message.size()), message));
        buffer = {};
        co_await conn.send_bytes(message);
        n = co_await conn.recv_bytes_into(buffer, 12);
        CHECK(n == message.size());
        CHECK(std::ranges::equal(std::span(buffer).subspan(12, message.size()), message));
        CHECK(buffer[11] == std::byte{0});

        ipc::bytes longer;
        for (int i = 0; i < 40; ++i) longer.insert(longer.end(), message.begin(), message.end());
        co_await conn.send_bytes(longer);
        ipc::bytes complete;
        try {
            n = co_await conn.recv_bytes_into(buffer);
        } catch (const ipc::buffer_too_short& e) {
            complete = e.message();
        }
        CHECK((complete == longer));

        const auto before = clock_type::now();
        bool any = co_await conn.poll();
        CHECK(!any);
        any = co_await conn.poll(-1s);
        CHECK(!any);
        CHECK(clock_type::now() - before < 500ms);
        const auto began = clock_type::now();
        any = co_await conn.poll(50ms);
        CHECK(!any);
        CHECK(clock_type::now() - began >= 50ms);
        co_await conn.send_bytes(message);
        any = co_await conn.poll(20s);
        CHECK(any);
        got = co_await conn.recv();
        CHECK(got == message);

        const ipc::bytes really_big(std::size_t{16} << 20, std::byte{'X'});
        co_await conn.send_bytes(really_big);
        got = co_await conn.recv_bytes();
        CHECK((got == really_big));

        const ipc::bytes sentinel;
        co_await conn.send_bytes(sentinel);
        co_await child.join();
        // The other side is closed: the end, for recv and recv_bytes.
        got = co_await conn.recv();
        CHECK(!got);
        got = co_await conn.recv_bytes();
        CHECK(!got);
        any = co_await conn.poll();
        CHECK(any);
    });
}

TEST_CASE("_TestConnection.test_duplex_false", "[cpython]") {
    run([]() -> task<> {
        auto ends = ipc::pipe<int>(ipc::simplex);
        co_await ends.sender.send(1);
        auto got = co_await ends.receiver.recv();
        CHECK(got == 1);
        CHECK((ends.receiver.readable() && !ends.receiver.writable()));
        CHECK((!ends.sender.readable() && ends.sender.writable()));
        // The wrong direction does not compile.
        CHECK(!sends<ipc::receiver<int>>);
        CHECK(!receives<ipc::sender<int>>);
        CHECK(!polls<ipc::sender<int>>);
    });
}

TEST_CASE("_TestConnection.test_spawn_close", "[cpython]") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>();
        auto child = ipc::spawn(echo, std::move(ends.second));
        CHECK(ends.second.closed());  // here, while the child has it
        const ipc::bytes message = owned("hello");
        co_await ends.first.send_bytes(message);
        auto got = co_await ends.first.recv_bytes();
        CHECK(got == message);
        ends.first.close();
        co_await child.join();
    });
}

TEST_CASE("_TestConnection.test_sendbytes", "[cpython]") {
    run([]() -> task<> {
        const auto msg = bytes_of("abcdefghijklmnopqrstuvwxyz");
        auto ends = ipc::pipe<ipc::bytes>();
        auto& a = ends.first;
        auto& b = ends.second;
        const auto is = [&](const std::optional<ipc::bytes>& got, std::size_t from,
                            std::size_t size) {
            return got && std::ranges::equal(*got, msg.subspan(from, size));
        };
        co_await a.send_bytes(msg);
        auto got = co_await b.recv_bytes();
        CHECK(is(got, 0, 26));
        co_await a.send_bytes(msg, 5);
        got = co_await b.recv_bytes();
        CHECK(is(got, 5, 21));
        co_await a.send_bytes(msg, 7, 8);
        got = co_await b.recv_bytes();
        CHECK(is(got, 7, 8));
        co_await a.send_bytes(msg, 26);
        got = co_await b.recv_bytes();
        CHECK(is(got, 0, 0));
        co_await a.send_bytes(msg, 26, 0);
        got = co_await b.recv_bytes();
        CHECK(is(got, 0, 0));
        const std::pair<std::size_t, std::size_t> wrong[] = {
            {27, ipc::npos}, {22, 5}, {26, 1}, {0, 27}, {ipc::npos, 1}};
        for (const auto& [offset, size] : wrong) {
            const std::string why = co_await thrown(a.send_bytes(msg, offset, size));
            CHECK(why == "argument");
        }
    });
}

TEST_CASE("_TestConnection.test_fd_transfer", "[cpython]") {
    run([]() -> task<> {
        const fixed_file out;
        auto ends = ipc::pipe<unique_fd>();
        auto child = ipc::spawn(write_to, std::move(ends.second), std::string("foo"));
        unique_fd copy = out.file.duplicate();
        co_await ends.first.send(copy);
        co_await child.join();
        CHECK(out.content() == "foo");
    });
}

TEST_CASE("_TestConnection.test_large_fd_transfer", "[cpython]") {
    // A descriptor above 256, where select and old formats end.
    run([]() -> task<> {
        const fixed_file out;
        auto ends = ipc::pipe<unique_fd>();
        auto child = ipc::spawn(write_to, std::move(ends.second), std::string("bar"));
        const unique_fd high(::fcntl(out.file.get(), F_DUPFD_CLOEXEC, 300));
        REQUIRE(high.get() >= 300);
        co_await ends.first.send(high);
        co_await child.join();
        CHECK(out.content() == "bar");
    });
}

TEST_CASE("_TestConnection.test_missing_fd_transfer", "[cpython]") {
    // A message that names a descriptor which did not come is refused, and hangs nobody.
    run([]() -> task<> {
        auto ends = ipc::pipe<unique_fd>();
        raw_message message;
        message.body = "\1";
        message.head.length = 1;
        REQUIRE(message.post(ends.first.native_handle()));
        const std::string why = co_await thrown(ends.second.recv());
        CHECK(why == make_error_code(errc::protocol).message());
    });
}

TEST_CASE("_TestConnection.test_context", "[cpython]") {
    run([]() -> task<> {
        ipc::duplex_pipe<int> ends = ipc::pipe<int>();
        {
            auto a = std::move(ends.first);
            auto b = std::move(ends.second);
            co_await a.send(1729);
            auto got = co_await b.recv();
            CHECK(got == 1729);
            CHECK(!a.closed());
            CHECK(!b.closed());
        }
        CHECK(ends.first.closed());
        CHECK(ends.second.closed());
        const std::string in = co_await thrown(ends.first.recv());
        const std::string out = co_await thrown(ends.second.recv());
        CHECK(in == closed);
        CHECK(out == closed);
    });
}

TEST_CASE("TestInvalidHandle.test_invalid_handles", "[cpython]") {
    run([]() -> task<> {
        ipc::connection<int> none;
        CHECK(none.closed());
        CHECK((!none.readable() && !none.writable()));
        CHECK(none.native_handle() == -1);
        const std::string poll = co_await thrown(none.poll());
        const std::string send = co_await thrown(none.send(1));
        const std::string recv = co_await thrown(none.recv());
        CHECK((poll == closed && send == closed && recv == closed));
        none.close();  // again, and nothing happens
    });
}

TEST_CASE("_TestPoll.test_empty_string", "[cpython]") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>();
        bool any = co_await ends.first.poll();
        CHECK(!any);
        const ipc::bytes empty;
        co_await ends.second.send_bytes(empty);
        for (int i = 0; i < 2; ++i) {
            any = co_await ends.first.poll();
            CHECK(any);
        }
        auto got = co_await ends.first.recv_bytes();
        CHECK(got == empty);
        any = co_await ends.first.poll();
        CHECK(!any);
    });
}

TEST_CASE("_TestPoll.test_strings", "[cpython]") {
    run([]() -> task<> {
        const std::vector<std::string> strings = {"hello", "", "a", "b", "", "bye", "", "lop"};
        auto ends = ipc::pipe<ipc::bytes>();
        auto child = ipc::spawn(
            [](ipc::connection<ipc::bytes> out, std::vector<std::string> all) -> task<> {
                for (const auto& one : all) {
                    co_await sleep_for(1ms);
                    co_await out.send_bytes(bytes_of(one));
                }
            },
            std::move(ends.second), strings);
        for (const auto& one : strings) {
            const bool any = co_await ends.first.poll(20s);
            CHECK(any);
            auto got = co_await ends.first.recv_bytes();
            CHECK((got && std::ranges::equal(*got, bytes_of(one))));
        }
        co_await child.join();
    });
}

TEST_CASE("_TestPoll.test_boundaries", "[cpython]") {
    // Polling in another process neither takes nor splits what is read here.
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
        const ipc::bytes first = owned("first"), second = owned("second");
        auto child = ipc::spawn(
            [](ipc::receiver<ipc::bytes> in) -> task<int> {
                int seen = 0;
                for (int i = 0; i < 100; ++i) {
                    const bool any = co_await in.poll(20s);
                    seen += any;
                }
                co_return seen;
            },
            ends.receiver.share());
        co_await ends.sender.send_bytes(first);
        co_await ends.sender.send_bytes(second);
        const int seen = co_await child.join();
        CHECK(seen == 100);
        auto a = co_await ends.receiver.recv_bytes();
        auto b = co_await ends.receiver.recv_bytes();
        CHECK(a == first);
        CHECK(b == second);
    });
}

TEST_CASE("_TestPoll.test_dont_merge", "[cpython]") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>();
        auto& a = ends.first;
        auto& b = ends.second;
        bool any = co_await a.poll(0s);
        CHECK(!any);
        const ipc::bytes one = owned("a"), two = owned("b"), three = owned("c"),
                         four = owned("abcd");
        co_await b.send_bytes(one);
        co_await b.send_bytes(two);
        co_await b.send_bytes(three);
        co_await b.send_bytes(four);
        for (const ipc::bytes& each : {one, two, three, four}) {
            for (int i = 0; i < 3; ++i) {
                any = co_await a.poll(0s);
                CHECK(any);
            }
            auto got = co_await a.recv_bytes();
            CHECK(got == each);
        }
        any = co_await a.poll(0s);
        CHECK(!any);
    });
}

namespace {
int signals = 0;
/// SIGALRM every millisecond, without SA_RESTART, while it lives.
struct interruptions {
    struct ::sigaction old{};
    interruptions() {
        struct ::sigaction act{};
        act.sa_handler = [](int) { ++signals; };
        ::sigaction(SIGALRM, &act, &old);
        every(1000);
    }
    ~interruptions() {
        every(0);
        ::sigaction(SIGALRM, &old, nullptr);
    }
    static void every(int us) {
        const ::itimerval timer{{0, us}, {0, us}};
        ::setitimer(ITIMER_REAL, &timer, nullptr);
    }
};
}  // namespace

TEST_CASE("TestPollEintr.test_poll_eintr", "[cpython]") {
    run([]() -> task<> {
        auto ends = ipc::pipe<int>();
        signals = 0;
        {
            const interruptions on;
            const bool any = co_await ends.first.poll(30ms);
            CHECK(!any);
        }
        CHECK(signals > 0);
    });
}

TEST_CASE("TestIgnoreEINTR.test_ignore", "[cpython]") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>();
        auto child = ipc::spawn(echo, std::move(ends.second));
        signals = 0;
        {
            const interruptions on;
            const ipc::bytes big(std::size_t{4} << 20, std::byte{'x'});
            const ipc::bytes small = owned("ready");
            for (int i = 0; i < 10 || signals == 0; ++i) {
                co_await ends.first.send_bytes(big);
                auto got = co_await ends.first.recv_bytes();
                CHECK((got == big));
                co_await ends.first.send_bytes(small);
                got = co_await ends.first.recv_bytes();
                CHECK(got == small);
            }
        }
        CHECK(signals > 0);
        ends.first.close();
        co_await child.join();
    });
}

TEST_CASE("_TestPicklingConnections.test_pickling", "[cpython]") {
    // A connection goes through a connection to a process that did not have it.
    run([]() -> task<> {
        auto lane = ipc::pipe<ipc::connection<ipc::bytes>>();
        auto child = ipc::spawn(
            [](ipc::connection<ipc::connection<ipc::bytes>> from) -> task<> {
                auto got = co_await from.recv();
                const ipc::bytes hello = owned("HELLO");
                co_await got->send_bytes(hello);
            },
            std::move(lane.second));
        auto ends = ipc::pipe<ipc::bytes>();
        co_await lane.first.send(std::move(ends.second));
        auto got = co_await ends.first.recv_bytes();
        CHECK(got == owned("HELLO"));
        auto end = co_await ends.first.recv_bytes();
        CHECK(!end);
        co_await child.join();
    });
}

TEST_CASE("_TestPicklingConnections.test_access", "[cpython]") {
    // What travels can do no more than what it was made from: each direction by itself.
    run([]() -> task<> {
        auto in_lane = ipc::pipe<ipc::sender<int>>(ipc::simplex);
        auto out_lane = ipc::pipe<ipc::receiver<int>>(ipc::simplex);
        auto child = ipc::spawn(
            [](ipc::receiver<ipc::sender<int>> a, ipc::receiver<ipc::receiver<int>> b) -> task<> {
                auto to = co_await a.recv();
                auto from = co_await b.recv();
                auto got = co_await from->recv();
                co_await to->send(2 * *got);
            },
            std::move(in_lane.receiver), std::move(out_lane.receiver));
        auto there = ipc::pipe<int>(ipc::simplex), back = ipc::pipe<int>(ipc::simplex);
        co_await in_lane.sender.send(std::move(back.sender));
        co_await out_lane.sender.send(std::move(there.receiver));
        co_await there.sender.send(21);
        auto got = co_await back.receiver.recv();
        CHECK(got == 42);
        co_await child.join();
    });
}

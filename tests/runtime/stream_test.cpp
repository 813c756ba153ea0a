// SPDX-License-Identifier: MIT
#include <runnel/stream.hpp>

#include <array>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <span>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/death.hpp"
#include "support/fds.hpp"

using namespace runnel;
using namespace std::chrono_literals;

static_assert(atomic_awaitable<decltype(std::declval<byte_stream&>().read({}))>);
static_assert(atomic_awaitable<decltype(std::declval<byte_stream&>().read_exactly({}))>);
static_assert(atomic_awaitable<decltype(std::declval<byte_stream&>().read_until('\n'))>);
static_assert(atomic_awaitable<decltype(std::declval<byte_stream&>().read_all(1))>);
static_assert(!atomic_awaitable<decltype(std::declval<byte_stream&>().write_all(""))>);

namespace {

std::span<std::byte> bytes_of(std::string& text) { return std::as_writable_bytes(std::span(text)); }

/// Lets what is running reach the kernel.
task<> settle() {
    for (int i = 0; i < 5; ++i) co_await io::nop();
}

task<> read_word(byte_reader& in, std::size_t length, std::vector<std::string>& log) {
    std::string word(length, '\0');
    co_await in.read_exactly(bytes_of(word));
    log.push_back(word);
}

task<> read_line(byte_reader& in, std::vector<std::string>& log) {
    const auto line = co_await in.read_until('\n');
    log.push_back(line.value_or("(end)"));
}

task<> write_block(byte_writer& out, char c, std::size_t length) {
    const std::string block(length, c);
    co_await out.write_all(block);
}

/// What an operation throws, as "code: text".
template <class A>
task<std::string> failure_of(A operation) {
    std::string text = "none";
    try {
        co_await operation;
    } catch (const std::system_error& error) {
        text = error.what();
    }
    co_return text;
}

}  // namespace

// --- read ---

TEST_CASE("read gives what is there, and 0 at the end") {
    run([]() -> task<> {
        auto ends = make_pipe();
        co_await ends.writer.write_all("abc");
        std::string buffer(10, '\0');
        const auto n = co_await ends.reader.read(bytes_of(buffer));
        CHECK(n == 3);
        CHECK(buffer.substr(0, 3) == "abc");
        const auto none = co_await ends.reader.read({});
        CHECK(none == 0);
        ends.writer.close();
        const auto end = co_await ends.reader.read(bytes_of(buffer));
        CHECK(end == 0);
    });
}

TEST_CASE("read takes what was read ahead first") {
    run([]() -> task<> {
        auto ends = make_pipe();
        co_await ends.writer.write_all("line\nrest");
        const auto line = co_await ends.reader.read_until('\n');
        CHECK(line == "line");
        CHECK(ends.reader.buffered().size() == 4);
        std::string two(2, '\0');
        auto n = co_await ends.reader.read(bytes_of(two));
        CHECK(n == 2);
        CHECK(two == "re");
        std::string more(10, '\0');
        n = co_await ends.reader.read(bytes_of(more));
        CHECK(n == 2);
        CHECK(ends.reader.buffered().empty());
    });
}

TEST_CASE("a read that times out takes nothing") {
    run([]() -> task<> {
        auto ends = make_pipe();
        std::string buffer(10, '\0');
        const auto late = co_await with_timeout(ends.reader.read(bytes_of(buffer)), 1ms);
        CHECK_FALSE(late);
        co_await ends.writer.write_all("abc");
        const auto n = co_await with_timeout(ends.reader.read(bytes_of(buffer)), 1s);
        CHECK(n == 3u);
    });
}

// --- read_exactly ---

TEST_CASE("read_exactly waits for all of it") {
    run([]() -> task<> {
        auto ends = make_pipe();
        std::vector<std::string> log;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(read_word(ends.reader, 4, log));
            for (const char* part : {"a", "b", "c"}) {
                co_await ends.writer.write_all(part);
                co_await settle();
                CHECK(log.empty());
            }
            co_await ends.writer.write_all("dX");
        });
        CHECK(log == std::vector<std::string>{"abcd"});
        CHECK(ends.reader.buffered().size() == 1);
    });
}

TEST_CASE("read_exactly reads more than the pipe holds") {
    run([]() -> task<> {
        auto ends = make_pipe();
        constexpr std::size_t size = 1'000'000;
        std::string all(size, '\0');
        co_await when_all(ends.reader.read_exactly(bytes_of(all)),
                          write_block(ends.writer, 'z', size));
        CHECK(all == std::string(size, 'z'));
    });
}

TEST_CASE("an end that comes too early is an error, and what came can be read") {
    run([]() -> task<> {
        auto ends = make_pipe();
        co_await ends.writer.write_all("abc");
        ends.writer.close();
        std::string four(4, '\0');
        const auto got = co_await as_result(ends.reader.read_exactly(bytes_of(four)));
        CHECK(got.error() == errc::truncated);
        const auto rest = co_await ends.reader.read_all(10);
        CHECK(rest == "abc");
    });
}

TEST_CASE("a read_exactly that is cancelled leaves its bytes in the stream") {
    run([]() -> task<> {
        auto ends = make_pipe();
        std::vector<std::string> log;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(read_word(ends.reader, 6, log));
            co_await settle();
            co_await ends.writer.write_all("abc");
            co_await settle();
            n.cancel();
        });
        CHECK(log.empty());
        co_await ends.writer.write_all("def");
        co_await read_word(ends.reader, 6, log);
        CHECK(log == std::vector<std::string>{"abcdef"});
    });
}

// --- read_until ---

TEST_CASE("read_until gives lines, then the rest, then nothing") {
    run([]() -> task<> {
        auto ends = make_pipe();
        co_await ends.writer.write_all("one\n\nthree");
        ends.writer.close();
        std::vector<std::string> lines;
        while (auto line = co_await ends.reader.read_until('\n')) lines.push_back(*line);
        CHECK(lines == std::vector<std::string>{"one", "", "three"});
    });
}

TEST_CASE("a delimiter of several bytes is found when it comes in pieces") {
    run([]() -> task<> {
        auto ends = make_pipe();
        std::optional<std::string> head;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([](byte_reader& in, std::optional<std::string>& into) -> task<> {
                into = co_await in.read_until("\r\n\r\n");
            }(ends.reader, head));
            for (const char* part : {"GET /\r", "\n", "\r", "\nbody"}) {
                co_await ends.writer.write_all(part);
                co_await settle();
            }
        });
        CHECK(head == "GET /");
        CHECK(ends.reader.buffered().size() == 4);
    });
}

TEST_CASE("a line that is too long is an error, and nothing of it is lost") {
    run([]() -> task<> {
        auto ends = make_pipe();
        co_await ends.writer.write_all("12345\n");
        const auto four = co_await as_result(ends.reader.read_until('\n', 4));
        CHECK(four.error() == errc::message_too_long);
        const auto five = co_await ends.reader.read_until('\n', 5);
        CHECK(five == "12345");
        co_await ends.writer.write_all("123456789");
        const auto endless = co_await as_result(ends.reader.read_until("--", 5));
        CHECK(endless.error() == errc::message_too_long);
        ends.writer.close();
        const auto rest = co_await as_result(ends.reader.read_until('\n', 5));
        CHECK(rest.error() == errc::message_too_long);
        const auto all = co_await ends.reader.read_all(9);
        CHECK(all == "123456789");
    });
}

TEST_CASE("a read_until that times out leaves its bytes in the stream") {
    run([]() -> task<> {
        auto ends = make_pipe();
        co_await ends.writer.write_all("half");
        const auto late = co_await with_timeout(ends.reader.read_until('\n'), 1ms);
        CHECK_FALSE(late);
        co_await ends.writer.write_all(" line\n");
        const auto line = co_await with_timeout(ends.reader.read_until('\n'), 1s);
        CHECK(line == std::optional<std::string>("half line"));
    });
}

TEST_CASE("many lines are read in one piece and given one by one") {
    run([]() -> task<> {
        auto ends = make_pipe();
        constexpr int count = 20000;
        const auto writes = [&]() -> task<> {
            std::string all;
            for (int i = 0; i < count; ++i) all += std::to_string(i) + '\n';
            co_await ends.writer.write_all(all);
            ends.writer.close();
        };
        int wrong = 0;
        int next = 0;
        const auto reads = [&]() -> task<> {
            while (auto line = co_await ends.reader.read_until('\n'))
                wrong += *line != std::to_string(next++);
        };
        co_await when_all(writes(), reads());
        CHECK(next == count);
        CHECK(wrong == 0);
    });
}

// --- read_all ---

TEST_CASE("read_all reads to the end, and refuses more than it was allowed") {
    run([]() -> task<> {
        auto ends = make_pipe();
        const auto close_after = [&]() -> task<> {
            co_await write_block(ends.writer, 'x', 300'000);
            ends.writer.close();
        };
        const auto reads = [&]() -> task<> {
            const auto little = co_await as_result(ends.reader.read_all(1000));
            CHECK(little.error() == errc::message_too_long);
            const auto all = co_await ends.reader.read_all(300'000);
            CHECK(all.size() == 300'000);
        };
        co_await when_all(reads(), close_after());
    });
}

TEST_CASE("read_all gives an empty string at the end") {
    run([]() -> task<> {
        auto ends = make_pipe();
        ends.writer.close();
        const auto nothing = co_await ends.reader.read_all(0);
        CHECK(nothing.empty());
    });
}

// --- several readers ---

TEST_CASE("several tasks that read one stream are served in order") {
    run([]() -> task<> {
        auto ends = make_pipe();
        std::vector<std::string> log;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(read_word(ends.reader, 3, log));
            n.start(read_line(ends.reader, log));
            n.start(read_word(ends.reader, 2, log));
            n.start(read_line(ends.reader, log));
            co_await settle();
            co_await ends.writer.write_all("abcline\nxy");
            co_await settle();
            CHECK(log == std::vector<std::string>{"abc", "line", "xy"});
            ends.writer.close();
        });
        CHECK(log == std::vector<std::string>{"abc", "line", "xy", "(end)"});
    });
}

TEST_CASE("a reader in the queue that is cancelled takes nothing from the others") {
    run([]() -> task<> {
        auto ends = make_pipe();
        std::vector<std::string> log;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(read_word(ends.reader, 3, log));
            co_await open_nursery([&](nursery& inner) -> task<> {
                inner.start(read_word(ends.reader, 100, log));
                co_await yield();
                n.start(read_line(ends.reader, log));
                co_await settle();
                inner.cancel();
            });
            co_await ends.writer.write_all("abcline\n");
        });
        CHECK(log == std::vector<std::string>{"abc", "line"});
    });
}

// --- write ---

TEST_CASE("write gives how much was taken") {
    run([]() -> task<> {
        auto ends = make_pipe();
        const auto n = co_await ends.writer.write("hello");
        CHECK(n == 5);
        const std::string large(1'000'000, 'x');
        const auto some = co_await ends.writer.write(large);
        CHECK(some > 0);
        CHECK(some < large.size());
    });
}

TEST_CASE("the blocks of concurrent write_all are not torn") {
    run([]() -> task<> {
        auto ends = make_pipe();
        constexpr std::size_t size = 200'000;
        std::string all;
        const auto reads = [&]() -> task<> { all = co_await ends.reader.read_all(10 * size); };
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(reads);
            co_await open_nursery([&](nursery& writers) -> task<> {
                for (char c : {'a', 'b', 'c'}) writers.start(write_block(ends.writer, c, size));
                co_return;
            });
            ends.writer.close();
        });
        const std::string expected =
            std::string(size, 'a') + std::string(size, 'b') + std::string(size, 'c');
        CHECK((all == expected));
    });
}

TEST_CASE("a write_all that times out tells how far it got") {
    run([]() -> task<> {
        auto ends = make_pipe();
        const std::string large(1'000'000, 'x');
        std::size_t written = 77;
        const bool done = co_await with_timeout(ends.writer.write_all(large, &written), 5ms);
        CHECK_FALSE(done);
        CHECK(written > 0);
        CHECK(written < large.size());
        ends.writer.close();
        const auto got = co_await ends.reader.read_all(large.size());
        CHECK(got.size() == written);
    });
}

TEST_CASE("a write_all that is cancelled makes way for the next") {
    run([]() -> task<> {
        auto ends = make_pipe();
        std::string got;
        const auto reads = [&]() -> task<> { got = co_await ends.reader.read_all(10'000'000); };
        co_await open_nursery([&](nursery& n) -> task<> {
            co_await open_nursery([&](nursery& inner) -> task<> {
                inner.start(write_block(ends.writer, 'a', 1'000'000));
                co_await settle();
                n.start([](byte_writer& out) -> task<> {
                    co_await write_block(out, 'b', 10);
                    out.close();
                }(ends.writer));
                co_await settle();
                inner.cancel();
            });
            n.start(reads);
        });
        CHECK(got.size() < 1'000'000);
        CHECK(got.substr(got.size() - 11) == "abbbbbbbbbb");
    });
}

TEST_CASE("writing to what nobody reads throws broken_pipe") {
    run([]() -> task<> {
        auto ends = make_pipe();
        ends.reader.close();
        const auto some = co_await as_result(ends.writer.write("x"));
        CHECK(some.error() == std::errc::broken_pipe);
        const auto all = co_await as_result(ends.writer.write_all("x"));
        CHECK(all.error() == std::errc::broken_pipe);
        auto pair = make_socket_pair();
        pair.first.close();
        const auto socket = co_await as_result(pair.second.write_all("x"));
        CHECK(socket.error() == std::errc::broken_pipe);
    });
}

TEST_CASE("a reader that goes away while a write_all waits breaks it") {
    run([]() -> task<> {
        auto ends = make_pipe();
        const std::string large(1'000'000, 'x');
        std::size_t written = 0;
        std::error_code code;
        const auto writes = [&]() -> task<> {
            const auto end = co_await as_result(ends.writer.write_all(large, &written));
            code = end.error();
        };
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(writes);
            while (written == 0 && !code) co_await yield();  // a worker of the kernel may do it
            ends.reader.close();
        });
        CHECK(code == std::errc::broken_pipe);
        CHECK(written > 0);
    });
}

TEST_CASE("write_all of nothing is done at once") {
    run([]() -> task<> {
        auto ends = make_pipe();
        std::size_t written = 5;
        co_await ends.writer.write_all("", &written);
        CHECK(written == 0);
    });
}

// --- close ---

TEST_CASE("closing a stream ends what is pending on it with an error that names it") {
    const test::descriptor_count descriptors;
    run([]() -> task<> {
        auto ends = make_socket_pair();
        byte_stream& s = ends.first;
        const std::string name = "socket " + std::to_string(s.native_handle());
        const std::string large(10'000'000, 'x');
        std::string two(2, '\0');
        std::vector<std::string> errors;
        const auto note = [&](auto operation) -> task<> {
            const auto text = co_await failure_of(operation);
            errors.push_back(text);
        };
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(note(s.read_until('\n')));
            n.start(note(s.read_exactly(bytes_of(two))));
            n.start(note(s.write_all(large)));
            n.start(note(s.write("x")));
            co_await settle();
            CHECK(errors.empty());
            s.close();
            s.close();
            CHECK(s.closed());
            CHECK(s.native_handle() == -1);
        });
        REQUIRE(errors.size() == 4);
        for (const std::string& text : errors) {
            CHECK(text.find(" on " + name) != std::string::npos);
            CHECK(text.find("closed") != std::string::npos);
        }
        const auto after = co_await failure_of(s.read(bytes_of(two)));
        CHECK(after.find("read on " + name + ": handle is closed") != std::string::npos);
    });
    CHECK(descriptors.unchanged());
}

TEST_CASE("a stream that is closed before its requests were submitted harms no other file") {
    run([]() -> task<> {
        auto ends = make_pipe();
        const int number = ends.reader.native_handle();
        std::vector<std::string> errors;
        std::string word(1, '\0');
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(
                [](byte_reader& in, std::string& into, std::vector<std::string>& all) -> task<> {
                    const auto text = co_await failure_of(in.read(bytes_of(into)));
                    all.push_back(text);
                }(ends.reader, word, errors));
            co_await yield();
            co_await yield();
            ends.reader.close();
            auto others = make_pipe();
            CHECK(others.reader.native_handle() == number);
            co_await others.writer.write_all("safe");
            const auto got = co_await others.reader.read_until('e');
            CHECK(got == "saf");
        });
        CHECK(errors.size() == 1);
    });
}

TEST_CASE("a descriptor that is released stays open, with what is pending ended") {
    const test::descriptor_count descriptors;
    run([]() -> task<> {
        auto ends = make_pipe();
        std::vector<std::string> errors;
        std::string word(1, '\0');
        unique_fd taken;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(
                [](byte_reader& in, std::string& into, std::vector<std::string>& all) -> task<> {
                    const auto text = co_await failure_of(in.read(bytes_of(into)));
                    all.push_back(text);
                }(ends.reader, word, errors));
            co_await settle();
            taken = ends.reader.release();
        });
        CHECK(errors.size() == 1);
        CHECK(ends.reader.closed());
        CHECK(::fcntl(taken.get(), F_GETFD) >= 0);
        CHECK_FALSE(ends.reader.release());
    });
    CHECK(descriptors.unchanged());
}

TEST_CASE("a stream moves with what it has read ahead") {
    run([]() -> task<> {
        auto ends = make_pipe();
        co_await ends.writer.write_all("line\nrest");
        const auto line = co_await ends.reader.read_until('\n');
        CHECK(line == "line");
        byte_reader other = std::move(ends.reader);
        CHECK(ends.reader.closed());
        CHECK(ends.reader.buffered().empty());
        ends.writer.close();
        byte_reader third;
        third = std::move(other);
        const auto rest = co_await third.read_all(10);
        CHECK(rest == "rest");
    });
}

TEST_CASE("a stream that is destroyed under an operation aborts") {
    const test::death end = test::death_of([] {
        run([]() -> task<> {
            std::optional<pipe_ends> ends(make_pipe());
            std::vector<std::string> log;
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start(read_line(ends->reader, log));
                co_await settle();
                ends.reset();
            });
        });
    });
    INFO(end.text);
    CHECK(end.signal == SIGABRT);
    CHECK(end.says("runnel: fatal: a pipe (descriptor "));
    CHECK(end.says(") was destroyed while a task awaits an operation of it"));
}

TEST_CASE("a loop that is destroyed ends those who read and write") {
    const test::descriptor_count descriptors;
    {
        auto ends = make_pipe();
        std::vector<std::string> log;
        loop l;
        l.start(read_line, std::ref(ends.reader), std::ref(log));
        l.start(read_line, std::ref(ends.reader), std::ref(log));
        l.poll();
        std::ostringstream text;
        l.dump(text);
        const auto number = std::to_string(ends.reader.native_handle());
        CHECK(text.str().find("read_until on pipe " + number) != std::string::npos);
    }
    CHECK(descriptors.unchanged());
}

// --- kinds of descriptors, and an adversary ---

TEST_CASE("a regular file is read and written as a stream") {
    run([]() -> task<> {
        char name[] = "/tmp/runnel-stream-XXXXXX";
        unique_fd made(::mkostemp(name, O_CLOEXEC));
        ::unlink(name);
        unique_fd again = made.duplicate();
        byte_writer out(std::move(made), "file");
        co_await out.write_all("first\nsecond\n");
        ::lseek(again.get(), 0, SEEK_SET);
        byte_reader in(std::move(again), "file");
        const auto first = co_await in.read_until('\n');
        CHECK(first == "first");
        const auto rest = co_await in.read_all(100);
        CHECK(rest == "second\n");
    });
}

TEST_CASE("/dev/null takes everything and gives nothing") {
    run([]() -> task<> {
        byte_stream null(unique_fd(::open("/dev/null", O_RDWR | O_CLOEXEC)), "device");
        co_await null.write_all("anything");
        const auto nothing = co_await null.read_until('\n');
        CHECK_FALSE(nothing);
    });
}

TEST_CASE("a stream keeps every byte in order whatever the kernel does") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const auto main = []() -> task<> {
            auto ends = make_pipe();
            constexpr int count = 300;
            const auto writes = [&]() -> task<> {
                for (int i = 0; i < count; ++i)
                    co_await ends.writer.write_all(std::to_string(i) + '\n');
                ends.writer.close();
            };
            int next = 0;
            int wrong = 0;
            const auto reads = [&]() -> task<> {
                bool more = true;
                while (more) {
                    const auto line = co_await with_timeout(ends.reader.read_until('\n'), 10us);
                    if (!line) continue;
                    more = line->has_value();
                    if (more) wrong += **line != std::to_string(next++);
                }
            };
            co_await when_all(writes(), reads());
            CHECK(next == count);
            CHECK(wrong == 0);
        };
        loop_options options;
        options.chaos.seed = seed;
        run(main, options);
    }
}

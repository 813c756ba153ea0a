// SPDX-License-Identifier: MIT
#include <set>
#include <string>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"

using namespace runnel;

namespace {
/// Sends `text` through a pipe; gives what arrived, and the sizes of the pieces.
std::string through_pipe(const std::string& text, std::uint64_t seed,
                         std::multiset<std::size_t>& pieces) {
    int fds[2];
    REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
    unique_fd out(fds[0]), in(fds[1]);
    loop_options options;
    options.chaos.seed = seed;
    std::string all;
    run(
        [&]() -> task<> {
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start(
                    [](unique_fd fd, const std::string& from) -> task<> {
                        std::size_t done = 0;
                        while (done < from.size())
                            done += co_await io::write(
                                fd.get(), std::as_bytes(std::span(from)).subspan(done));
                    },
                    std::move(in), text);
                std::string part(4096, '\0');
                std::size_t got = 1;
                while (got != 0) {
                    got = co_await io::read(out.get(), std::as_writable_bytes(std::span(part)));
                    all += part.substr(0, got);
                    pieces.insert(got);
                }
            });
        },
        options);
    return all;
}
}  // namespace

TEST_CASE("chaos shortens the pieces of a byte stream and loses nothing") {
    std::string text;
    for (int i = 0; i < 20'000; ++i) text += char('a' + i % 26);
    bool shortened = false;
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        std::multiset<std::size_t> pieces;
        CHECK(through_pipe(text, seed, pieces) == text);
        shortened |= pieces.size() > 20'000 / 4096 + 2;
    }
    CHECK(shortened);
}

TEST_CASE("chaos keeps datagrams whole") {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        int fds[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0);
        const unique_fd a(fds[0]), b(fds[1]);
        loop_options options;
        options.chaos.seed = seed;
        run(
            [&]() -> task<> {
                const std::string text(1000, 'x');
                std::string part(2000, '\0');
                for (int i = 0; i < 20; ++i) {
                    const std::size_t sent =
                        co_await io::send(a.get(), std::as_bytes(std::span(text)));
                    const std::size_t got =
                        co_await io::recv(b.get(), std::as_writable_bytes(std::span(part)));
                    CHECK(sent == 1000);
                    CHECK(got == 1000);
                }
            },
            options);
    }
}

TEST_CASE("chaos fails operations instead of doing them, never after") {
    int fds[2];
    REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
    const unique_fd out(fds[0]), in(fds[1]);
    loop_options options;
    options.chaos.seed = 7;
    options.chaos.fail_one_in = 3;
    int failed = 0, written = 0;
    run(
        [&]() -> task<> {
            const char c = 'x';
            for (int i = 0; i < 300; ++i) {
                auto got = co_await as_result(io::write(in.get(), std::as_bytes(std::span(&c, 1))));
                if (got)
                    ++written;
                else
                    ++failed;
            }
        },
        options);
    std::string all(1000, '\0');
    CHECK(::read(out.get(), all.data(), all.size()) == written);
    CHECK(failed > 30);
    CHECK(written > 30);
}

// SPDX-License-Identifier: MIT
// A descriptor whose peer has answered late again and again is not asked before the loop has
// yielded; what is there at once is given all the same.
#include <array>
#include <cstddef>

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

struct echoing_child {
    unique_fd here;
    ::pid_t child = -1;
    echoing_child() {
        int two[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, two) == 0);
        here.reset(two[0]);
        child = ::fork();
        if (child == 0) {
            ::alarm(30);
            ::close(two[0]);
            char byte = 0;
            while (::read(two[1], &byte, 1) == 1)
                if (::write(two[1], &byte, 1) != 1) break;
            ::_exit(0);
        }
        ::close(two[1]);
    }
    echoing_child(const echoing_child&) = delete;
    echoing_child& operator=(const echoing_child&) = delete;
    ~echoing_child() {
        here.reset();
        ::waitpid(child, nullptr, 0);
    }
};

bool wait_for_answer(int fd) {
    ::pollfd one{fd, POLLIN, 0};
    return ::poll(&one, 1, 5000) == 1;
}

}  // namespace

TEST_CASE("answers that come late, and then at once, are all read, each once and in order") {
    run([]() -> task<> {
        const echoing_child peer;
        const int fd = peer.here.get();
        std::array<std::byte, 1> out{}, in{};
        int wrong = 0, missed = 0;
        for (int i = 0; i < 400; ++i) {
            out[0] = static_cast<std::byte>(i);
            co_await io::send(fd, out);
            if (i % 40 < 30) {
                co_await io::recv(fd, in);
            } else {
                // The answer is there: no time is needed, whatever happened before.
                CHECK(wait_for_answer(fd));
                const auto got = co_await with_timeout(io::recv(fd, in), 0ms);
                missed += !got;
            }
            wrong += in[0] != out[0];
        }
        CHECK(missed == 0);
        CHECK(wrong == 0);
    });
}

TEST_CASE("a read that is cancelled before it was asked for has taken nothing, or is delivered") {
    run([]() -> task<> {
        const echoing_child peer;
        const int fd = peer.here.get();
        std::array<std::byte, 1> out{}, in{};
        int two[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, two) == 0);
        const unique_fd aside(two[0]), nobody(two[1]);
        int received = 0, sent = 0;
        for (int i = 0; i < 400; ++i) {
            if (i % 40 < 30) {
                out[0] = static_cast<std::byte>(sent++);
                co_await io::send(fd, out);
                co_await io::recv(fd, in);
                CHECK(in[0] == static_cast<std::byte>(received++));
                continue;
            }
            // Something may be under way, or not.
            if (i % 3 != 0) {
                out[0] = static_cast<std::byte>(sent++);
                co_await io::send(fd, out);
                if (i % 3 == 1) CHECK(wait_for_answer(fd));
            }
            // Its rival is done at once, so it is cancelled before the loop could yield; of two races
            // it begins one.
            bool was_there = false;
            for (int k = 0; k < 2 && !was_there; ++k) {
                auto reading = race(io::recv(fd, in), io::send(aside.get(), out));
                static_cast<void>(co_await reading);
                was_there = sent != received && in[0] == static_cast<std::byte>(received);
            }
            if (i % 3 == 1) CHECK(was_there);
            if (was_there) ++received;
            while (received != sent) {
                co_await io::recv(fd, in);
                CHECK(in[0] == static_cast<std::byte>(received++));
            }
        }
        CHECK(received == sent);
    });
}

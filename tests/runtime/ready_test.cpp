// SPDX-License-Identifier: MIT
#include <runnel/ready.hpp>

#include <chrono>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/fds.hpp"

using namespace runnel;
using namespace std::chrono_literals;

static_assert(atomic_awaitable<decltype(readable(0))>);

namespace {

void put_byte(int fd) { CHECK(::write(fd, "x", 1) == 1); }

/// The writing end, full.
void fill(int fd) {
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
    const std::string block(4096, 'x');
    while (::write(fd, block.data(), block.size()) > 0) {
    }
}

task<> note_ready(int fd, int& events) { events = co_await readable(fd); }

}  // namespace

TEST_CASE("a descriptor that is ready is told at once") {
    run([]() -> task<> {
        auto ends = make_pipe();
        put_byte(ends.writer.native_handle());
        const int in = co_await readable(ends.reader.native_handle());
        CHECK(in == POLLIN);
        const int out = co_await writable(ends.writer.native_handle());
        CHECK(out == POLLOUT);
    });
}

TEST_CASE("readable waits for the first byte") {
    run([]() -> task<> {
        auto ends = make_pipe();
        int events = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(note_ready(ends.reader.native_handle(), events));
            for (int i = 0; i < 10; ++i) co_await io::nop();
            CHECK(events == 0);
            put_byte(ends.writer.native_handle());
        });
        CHECK(events == POLLIN);
    });
}

TEST_CASE("writable waits until there is room") {
    run([]() -> task<> {
        auto ends = make_pipe();
        const int out = ends.writer.native_handle();
        fill(out);
        const auto full = co_await with_timeout(writable(out), 0ms);
        CHECK_FALSE(full);
        std::string block(65536, '\0');
        const auto got = ::read(ends.reader.native_handle(), block.data(), block.size());
        CHECK(got > 0);
        const int events = co_await writable(out);
        CHECK((events & POLLOUT) != 0);
    });
}

TEST_CASE("hang-up and error count as ready") {
    run([]() -> task<> {
        auto ends = make_pipe();
        ends.writer.close();
        const int end = co_await readable(ends.reader.native_handle());
        CHECK((end & POLLHUP) != 0);
        auto others = make_pipe();
        fill(others.writer.native_handle());
        others.reader.close();
        const int broken = co_await writable(others.writer.native_handle());
        CHECK((broken & POLLERR) != 0);
    });
}

TEST_CASE("a wait for readiness that times out or is cancelled leaves nothing behind") {
    const test::descriptor_count descriptors;
    run([]() -> task<> {
        auto ends = make_pipe();
        const int in = ends.reader.native_handle();
        const auto late = co_await with_timeout(readable(in), 1ms);
        CHECK_FALSE(late);
        int events = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(note_ready(in, events));
            co_await io::nop();
            n.cancel();
        });
        CHECK(events == 0);
        put_byte(ends.writer.native_handle());
        const auto now = co_await with_timeout(readable(in), 1s);
        CHECK(now == POLLIN);
    });
    CHECK(descriptors.unchanged());
}

TEST_CASE("a descriptor that is not open is named") {
    run([]() -> task<> {
        auto ends = make_pipe();
        const int number = ends.reader.native_handle();
        ends.reader.close();
        std::string text;
        std::error_code code;
        try {
            co_await readable(number);
        } catch (const std::system_error& error) {
            text = error.what();
            code = error.code();
        }
        CHECK(code == std::errc::bad_file_descriptor);
        CHECK(text.find("poll on descriptor " + std::to_string(number)) != std::string::npos);
    });
}

TEST_CASE("a handle that is closed ends the waits for its readiness") {
    run([]() -> task<> {
        auto ends = make_pipe();
        std::error_code code;
        const auto waits = [&]() -> task<> {
            const auto events = co_await as_result(readable(ends.reader.native_handle()));
            code = events.error();
        };
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(waits);
            co_await yield();
            ends.reader.close();
        });
        CHECK(code == errc::closed);
    });
}

TEST_CASE("the number of a closed descriptor can be another file's at once") {
    run([]() -> task<> {
        auto ends = make_pipe();
        const int number = ends.reader.native_handle();
        std::error_code code;
        const auto waits = [&]() -> task<> {
            const auto events = co_await as_result(readable(number));
            code = events.error();
        };
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(waits);
            co_await yield();
            // The poll has not been submitted yet: the kernel must not take the new file for it.
            ends.reader.close();
            auto others = make_pipe();
            CHECK(others.reader.native_handle() == number);
            put_byte(others.writer.native_handle());
            const int events = co_await readable(number);
            CHECK(events == POLLIN);
        });
        CHECK(code == errc::closed);
    });
}

TEST_CASE("a regular file is always ready") {
    run([]() -> task<> {
        const unique_fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
        const int events = co_await readable(file.get());
        CHECK(events == POLLIN);
    });
}

TEST_CASE("a loop that is destroyed ends those who wait for readiness") {
    const test::descriptor_count descriptors;
    auto ends = make_pipe();
    int events = 0;
    {
        loop l;
        l.start(note_ready, ends.reader.native_handle(), std::ref(events));
        l.poll();
        CHECK(l.stats().in_flight > 0);
    }
    CHECK(events == 0);
    ends.reader.close();
    ends.writer.close();
    CHECK(descriptors.unchanged());
}

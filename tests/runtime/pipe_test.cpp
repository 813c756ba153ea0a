// SPDX-License-Identifier: MIT
#include <runnel/pipe.hpp>

#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/fds.hpp"

using namespace runnel;

TEST_CASE("what goes into a pipe comes out of it, and then the end") {
    const test::descriptor_count descriptors;
    run([]() -> task<> {
        auto ends = make_pipe();
        co_await ends.writer.write_all("hello");
        ends.writer.close();
        const auto text = co_await ends.reader.read_all(100);
        CHECK(text == "hello");
    });
    CHECK(descriptors.unchanged());
}

TEST_CASE("both ends of a socket pair read what the other writes") {
    const test::descriptor_count descriptors;
    run([]() -> task<> {
        auto ends = make_socket_pair();
        co_await ends.first.write_all("there\n");
        co_await ends.second.write_all("back\n");
        const auto there = co_await ends.second.read_until('\n');
        const auto back = co_await ends.first.read_until('\n');
        CHECK(there == "there");
        CHECK(back == "back");
        ends.first.close();
        const auto end = co_await ends.second.read_until('\n');
        CHECK_FALSE(end);
    });
    CHECK(descriptors.unchanged());
}

TEST_CASE("pipes and socket pairs are close-on-exec and blocking for others") {
    auto ends = make_pipe();
    auto pair = make_socket_pair();
    for (const int fd : {ends.reader.native_handle(), ends.writer.native_handle(),
                         pair.first.native_handle(), pair.second.native_handle()}) {
        CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
    }
}

TEST_CASE("a process without descriptors left is told so") {
    ::rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    ::rlimit none = before;
    none.rlim_cur = 3;
    ::setrlimit(RLIMIT_NOFILE, &none);
    std::error_code code;
    try {
        const auto ends = make_pipe();
    } catch (const std::system_error& error) {
        code = error.code();
    }
    ::setrlimit(RLIMIT_NOFILE, &before);
    CHECK(code == std::errc::too_many_files_open);
}

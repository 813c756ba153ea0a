// SPDX-License-Identifier: MIT
// Several readers of one pipe when there is no room for descriptors: what another reader does
// between the look at a message and its taking.
#include <cerrno>
#include <functional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <runnel/ipc/pipe.hpp>
#include <runnel/run.hpp>

#include "message_tools.hpp"
#include "support/catch.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

// Called once, before the next recvmsg that is not a look.
std::function<void(int fd)> before_taking;

}  // namespace

// This program's recvmsg: the only way to get between two system calls of the library.
extern "C" ::ssize_t recvmsg(int fd, ::msghdr* message, int flags) {
    if (before_taking && (flags & MSG_PEEK) == 0) {
        const auto act = std::exchange(before_taking, nullptr);
        act(fd);
    }
    return ::syscall(SYS_recvmsg, fd, message, flags);
}

namespace {

using files = std::vector<unique_fd>;

files some_files(int count) {
    files made;
    for (int i = 0; i < count; ++i) made.emplace_back(::dup(1));
    return made;
}
/// Takes a message as another process would, which has no use for the descriptors.
void take_elsewhere(int fd) {
    const ::pid_t other = in_child([fd] {
        char bytes[100];
        return ::recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0 ? 0 : 1;
    });
    if (exit_of(other) != 0) ::_exit(50);
}

/// Receives with room for `room` more descriptors; the reason of a failure, or "".
task<std::string> recv_with_room(ipc::connection<files>& from, int room, std::size_t& got) {
    std::string why;
    const int next = ::dup(0);  // all numbers below are taken
    ::close(next);
    ::rlimit old{};
    ::getrlimit(RLIMIT_NOFILE, &old);
    ::rlimit limit = old;
    limit.rlim_cur = static_cast<::rlim_t>(next + room);
    ::setrlimit(RLIMIT_NOFILE, &limit);
    try {
        auto message = co_await from.recv();
        got = message->size();
    } catch (const std::system_error& e) {
        why = e.code() == std::error_code(EMFILE, std::system_category()) ? e.what() : "?";
    }
    ::setrlimit(RLIMIT_NOFILE, &old);
    co_return why;
}

}  // namespace

TEST_CASE("a message that another reader takes after the look leaves the next one, whole") {
    auto ends = ipc::pipe<files>();
    std::size_t got = 0;
    std::string why;
    run([&]() -> task<> {
        const files two = some_files(2), four = some_files(4);
        co_await ends.first.send(two);
        co_await ends.first.send(four);
        before_taking = take_elsewhere;
        why = co_await recv_with_room(ends.second, 6, got);
    });
    CHECK(why.empty());
    CHECK(got == 4);
}

TEST_CASE("descriptors that are lost to another reader and a full table are reported as lost") {
    auto ends = ipc::pipe<files>();
    std::size_t got = 0;
    std::string why, after;
    run([&]() -> task<> {
        const files two = some_files(2), four = some_files(4), three = some_files(3);
        co_await ends.first.send(two);
        co_await ends.first.send(four);
        co_await ends.first.send(three);
        before_taking = take_elsewhere;
        why = co_await recv_with_room(ends.second, 4, got);
        after = co_await recv_with_room(ends.second, 8, got);
    });
    CHECK(why.find("recv on pipe") == 0);
    CHECK(why.find("descriptors of a message were lost") != why.npos);
    CHECK(after.empty());  // the handle is open, and the next message is whole
    CHECK(got == 3);
}

// SPDX-License-Identifier: MIT
// Large bodies: the segments that they travel in are used again, and neither who is killed nor who
// writes to them breaks more than his own message.
#include <array>
#include <csignal>
#include <random>
#include <string>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <runnel/ipc/pipe.hpp>
#include <runnel/runnel.hpp>

#include "message_tools.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t large = std::size_t{1} << 20;

ipc::bytes filled(std::size_t size, int with) {
    return ipc::bytes(size, static_cast<std::byte>(with));
}
bool is_filled(const std::optional<ipc::bytes>& got, std::size_t size, int with) {
    return got && *got == filled(size, with);
}

/// A large message as it lies in the socket: looked at, not taken.
struct looked_at {
    unique_fd segment;
    ipc::detail::frame_header head;
    explicit looked_at(int fd, int flags = MSG_PEEK) {
        ::iovec part{&head, sizeof head};
        ::msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        alignas(::cmsghdr) char control[CMSG_SPACE(sizeof(int))];
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        if (::recvmsg(fd, &message, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0) return;
        if (const ::cmsghdr* c = CMSG_FIRSTHDR(&message)) {
            int number = -1;
            std::memcpy(&number, CMSG_DATA(c), sizeof number);
            segment.reset(number);
        }
    }
    [[nodiscard]] ::ino_t inode() const {
        struct ::stat file{};
        ::fstat(segment.get(), &file);
        return file.st_ino;
    }
};

}  // namespace

TEST_CASE("a segment is used again once its message was received") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
            const int in = ends.receiver.native_handle();
            std::vector<::ino_t> seen;
            for (int i = 0; i < 5; ++i) {
                const ipc::bytes all = filled(large + i, i);
                co_await ends.sender.send(all);
                seen.push_back(looked_at(in).inode());
                auto got = co_await ends.receiver.recv();
                CHECK(is_filled(got, large + i, i));
            }
            for (const ::ino_t one : seen) CHECK(one == seen.front());
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("large messages that lie in the socket are few, and do not share a segment") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
        int sent = 0;
        const auto fill = [&]() -> task<> {
            for (;;) {
                const ipc::bytes all = filled(large, sent);
                co_await ends.sender.send(all);
                ++sent;
            }
        };
        const bool ended = co_await with_timeout(fill(), 50ms);
        CHECK(!ended);
        CHECK(sent >= 2);
        CHECK(sent <= 8);
        for (int i = 0; i < sent; ++i) {
            auto got = co_await ends.receiver.recv();
            CHECK(is_filled(got, large, i));
        }
        const bool more = co_await ends.receiver.poll();
        CHECK(!more);  // what was cancelled has sent nothing
    });
}

TEST_CASE("more large sends than there are segments arrive whole and in order") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
            constexpr int count = 30;
            const auto send = [&](int i) -> task<> {
                const ipc::bytes all = filled(200000, i);
                co_await ends.sender.send(all);
            };
            int good = 0;
            const auto receive = [&]() -> task<> {
                for (int i = 0; i < count; ++i) {
                    auto got = co_await ends.receiver.recv();
                    good += is_filled(got, 200000, i);
                }
            };
            co_await open_nursery([&](nursery& n) -> task<> {
                for (int i = 0; i < count; ++i) n.start(send, i);
                n.start(receive);
                co_return;
            });
            CHECK(good == count);
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("receivers that are killed with a message in their hands cost a segment, no more") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
            const int in = ends.receiver.native_handle();
            for (int i = 0; i < 20; ++i) {
                const ipc::bytes all = filled(large, i);
                co_await ends.sender.send(all);
                const ::pid_t child = in_child([in] {
                    const looked_at taken(in, 0);
                    ::kill(::getpid(), taken.segment ? SIGKILL : SIGTERM);
                    return 0;
                });
                CHECK(exit_of(child) == 128 + SIGKILL);
                co_await ends.sender.send(all);
                auto got = co_await ends.receiver.recv();
                CHECK(is_filled(got, large, i));
            }
            CHECK(open_descriptors() < 30);
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("a sender that is killed anywhere in a large message leaves whole ones and the end") {
    for (int round = 0; round < 30; ++round) {
        run([&]() -> task<> {
            auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
            const ::pid_t child = in_child([&] {
                const ipc::bytes all = filled(large, 5);
                run([&]() -> task<> {
                    for (;;) co_await ends.sender.send(all);
                });
                return 0;
            });
            ends.sender.close();
            for (int i = 0; i < round % 4; ++i) {
                auto got = co_await ends.receiver.recv();
                CHECK(is_filled(got, large, 5));
            }
            ::usleep(static_cast<::useconds_t>(round * 37));  // somewhere
            ::kill(child, SIGKILL);
            exit_of(child);
            while (auto got = co_await ends.receiver.recv()) CHECK(is_filled(got, large, 5));
        });
    }
}

TEST_CASE("receivers that are killed at random never see anything but whole messages") {
    const std::uint64_t first = announced_seed("segment_test");
    INFO("RUNNEL_SEED=" << first);
    std::mt19937_64 random(first);
    run([&]() -> task<> {
        const descriptor_count before;
        {
            auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
            const auto start = [&] {
                return in_child([&] {
                    int bad = 0;
                    ends.sender.close();
                    run([&]() -> task<> {
                        while (auto got = co_await ends.receiver.recv())
                            bad += !is_filled(got, got->size(), std::to_integer<int>(got->at(0)));
                    });
                    return bad == 0 ? 7 : 8;
                });
            };
            std::array<::pid_t, 2> readers{start(), start()};
            for (int i = 0; i < 300; ++i) {
                const ipc::bytes all = filled(150000 + random() % 500000, i);
                co_await ends.sender.send(all);
                if (random() % 8 != 0) continue;
                ::pid_t& one = readers[random() % 2];
                ::kill(one, SIGKILL);
                CHECK(exit_of(one) == 128 + SIGKILL);
                one = start();
            }
            ends.receiver.close();
            ends.sender.close();
            for (const ::pid_t one : readers) CHECK(exit_of(one) == 7);
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("a forked child and its parent do not write to each other's segments") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
        const ipc::bytes first = filled(200000, 1), second = filled(200000, 2);
        co_await ends.sender.send(first);
        auto warm = co_await ends.receiver.recv();
        CHECK(is_filled(warm, 200000, 1));
        const ::pid_t child = in_child([&] {
            run([&]() -> task<> { co_await ends.sender.send(first); });
            return 0;
        });
        CHECK(exit_of(child) == 0);
        co_await ends.sender.send(second);
        auto a = co_await ends.receiver.recv();
        auto b = co_await ends.receiver.recv();
        CHECK(is_filled(a, 200000, 1));
        CHECK(is_filled(b, 200000, 2));
    });
}

TEST_CASE("a peer that truncates a segment, or writes to it, does not harm its sender") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
            const int in = ends.receiver.native_handle();
            const ipc::bytes all = filled(large, 3);
            for (int i = 0; i < 12; ++i) {
                co_await ends.sender.send(all);
                looked_at taken(in, 0);
                REQUIRE(taken.segment);
                const int fd = taken.segment.get();
                if (i % 3 == 0) CHECK(::ftruncate(fd, 0) == 0);
                const std::string noise(8192, static_cast<char>(i));
                CHECK(::pwrite(fd, noise.data(), noise.size(), 0) > 0);
                if (i % 2 == 0) CHECK(::pwrite(fd, "\1", 1, 0) == 1);  // "received"
                co_await ends.sender.send(all);
                auto got = co_await ends.receiver.recv();
                CHECK(is_filled(got, large, 3));
            }
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("a peer cannot seal a segment against its sender") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
        const ipc::bytes all = filled(large, 3);
        co_await ends.sender.send(all);
        {
            const looked_at taken(ends.receiver.native_handle(), 0);
            REQUIRE(taken.segment);
            REQUIRE(::pwrite(taken.segment.get(), "\1", 1, 0) == 1);
            CHECK(::fcntl(taken.segment.get(), F_ADD_SEALS, F_SEAL_WRITE) != 0);
        }
        co_await ends.sender.send(all);
        auto got = co_await ends.receiver.recv();
        CHECK(is_filled(got, large, 3));
    });
}

namespace {
// Called once, before the next pread.
std::function<void(int fd)> before_reading;
}  // namespace

// This program's pread: the only way to get between two system calls of the library.
extern "C" ::ssize_t pread64(int fd, void* into, std::size_t size, ::off64_t at) {
    if (before_reading) {
        const auto act = std::exchange(before_reading, nullptr);
        act(fd);
    }
    return ::syscall(SYS_pread64, fd, into, size, at);
}
extern "C" ::ssize_t pread(int fd, void* into, std::size_t size, ::off_t at) {
    return ::pread64(fd, into, size, at);
}

TEST_CASE("a segment that is truncated after it was checked closes the channel, with the reason") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
            const ipc::bytes all = filled(large, 3);
            co_await ends.sender.send(all);
            before_reading = [](int fd) { REQUIRE(::ftruncate(fd, 5000) == 0); };
            std::string why;
            try {
                auto got = co_await ends.receiver.recv();
                CHECK(!got);
            } catch (const std::system_error& e) {
                why = e.what();
                CHECK(e.code() == errc::protocol);
            }
            CHECK(why.find("its segment was truncated") != why.npos);
            CHECK(ends.receiver.closed());
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("without room for a descriptor a large message is neither sent nor received nor lost") {
    const ::pid_t child = in_child([] {
        int result = 1;
        run([&]() -> task<> {
            auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
            const ipc::bytes all = filled(large, 4);
            co_await ends.sender.send(all);
            const int next = ::dup(0);
            ::close(next);
            ::rlimit old{};
            ::getrlimit(RLIMIT_NOFILE, &old);
            ::rlimit none = old;
            none.rlim_cur = static_cast<::rlim_t>(next);
            ::setrlimit(RLIMIT_NOFILE, &none);
            int full = 0;
            for (int i = 0; i < 2; ++i) {
                try {
                    auto got = co_await ends.receiver.recv();
                } catch (const std::system_error& e) {
                    full += e.code() == std::error_code(EMFILE, std::system_category());
                }
                try {
                    co_await ends.sender.send(all);
                } catch (const std::system_error& e) {
                    full += e.code() == std::error_code(EMFILE, std::system_category());
                }
            }
            ::setrlimit(RLIMIT_NOFILE, &old);
            auto got = co_await ends.receiver.recv();
            const bool more = co_await ends.receiver.poll();
            result = full == 4 && is_filled(got, large, 4) && !more ? 0 : 2;
        });
        return result;
    });
    CHECK(exit_of(child) == 0);
}

TEST_CASE("many small messages, or closing, give the memory of segments back") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
        const std::size_t before = open_descriptors();
        const ipc::bytes all = filled(large, 3), small = filled(10, 1);
        co_await ends.sender.send(all);
        auto got = co_await ends.receiver.recv();
        CHECK(open_descriptors() == before + 1);
        for (int i = 0; i < 300; ++i) {
            co_await ends.sender.send(small);
            got = co_await ends.receiver.recv();
        }
        CHECK(open_descriptors() == before);
        co_await ends.sender.send(all);
        CHECK(open_descriptors() == before + 1);
        ends.sender.close();
        CHECK(open_descriptors() == before - 1);
        got = co_await ends.receiver.recv();
        CHECK(is_filled(got, large, 3));
    });
}

TEST_CASE("large messages pass where the send buffer is small") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
        const int least = 1;
        const int out = ends.sender.native_handle();
        REQUIRE(::setsockopt(out, SOL_SOCKET, SO_SNDBUF, &least, sizeof least) == 0);
        for (const std::size_t size : {std::size_t{100}, std::size_t{60000}, large}) {
            for (int i = 0; i < 2; ++i) {
                const ipc::bytes all = filled(size, 7);
                co_await ends.sender.send(all);
                auto got = co_await ends.receiver.recv();
                CHECK(is_filled(got, size, 7));
            }
        }
    });
}

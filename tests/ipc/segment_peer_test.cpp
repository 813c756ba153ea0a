// SPDX-License-Identifier: MIT
// Large bodies where a peer may be hostile or slow, or the system mean: which locks are taken, what
// is asked of a foreign descriptor, and what who waits holds.
#include <atomic>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <runnel/ipc/pipe.hpp>
#include <runnel/runnel.hpp>

#include "message_tools.hpp"
#include "peer_tools.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {
std::atomic<int> writes{0};          // calls of pwrite
std::atomic<int> looks_at_files{0};  // calls of fstat
}  // namespace

// So that the calls of the library can be counted.
extern "C" ::ssize_t pwrite64(int fd, const void* from, std::size_t size, ::off64_t at) {
    ++writes;
    return ::syscall(SYS_pwrite64, fd, from, size, at);
}
extern "C" ::ssize_t pwrite(int fd, const void* from, std::size_t size, ::off_t at) {
    return ::pwrite64(fd, from, size, at);
}
extern "C" int fstat(int fd, struct ::stat* file) noexcept {
    ++looks_at_files;
    return static_cast<int>(::syscall(SYS_fstat, fd, file));
}

TEST_CASE("a receiver takes no lock of a segment that its sender could hold") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
        const ipc::bytes all = filled(large, 3);
        co_await ends.sender.send(all);
        const int before = writes;
        auto got = co_await ends.receiver.recv();
        CHECK(is_filled(got, large, 3));
        co_await ends.sender.send(all);
        CHECK(writes > before);  // it counts
        const int sent = writes;
        auto text = co_await ends.receiver.recv_bytes_into(*got);
        CHECK(text == large);
        CHECK(writes == sent);
    });
}

TEST_CASE("what is no memfd is not even asked for its size, which another process may not tell") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
        const unique_fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
        raw_message message;
        message.head.kind = ipc::detail::frame_header::in_segment;
        message.head.length = 100;
        message.descriptors = {file.get()};
        REQUIRE(message.post(ends.sender.native_handle()));
        const int before = looks_at_files;
        std::error_code code;
        try {
            auto got = co_await ends.receiver.recv();
            CHECK(!got);
        } catch (const std::system_error& e) {
            code = e.code();
        }
        CHECK(code == errc::protocol);
        CHECK(looks_at_files == before);
    });
}

TEST_CASE("memory that a receiver has had is not used again if that is not wanted") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            auto ends = ipc::pipe<ipc::bytes>(ipc::simplex, {.reuse_memory = false});
            auto carrier = ipc::pipe<ipc::sender<ipc::bytes>>(ipc::simplex);
            const ipc::bytes all = filled(large, 3);
            std::vector<unique_fd> seen;
            std::vector<::ino_t> numbers;
            for (int i = 0; i < 4; ++i) {
                if (i == 2) {  // the option travels along
                    co_await carrier.sender.send(std::move(ends.sender));
                    auto sender = co_await carrier.receiver.recv();
                    REQUIRE(sender);
                    ends.sender = std::move(*sender);
                }
                co_await ends.sender.send(all);
                looked_at one(ends.receiver.native_handle());
                numbers.push_back(one.inode());
                seen.push_back(std::move(one.segment));
                auto got = co_await ends.receiver.recv();
                CHECK(is_filled(got, large, 3));
            }
            for (std::size_t i = 1; i < numbers.size(); ++i)
                for (std::size_t k = 0; k < i; ++k) CHECK(numbers[i] != numbers[k]);
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("senders that wait for a slow receiver hold neither descriptors nor memory") {
    const ::pid_t child = in_child([] {
        int result = 1;
        run([&]() -> task<> {
            auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
            const std::size_t before = open_descriptors();
            const ::rlimit few{before + 24, before + 24};
            ::setrlimit(RLIMIT_NOFILE, &few);
            constexpr int count = 200;
            int failed = 0, good = 0, sent = 0;
            const auto send = [&](int i) -> task<> {
                const ipc::bytes all = filled(200000, i);
                try {
                    co_await ends.sender.send(all);
                    ++sent;
                } catch (const std::system_error&) {
                    ++failed;
                }
            };
            bool few_open = false;
            const auto receive = [&]() -> task<> {
                while (sent == 0) co_await yield();
                for (int i = 0; i < 100; ++i) co_await yield();
                few_open = open_descriptors() <= before + 12;
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
            result = few_open && failed == 0 && good == count ? 0 : 2;
        });
        return result;
    });
    CHECK(exit_of(child) == 0);
}

TEST_CASE("a limit for the size of files is an error of a large send, and no signal") {
    const ::pid_t child = in_child([] {
        int result = 1;
        run([&]() -> task<> {
            auto ends = ipc::pipe<ipc::bytes>(ipc::simplex);
            const ::rlimit least{1 << 16, 1 << 16};
            ::setrlimit(RLIMIT_FSIZE, &least);
            const ipc::bytes all = filled(large, 1), small = filled(1000, 1);
            std::error_code code;
            try {
                co_await ends.sender.send(all);
            } catch (const std::system_error& e) {
                code = e.code();
            }
            co_await ends.sender.send(small);
            auto got = co_await ends.receiver.recv();
            result = code == std::errc::file_too_large && is_filled(got, 1000, 1) ? 0 : 2;
        });
        return result;
    });
    CHECK(exit_of(child) == 0);
}

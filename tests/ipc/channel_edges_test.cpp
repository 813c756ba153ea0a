// SPDX-License-Identifier: MIT
// Channels and broadcasts at their edges: the order of what is staged and published, what is counted
// as missed, handles that go while something of theirs is under way, and loops that end.
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/ipc/broadcast.hpp>
#include <runnel/ipc/channel.hpp>
#include <runnel/ipc/list.hpp>
#include <runnel/loop.hpp>
#include <runnel/sleep.hpp>

#include "support/fds.hpp"
#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

struct alignas(64) wide {
    std::uint32_t value;
};

/// What a handle is when it travels, to be changed and attached.
template <class Handle>
class in_flight {
public:
    explicit in_flight(const Handle& handle) { ipc::encode(out_, handle); }
    [[nodiscard]] int fd(std::size_t i) const { return out_.handles()[i]; }
    [[nodiscard]] std::size_t count() const { return out_.handles().size(); }
    [[nodiscard]] Handle attach() const {
        std::vector<unique_fd> copies;
        for (const int each : out_.handles())
            copies.push_back(unique_fd(::fcntl(each, F_DUPFD_CLOEXEC, 0)));
        return ipc::decode<Handle>(out_.bytes(), copies);
    }

private:
    ipc::encoder out_;
};

template <class T>
void overwrite(int memory, ::off_t at, T value) {
    REQUIRE(::pwrite(memory, &value, sizeof value, at) == ::ssize_t{sizeof value});
}
constexpr ::off_t limit_at = 32;  // in the header of a segment
constexpr ::off_t step_at = 40;
constexpr ::off_t ring_at = 4096;

/// What a reader of a broadcast tells its writer when it is shared, with any number of sockets.
void send_notice(int notices, const void* bytes, std::size_t size, const std::vector<int>& fds) {
    ::iovec part{const_cast<void*>(bytes), size};
    alignas(::cmsghdr) std::array<std::byte, CMSG_SPACE(8 * sizeof(int))> control{};
    ::msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
        ::cmsghdr* first = CMSG_FIRSTHDR(&message);
        first->cmsg_level = SOL_SOCKET;
        first->cmsg_type = SCM_RIGHTS;
        first->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
        std::memcpy(CMSG_DATA(first), fds.data(), fds.size() * sizeof(int));
    }
    CHECK(::sendmsg(notices, &message, MSG_DONTWAIT) == ::ssize_t(size));
}

}  // namespace

TEST_CASE("what was published before its turn does not wait for what is staged", "[channel]") {
    auto ends = ipc::channel<int>({.capacity = 4});
    auto one = ends.writer.try_loan();
    auto two = ends.writer.try_loan();
    auto three = ends.writer.try_loan();
    **one = 1;
    **two = 2;
    **three = 3;
    two->publish();
    three->stage();
    CHECK(!ends.reader.try_receive());
    one->stage();
    for (int i = 1; i <= 3; ++i) CHECK(*ends.reader.try_receive().value() == i);
    auto four = ends.writer.try_loan();
    four->stage();
    CHECK(!ends.reader.try_receive());
}

TEST_CASE("a reader that is closed receives nothing more, not even what it has seen", "[channel]") {
    auto ends = ipc::channel<int>({.capacity = 4});
    for (int i = 0; i < 3; ++i) ends.writer.try_loan().value().publish();
    CHECK(ends.reader.try_receive());
    ends.reader.close();
    CHECK(ends.reader.ended());
    CHECK(code_of([&] { (void)ends.reader.try_receive(); }) == errc::closed);
    for (const auto policy : {ipc::when_behind::wait, ipc::when_behind::overwrite}) {
        auto many = ipc::broadcast<int>({.capacity = 4, .policy = policy});
        for (int i = 0; i < 3; ++i) many.writer.try_loan().value().publish();
        CHECK(many.reader.try_receive());
        many.reader.close();
        CHECK(code_of([&] { (void)many.reader.try_receive(); }) == errc::closed);
    }
}

TEST_CASE("an operation may outlive its handle", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<int>();
        auto receiving = ends.reader.receive();
        auto lending = ends.writer.loan();
        ends.reader = {};
        ends.writer = {};
        const auto reading = co_await error_of([&]() -> task<> { (void)co_await receiving; });
        const auto writing = co_await error_of([&]() -> task<> { (void)co_await lending; });
        CHECK(reading == errc::closed);
        CHECK(writing == errc::closed);
    });
}

TEST_CASE("loans that are dropped are not counted as missed", "[channel]") {
    auto ends = ipc::broadcast<int>({.capacity = 8, .policy = ipc::when_behind::overwrite});
    auto behind = ends.reader.share();
    std::uint64_t accounted = 0;
    for (int i = 0; i < 1000; ++i) {
        // In any order: some are dropped, some published before their turn.
        auto one = ends.writer.try_loan();
        auto two = ends.writer.try_loan();
        **one = **two = 2 * i;
        if (i % 3 == 0) {
            one->drop();
            two->publish();
        } else if (i % 3 == 1) {
            two->publish();
            one->drop();
        } else {
            two->drop();
            one->publish();
        }
        if (i % 50 != 49) continue;
        while (auto view = ends.reader.try_receive()) {
            accounted += view->missed() + 1;
            CHECK(**view == 2 * int(accounted - 1));
        }
        CHECK(accounted == std::uint64_t(i) + 1);
    }
    accounted = 0;
    while (auto view = behind.try_receive()) accounted += view->missed() + 1;
    CHECK(accounted == 1000);
}

TEST_CASE("a writer is told of the room that the last task of a loop has made", "[channel]") {
    for (const bool futex : {true, false}) {
        const without_futex as_before(!futex);
        const support::no_leaks leaks;
        constexpr int room = 16;
        auto ends = ipc::channel<int>({.capacity = room});
        for (int i = 0; i < room; ++i) ends.writer.try_loan().value().publish();
        std::optional<loop> reading(std::in_place);
        // It has to belong to the loop.
        reading->start([&]() -> task<> {
            for (int i = 0; i < room; ++i) (void)co_await ends.reader.receive();
            auto none = co_await with_timeout(ends.reader.receive(), 1ms);
            CHECK(!none);
        });
        reading->run();
        for (int i = 0; i < room; ++i) ends.writer.try_loan().value().publish();
        bool lent = false;
        std::thread writing([&] {
            run([&]() -> task<> {
                auto place = co_await with_timeout(ends.writer.loan(), 20s);
                lent = place.has_value();
            });
        });
        reading->start([&]() -> task<> {
            co_await sleep_for(20ms);  // so that the writer sleeps, most likely
            (void)ends.reader.try_receive();
        });
        reading->run();
        writing.join();
        CHECK(lent);
        ends.reader = {};
        ends.writer = {};
        reading.reset();
    }
}

TEST_CASE("records that a hostile writer's header would misalign are refused", "[channel]") {
    const auto refuses = [](auto end, int memory, ::off_t at, auto value) {
        const in_flight flying(end);
        overwrite(memory, at, value);
        return code_of([&] { (void)flying.attach(); }) == errc::protocol;
    };
    for (const std::uint32_t step : {8U, 16U, 128U}) {
        auto ends = ipc::channel<wide>({.capacity = 64});
        CHECK(in_flight(ends.reader).attach().closed() == false);
        const int memory = in_flight(ends.writer).fd(0);
        CHECK(refuses(std::move(ends.reader), memory, step_at, step));
        auto many = ipc::broadcast<wide>({.capacity = 64});
        const int records = in_flight(many.writer).fd(0);
        CHECK(refuses(std::move(many.reader), records, step_at, step));
    }
    // A ring in which no record has room would have its writer wait for ever.
    auto ends = ipc::channel<std::array<std::byte, 1000>>({.capacity = 64});
    const int memory = in_flight(ends.writer).fd(0);
    CHECK(refuses(std::move(ends.writer), memory, limit_at, std::uint64_t{512}));
}

TEST_CASE("a writer that came from a hostile one has its ring checked", "[channel]") {
    for (const std::uint64_t header : {std::uint64_t{0}, std::uint64_t{0xfffffff0} << 32}) {
        auto ends = ipc::broadcast<wide>({.capacity = 8, .policy = ipc::when_behind::overwrite});
        for (int i = 0; i < 8; ++i) ends.writer.try_loan().value().publish();
        overwrite(in_flight(ends.writer).fd(0), ring_at, header);
        const std::error_code code = code_of([&] {
            for (int i = 0; i < 8; ++i) (void)ends.writer.try_loan();
        });
        CHECK(code == errc::protocol);
    }
}

TEST_CASE("a broadcast's writer goes on whatever its readers send it", "[channel]") {
    auto ends = ipc::broadcast<int>({.capacity = 4});
    const in_flight flying(ends.reader);
    const int notices = flying.fd(flying.count() - 1);
    const std::array<std::uint64_t, 2> notice{77, 3};
    CHECK(ends.writer.readers() == 1);
    const descriptor_count before;
    {
        std::array<int, 2> pair{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) == 0);
        const unique_fd one(pair[0]);
        const unique_fd two(pair[1]);
        send_notice(notices, notice.data(), sizeof notice, {one.get(), one.get(), one.get()});
        send_notice(notices, notice.data(), sizeof notice - 1, {one.get()});
    }
    // No socket at all: it can be read for ever.
    std::array<int, 2> pipe_ends{};
    REQUIRE(::pipe2(pipe_ends.data(), O_CLOEXEC) == 0);
    {
        const unique_fd reading(pipe_ends[0]);
        const unique_fd writing(pipe_ends[1]);
        CHECK(::write(writing.get(), "x", 1) == 1);
        send_notice(notices, notice.data(), sizeof notice, {reading.get()});
    }
    send_notice(notices, notice.data(), 0, {});
    CHECK(ends.writer.readers() == 1);
    CHECK(before.unchanged());
    for (int i = 0; i < 4; ++i) ends.writer.try_loan().value().publish();
    CHECK(!ends.writer.try_loan());
    CHECK(ends.reader.try_receive());
    CHECK(ends.writer.try_loan());
}

TEST_CASE("what an untrusted reader's process inherits by fork is not the records", "[channel]") {
    for (const bool untrusted : {false, true}) {
        auto ends = ipc::channel<int>({.untrusted_reader = untrusted});
        auto place = ends.writer.try_loan();
        const auto page = reinterpret_cast<std::uintptr_t>(place->data()) & ~std::uintptr_t{4095};
        const ::pid_t child = ::fork();
        if (child == 0) {
            unsigned char there = 0;
            ::_exit(::mincore(reinterpret_cast<void*>(page), 4096, &there) == 0 ? 1 : 0);
        }
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        CHECK(WEXITSTATUS(status) == (untrusted ? 0 : 1));
    }
}

TEST_CASE("a list that says it has more slots than there is memory for is refused", "[list]") {
    // As much as can be mapped, all of it a hole.
    const ipc::list small({std::int64_t{1}});
    ipc::encoder out;
    ipc::encode(out, small);
    constexpr std::uint64_t body = std::uint64_t{1} << 43;
    const unique_fd memory(::memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::ftruncate(memory.get(), 4096 + ::off_t{body}) == 0);
    std::array<std::byte, 4096> page{};
    REQUIRE(::pread(out.handles()[0], page.data(), page.size(), 0) == 4096);
    std::memcpy(page.data() + 24, &body, sizeof body);
    const std::uint64_t count = body / 16;
    std::memcpy(page.data() + 64 + 8, &count, sizeof count);
    REQUIRE(::pwrite(memory.get(), page.data(), page.size(), 0) == 4096);
    REQUIRE(::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
    std::vector<unique_fd> handles;
    handles.push_back(memory.duplicate());
    for (const int each : out.handles().subspan(1))
        handles.push_back(unique_fd(::fcntl(each, F_DUPFD_CLOEXEC, 0)));
    CHECK(code_of([&] { (void)ipc::decode<ipc::list>(out.bytes(), handles); }) == errc::protocol);
}

TEST_CASE("the reader's pages cannot be written", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<int>();
        auto place = co_await ends.writer.loan();
        *place = 5;
        place.publish();
        auto view = co_await ends.reader.receive();
        const unique_fd zero(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
        auto* const at = const_cast<int*>(view->data());
        CHECK(::read(zero.get(), at, sizeof *at) == -1);
        CHECK(errno == EFAULT);
        CHECK(::mprotect(reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(at) & ~4095UL),
                         4096, PROT_READ | PROT_WRITE) == -1);
        CHECK(**view == 5);
    });
}

TEST_CASE("an idle channel takes 64 KiB at most", "[channel]") {
    const std::uint64_t before = bytes_in_memory();
    constexpr std::size_t many = 32;
    std::vector<ipc::channel_ends<std::byte>> all;
    for (std::size_t i = 0; i < many; ++i) all.push_back(ipc::channel<std::byte>());
    const std::uint64_t each = (bytes_in_memory() - before) / many;
    CHECK(each > 0);
    CHECK(each <= 65536);
}

// SPDX-License-Identifier: MIT
// What others have written into a queue that they should not have, and what they were stopped in
// the middle of.
#include <runnel/ipc/queue.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "support/arrived.hpp"
#include "support/fds.hpp"
#include "support/hostile.hpp"
#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

/// No number is 13.
struct lucky {
    int number = 0;
};

}  // namespace

template <>
struct runnel::ipc::codec<lucky> {
    static constexpr std::uint64_t signature = 0x6c75636b79;
    [[maybe_unused]] static constexpr std::size_t min_size = 4;
    static constexpr bool carries_handles = false;
    static void encode(encoder& out, const lucky& value) { out.write(value.number); }
    static lucky decode(decoder& in) {
        const lucky value{in.read<int>()};
        if (value.number == 13) in.fail("thirteen");
        return value;
    }
};

namespace {

/// The memory of a queue, as somebody else sees it.
class raw_queue {
public:
    template <class Handle>
    explicit raw_queue(const Handle& handle)
        : at_(static_cast<std::byte*>(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED,
                                             descriptors_of(handle).front(), 0))) {
        REQUIRE(at_ != MAP_FAILED);
    }
    ~raw_queue() { ::munmap(at_, size); }
    raw_queue(const raw_queue&) = delete;
    raw_queue& operator=(const raw_queue&) = delete;
    /// The locks of those who put and of those who get.
    std::uint32_t& put_lock() { return word(page - 16); }
    std::uint32_t& get_lock() { return word(2 * page - 16); }
    /// The pid of one who gets.
    std::uint32_t& member(std::size_t i) { return word(2 * page + i * 64); }
    /// Part of the number of the pid namespace.
    std::uint32_t& pid_space() { return word(64 + 16); }

private:
    static constexpr std::size_t page = 4096;
    static constexpr std::size_t size = 8 * page;
    std::uint32_t& word(std::size_t at) { return *reinterpret_cast<std::uint32_t*>(at_ + at); }
    std::byte* at_;
};

/// A thread that does nothing, as long as this lives.
class idle_thread {
public:
    idle_thread() {
        std::promise<std::uint32_t> known;
        auto id = known.get_future();
        thread_ = std::thread([&, until = over_.get_future()] {
            known.set_value(static_cast<std::uint32_t>(::gettid()));
            until.wait();
        });
        id_ = id.get();
    }
    ~idle_thread() {
        over_.set_value();
        thread_.join();
    }
    idle_thread(const idle_thread&) = delete;
    idle_thread& operator=(const idle_thread&) = delete;
    [[nodiscard]] std::uint32_t id() const noexcept { return id_; }

private:
    std::promise<void> over_;
    std::thread thread_;
    std::uint32_t id_ = 0;
};

task<> take_and_keep(ipc::getter<int> in, unique_fd say) {
    auto one = co_await in.get_leased();
    tell(say);
    co_await sleep_for(1h);
}

/// Somebody who lives, and never does anything with a queue, is in a section.
constexpr std::uint32_t somebody = 1;

}  // namespace

TEST_CASE("an item that makes no sense is dropped, with an error, and counts as done") {
    const lucky thirteen{13};
    const lucky seven{7};
    for (const bool leases : {false, true}) {
        INFO((leases ? "with leases" : "without leases"));
        run([&]() -> task<> {
            auto q = ipc::queue<lucky>({.lease = leases});
            for (int i = 0; i < 3; ++i) co_await q.putter.put(thirteen);
            co_await q.putter.put(seven);
            std::error_code code = co_await error_of([&] { return q.getter.get(); });
            CHECK(code == errc::protocol);
            code = code_of([&] { static_cast<void>(q.getter.try_get()); });
            CHECK(code == errc::protocol);
            if (leases)
                code = co_await error_of([&] { return q.getter.get_leased(); });
            else
                code = co_await error_of([&] { return q.getter.get(); });
            CHECK(code == errc::protocol);
            CHECK(!q.getter.closed());
            auto other = q.getter.share();
            auto got = co_await other.get();
            CHECK(got->number == 7);
            other.task_done();
            const bool done = co_await with_timeout(q.getter.join(), 5s);
            CHECK(done);
            CHECK(q.getter.empty());
            CHECK_THROWS_AS(q.getter.task_done(), std::invalid_argument);
        });
    }
}

TEST_CASE("nobody hangs on one who was stopped in the middle of a get") {
    const auto before = std::chrono::steady_clock::now();
    auto q = ipc::queue<int>();
    REQUIRE(q.putter.try_put(1));
    REQUIRE(q.getter.try_get() == 1);
    raw_queue raw(q.putter);
    raw.get_lock() = somebody;
    CHECK(code_of([&] { q.getter.task_done(); }) == std::errc::timed_out);
    CHECK(code_of([&] { q.putter.shutdown(); }) == std::errc::timed_out);
    CHECK(!q.getter.closed());
    q.getter.close();
    CHECK(std::chrono::steady_clock::now() - before < 20s);
}

TEST_CASE("nobody hangs on one who was stopped in the middle of a put") {
    auto q = ipc::queue<int>();
    raw_queue raw(q.putter);
    raw.put_lock() = somebody;
    CHECK(!q.putter.try_put(1));
    CHECK(code_of([&] { q.putter.shutdown(); }) == std::errc::timed_out);
    raw.put_lock() = 0;
    q.putter.shutdown();
    CHECK(code_of([&] { static_cast<void>(q.putter.try_put(1)); }) == errc::closed);
}

TEST_CASE("leases that end while somebody is stopped in the middle of a get end later") {
    run([]() -> task<> {
        auto q = ipc::queue<int>({.lease = true});
        for (int i = 1; i < 4; ++i) co_await q.putter.put(i);
        auto first = co_await q.getter.get_leased();
        auto second = co_await q.getter.get_leased();
        auto third = co_await q.getter.get_leased();
        raw_queue raw(q.putter);
        raw.get_lock() = somebody;
        first->done();
        second->give_back();
        CHECK(q.getter.empty());
        raw.get_lock() = 0;
        auto again = co_await with_timeout(q.getter.get_leased(), 5s);
        REQUIRE((again && *again));
        CHECK(***again == 2);
        (*again)->done();
        third->done();
        const bool done = co_await with_timeout(q.getter.join(), 5s);
        CHECK(done);
    });
}

TEST_CASE("a lock that nobody holds who exists is an error") {
    auto q = ipc::queue<int>();
    REQUIRE(q.putter.try_put(1));
    REQUIRE(q.getter.try_get() == 1);
    raw_queue raw(q.putter);
    raw.get_lock() = 0x3fffffff;
    CHECK(code_of([&] { q.getter.task_done(); }) == errc::protocol);
    CHECK(code_of([&] { q.putter.shutdown(); }) == errc::protocol);
}

TEST_CASE("what a killed process had comes again when its pid is that of a thread now") {
    run([]() -> task<> {
        auto q = ipc::queue<int>({.lease = true});
        co_await q.putter.put(1);
        signal_pipe up;
        auto child = ipc::spawn(take_and_keep, q.getter.share(), std::move(up.say));
        const bool there = co_await told(up.hear);
        CHECK(there);
        child.kill();
        co_await child.wait();
        raw_queue raw(q.putter);
        CHECK(raw.member(0) == static_cast<std::uint32_t>(child.pid()));
        const idle_thread other;  // after the fork
        raw.member(0) = other.id();
        auto again = co_await with_timeout(q.getter.get_leased(), 5s);
        REQUIRE((again && *again));
        CHECK(***again == 1);
    });
}

TEST_CASE("those who have left are not watched any more") {
    run([]() -> task<> {
        auto q = ipc::queue<int>({.lease = true});
        bool ended = false;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                auto one = co_await q.getter.get_leased();
                ended = !one;
            });
            co_await turns();
            // One who comes to wait looks for those who have come, and those who have gone.
            const auto look = [&]() -> task<> {
                co_await with_timeout(q.getter.get_leased(), 0us);
                co_await turns();
            };
            const auto visit = [&]() -> task<> {
                auto visitor = arrived(q.getter);
                CHECK(!visitor.try_get());  // takes a place
                co_await look();
                visitor.close();
                co_await look();
            };
            co_await visit();
            const std::size_t before = open_descriptors();
            for (int i = 0; i < 40; ++i) co_await visit();
            for (int i = 0; i < 10'000 && open_descriptors() > before; ++i) co_await yield();
            CHECK(open_descriptors() <= before);
            q.putter.close();
        });
        CHECK(ended);
    });
}

TEST_CASE("a process whose place was given away takes another one") {
    auto q = ipc::queue<int>();
    for (int i = 0; i < 3; ++i) REQUIRE(q.putter.try_put(i));
    CHECK(q.getter.try_get() == 0);
    raw_queue raw(q.putter);
    CHECK(raw.member(0) == static_cast<std::uint32_t>(::getpid()));
    raw.member(0) = 0;
    CHECK_THROWS_AS(q.getter.task_done(), std::invalid_argument);
    CHECK(q.getter.try_get() == 1);
    CHECK(raw.member(0) == static_cast<std::uint32_t>(::getpid()));
    q.getter.task_done();
    raw.member(0) = somebody;
    CHECK(q.getter.try_get() == 2);
    CHECK(raw.member(1) == static_cast<std::uint32_t>(::getpid()));
}

TEST_CASE("a queue of another pid namespace is refused") {
    auto q = ipc::queue<int>();
    auto one = arrived(q.getter);
    ++raw_queue(q.putter).pid_space();
    CHECK(code_of([&] { static_cast<void>(arrived(q.getter)); }) ==
          std::errc::operation_not_supported);
    CHECK(code_of([&] { static_cast<void>(arrived(q.putter)); }) ==
          std::errc::operation_not_supported);
}

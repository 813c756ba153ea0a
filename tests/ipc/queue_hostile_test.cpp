// SPDX-License-Identifier: MIT
// What others have written into a queue that they should not have, and what they were stopped in
// the middle of.
#include <runnel/ipc/queue.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <sys/mman.h>

#include "queue_tools.hpp"
#include "support/hostile.hpp"

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
    static constexpr std::size_t min_size = 4;
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

private:
    static constexpr std::size_t page = 4096;
    static constexpr std::size_t size = 8 * page;
    std::uint32_t& word(std::size_t at) { return *reinterpret_cast<std::uint32_t*>(at_ + at); }
    std::byte* at_;
};

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

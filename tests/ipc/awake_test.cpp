// SPDX-License-Identifier: MIT
// What an item costs while both sides are awake: no memory, and nothing of the kernel. Two processes
// may have to share a CPU, or lose it, and sleep then; so what counts is the best of many windows, of
// so many items that one call an item, or one for several, would show.
#include <algorithm>
#include <cstdint>
#include <utility>

#include <runnel/ipc.hpp>

#include "support/allocations.hpp"
#include "support/system_calls.hpp"
#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

std::uint64_t called = 0;

/// Calls of the kernel by this process: io_uring_enter, futex, read, write, and the like; not
/// sched_yield.
std::uint64_t calls() {
    const loop_stats stats = loop::current()->stats();
    return stats.enters + stats.direct_calls + called;
}

struct cost {
    std::uint64_t calls;
    std::uint64_t allocations;
    bool operator==(const cost&) const = default;
};
constexpr std::uint64_t windows = 100;
constexpr std::uint64_t window = 500;  // items

/// The least of each that a window of items costs.
template <class One>
task<cost> least(One one) {
    called = 0;
    support::on_system_call = [](const support::system_call& call) { called += !call.result; };
    cost best{~std::uint64_t{0}, ~std::uint64_t{0}};
    std::uint64_t number = 0;
    for (std::uint64_t i = 0; i < windows; ++i) {
        const std::uint64_t calls_before = calls();
        const std::uint64_t allocated = allocations();
        for (std::uint64_t k = 0; k < window; ++k, ++number) co_await one(number);
        best.calls = std::min(best.calls, calls() - calls_before);
        best.allocations = std::min<std::uint64_t>(best.allocations, allocations() - allocated);
    }
    support::on_system_call = nullptr;
    co_return best;
}

task<cost> put_all(ipc::putter<std::uint64_t> out) {
    auto one = [&](const std::uint64_t& number) { return out.put(number); };
    co_return co_await least(one);
}
task<cost> get_all(ipc::getter<std::uint64_t> in) {
    auto one = [&](std::uint64_t) { return in.get(); };
    co_return co_await least(one);
}

/// The awaitable of a whole record: a task would be a frame for each, from a pool, but not the same.
template <class Writer>
task<cost> write_all_of(Writer to) {
    auto one = [&](std::uint64_t number) -> task<> {
        auto loan = co_await to.loan();
        *loan = number;
        loan.publish();
    };
    co_return co_await least(one);
}
template <class Reader>
task<cost> read_all_of(Reader from) {
    auto one = [&](std::uint64_t number) -> task<> {
        auto view = co_await from.receive();
        if (!view || **view != number) std::abort();
    };
    co_return co_await least(one);
}

}  // namespace

TEST_CASE("an item of a queue between processes costs no call of the kernel, and no memory") {
    both_ways([]() -> task<> {
        auto ends = ipc::queue<std::uint64_t>();
        auto child = ipc::spawn(get_all, std::move(ends.getter));
        auto own = put_all(std::move(ends.putter));
        const cost putting = co_await std::move(own);
        const cost getting = co_await child.join();
        CHECK(putting == cost{0, 0});
        CHECK(getting == cost{0, 0});
    });
}

TEST_CASE("a record between processes costs no call of the kernel, and no memory", "[channel]") {
    both_ways([]() -> task<> {
        auto ends = ipc::channel<std::uint64_t>({.capacity = 1024});
        auto child =
            ipc::spawn(read_all_of<ipc::channel_reader<std::uint64_t>>, std::move(ends.reader));
        auto own = write_all_of(std::move(ends.writer));
        const cost writing = co_await std::move(own);
        const cost reading = co_await child.join();
        CHECK(writing == cost{0, 0});
        CHECK(reading == cost{0, 0});

        auto many = ipc::broadcast<std::uint64_t>({.capacity = 1024});
        auto reader =
            ipc::spawn(read_all_of<ipc::broadcast_reader<std::uint64_t>>, std::move(many.reader));
        auto also = write_all_of(std::move(many.writer));
        const cost sending = co_await std::move(also);
        const cost receiving = co_await reader.join();
        CHECK(sending == cost{0, 0});
        CHECK(receiving == cost{0, 0});
    });
}

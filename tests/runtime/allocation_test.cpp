// SPDX-License-Identifier: MIT
// What costs memory. The counting operator new serves the whole test program.
#include <cstdlib>
#include <new>
#include <thread>

#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RUNNEL_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RUNNEL_TEST_SANITIZED 1
#endif
#endif

#ifndef RUNNEL_TEST_SANITIZED

namespace {
thread_local std::size_t allocations = 0;
}

void* operator new(std::size_t size) {
    ++allocations;
    if (void* memory = std::malloc(size != 0 ? size : 1)) return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

using namespace runnel;
using namespace std::chrono_literals;

namespace {

task<int> small(int n) {
    co_await yield();
    co_return n;
}

/// How many allocations `rounds` of `work` make, after some to warm up.
template <class F>
std::size_t allocations_of(F work, int rounds = 1000) {
    std::size_t counted = 0;
    run([&]() -> task<> {
        for (int i = 0; i < 200; ++i) co_await work();
        const std::size_t before = allocations;
        for (int i = 0; i < rounds; ++i) co_await work();
        counted = allocations - before;
    });
    return counted;
}

}  // namespace

TEST_CASE("a task takes a recycled frame: no allocation in steady state") {
    CHECK(allocations_of([] { return small(1); }) == 0);
}

TEST_CASE("a loop counts the frames and records that the heap was asked for") {
    run([]() -> task<> {
        loop& l = *loop::current();
        for (int i = 0; i < 200; ++i) co_await small(1);
        const auto before = l.stats().allocations;
        for (int i = 0; i < 1000; ++i) co_await small(1);
        CHECK(l.stats().allocations == before);
        co_await open_nursery([](nursery& n) -> task<> {
            for (int i = 0; i < 500; ++i) n.start(small, 1);
            co_return;
        });
        CHECK(l.stats().allocations >= before + 900);  // few of them are free from earlier tests
        const auto elsewhere = l.stats().allocations;
        loop_stats seen;
        std::thread([&] { seen = l.stats(); }).join();
        CHECK(seen.allocations == 0);
        CHECK(l.stats().allocations == elsewhere);
    });
}

TEST_CASE("sleeping, waiting and yielding allocate nothing") {
    event e;
    e.set();
    CHECK(allocations_of([] { return sleep_for(0s); }) == 0);
    CHECK(allocations_of([] { return yield(); }) == 0);
    CHECK(allocations_of([&] { return e.wait(); }) == 0);
}

TEST_CASE("an operation, a timeout and a race of two allocate nothing") {
    int fds[2];
    REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
    const unique_fd out(fds[0]), in(fds[1]);
    char c = 'x';
    const auto one = std::as_writable_bytes(std::span(&c, 1));
    event e;
    e.set();
    CHECK(allocations_of([] { return io::nop(); }) == 0);
    CHECK(allocations_of([&] { return with_timeout(io::nop(), 1h); }) == 0);
    CHECK(allocations_of([&] { return with_timeout(io::read(out.get(), one), 0s); }) == 0);
    CHECK(allocations_of([&] { return race(io::nop(), sleep_for(1h)); }) == 0);
    CHECK(allocations_of([&] { return race(io::read(out.get(), one), e.wait()); }) == 0);
    CHECK(allocations_of([&] { return when_all(io::nop(), io::nop()); }) == 0);
    CHECK(allocations_of([&]() -> task<> {
              co_await io::write(in.get(), one);
              co_await io::read(out.get(), one);
          }) == 0);
}

TEST_CASE("children of a nursery take recycled records and frames") {
    CHECK(allocations_of([]() -> task<> {
              co_await open_nursery([](nursery& n) -> task<> {
                  n.start(small, 1);
                  n.start(small, 2);
                  co_return;
              });
          }) == 0);
}

namespace {
/// Waits for nothing at all: what is measured is the task and its record.
struct forever {
    bool await_ready() const noexcept { return false; }
    void await_suspend(waiter) const noexcept {}
    void await_resume() const noexcept {}
    cancellation await_cancel() const noexcept { return cancellation::now; }
};
task<> suspended() { co_await forever(); }
}  // namespace

TEST_CASE("a suspended minimal task takes no more than 200 bytes") {
    constexpr std::size_t count = 10'000;
    std::size_t bytes = 0;
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            const std::size_t before = ::mallinfo2().uordblks;
            for (std::size_t i = 0; i < count; ++i) n.start(suspended);
            co_await yield();
            bytes = (::mallinfo2().uordblks - before) / count;
            n.cancel();
        });
    });
    INFO("bytes a task: " << bytes);
    CHECK(bytes > 0);
#ifdef __OPTIMIZE__
    CHECK(bytes <= 200);
#else
    CHECK(bytes <= 300);  // compilers lay frames out generously then
#endif
}

#endif

// SPDX-License-Identifier: MIT
// Handles of a queue that are dropped on other threads than their loop's.
#include <runnel/ipc/queue.hpp>

#include <atomic>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <runnel/ipc/event.hpp>
#include <runnel/loop.hpp>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

/// A thread that drops what it is given.
template <class Handle>
class dropping_thread {
public:
    ~dropping_thread() { join(); }
    void give(Handle one) {
        const std::lock_guard held(alone_);
        given_.push_back(std::move(one));
    }
    void join() {
        over_ = true;
        if (thread_.joinable()) thread_.join();
    }

private:
    void drop_all() {
        for (;;) {
            const bool last = over_;
            std::vector<Handle> mine;
            {
                const std::lock_guard held(alone_);
                mine.swap(given_);
            }
            if (mine.empty() && last) return;
            if (mine.empty()) std::this_thread::yield();
        }
    }
    std::mutex alone_;
    std::vector<Handle> given_;
    std::atomic<bool> over_{false};
    std::thread thread_{[this] { drop_all(); }};
};

}  // namespace

TEST_CASE("handles are dropped on another thread while others of their loop wait") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        dropping_thread<ipc::getter<int>> other;
        bool over = false;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 20; ++i)
                n.start([&]() -> task<> {
                    auto mine = q.getter.share();
                    while (!over) co_await with_timeout(mine.get(), 10us);
                });
            n.start([&]() -> task<> {
                for (int i = 0; i < 2000; ++i) {
                    auto one = q.getter.share();
                    co_await with_timeout(one.get(), 0us);
                    other.give(std::move(one));
                    if (i % 16 == 0) co_await yield();
                }
                over = true;
            });
            co_return;
        });
        other.join();
        co_await q.putter.put(1);
        auto got = co_await q.getter.get();
        CHECK(got == 1);
    });
}

TEST_CASE("a handle that another thread drops ends what is pending on it") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        std::error_code code;
        co_await open_nursery([&](nursery& n) -> task<> {
            auto mine = q.getter.share();
            ipc::getter<int>* at = &mine;
            n.start([&, at]() -> task<> { code = co_await error_of([at] { return at->get(); }); });
            co_await turns();
            std::thread other([one = std::move(mine)]() mutable { auto gone = std::move(one); });
            other.join();
        });
        CHECK(code == errc::closed);
        q.getter.close();
        // Nothing of it is left, once the kernel has let go of it.
        do {
            co_await yield();
            code = co_await error_of([&] { return q.putter.put(borrowed<1>); });
        } while (!code);
        CHECK(code == std::errc::broken_pipe);
    });
}

TEST_CASE("a handle is dropped on another thread while its loop ends") {
    auto q = ipc::queue<int>();
    {
        dropping_thread<ipc::getter<int>> other;
        for (int i = 0; i < 1000; ++i) {
            loop one;
            auto mine = q.getter.share();
            one.start([&]() -> task<> { co_await with_timeout(mine.get(), 0us); });
            one.run();
            other.give(std::move(mine));
        }
    }
    CHECK(q.putter.try_put(1));
    CHECK(q.getter.try_get() == 1);
}

TEST_CASE("a shared event is dropped on another thread while its loop ends") {
    dropping_thread<std::optional<ipc::event>> other;
    for (int i = 0; i < 1000; ++i) {
        loop one;
        std::optional<ipc::event> mine(std::in_place);
        one.start([&]() -> task<> { co_await with_timeout(mine->wait(), 0us); });
        one.run();
        other.give(std::move(mine));
    }
}

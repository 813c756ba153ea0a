// SPDX-License-Identifier: MIT
// Programs as users write them: tasks that wait for each other.
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <runnel/runnel.hpp>

#include "programs/expect.hpp"
#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

// A queue as users write one, of the parts that the library has.
template <class T>
class channel {
public:
    explicit channel(std::size_t room) : room_(room), items_(0) {}
    task<> put(T value) {
        co_await room_.acquire();
        all_.push_back(std::move(value));
        items_.release();
    }
    task<T> get() {
        co_await items_.acquire();
        T value = std::move(all_.front());
        all_.pop_front();
        room_.release();
        co_return value;
    }

private:
    semaphore room_, items_;
    std::deque<T> all_;
};

}  // namespace

TEST_CASE("producer and consumer over semaphores") {
    std::string got;
    run([&]() -> task<> {
        channel<std::unique_ptr<std::string>> c(2);
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                for (int i = 0; i < 10; ++i)
                    co_await c.put(std::make_unique<std::string>(std::to_string(i)));
                co_await c.put(nullptr);
            });
            n.start([&]() -> task<> {
                while (auto s = co_await c.get()) got += *s;
            });
            co_return;
        });
    });
    CHECK(got == "0123456789");
}

TEST_CASE("a lock across awaits keeps a total right") {
    int total = 0;
    run([&]() -> task<> {
        mutex m;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 10; ++i)
                n.start([&]() -> task<> {
                    auto held = co_await m.lock();
                    const int seen = total;
                    co_await yield();
                    total = seen + 1;
                });
            co_return;
        });
    });
    CHECK(total == 10);
}

TEST_CASE("a lock held for one statement") {
    mutex m;
    run([&]() -> task<> {
        std::vector<int> v;
        (void)co_await m.lock(), v.push_back(1);
        CHECK_FALSE(m.is_locked());
        if (auto held = co_await m.lock()) v.push_back(2);
        CHECK_FALSE(m.is_locked());
        {
            auto held = co_await m.lock();
            CHECK_FALSE(m.try_lock());
            held.unlock();
            CHECK(m.try_lock());
        }
        if (auto held = co_await with_timeout(m.lock(), 1s)) v.push_back(3);
        CHECK(v.size() == 3);
    });
    CHECK_FALSE(m.is_locked());
}

TEST_CASE("wait for a lock no longer than a moment") {
    mutex m;
    bool got = true;
    run([&]() -> task<> {
        auto held = co_await m.lock();
        if (auto second = co_await with_timeout(m.lock(), 1ms))
            got = true;
        else
            got = false;
    });
    CHECK_FALSE(got);
    CHECK_FALSE(m.is_locked());
}

TEST_CASE("a condition, with a predicate and without") {
    std::vector<int> order;
    run([&]() -> task<> {
        mutex m;
        condition changed;
        std::deque<int> jobs;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                auto held = co_await m.lock();
                while (order.size() < 3) {
                    co_await changed.wait(held, [&] { return !jobs.empty(); });
                    order.push_back(jobs.front());
                    jobs.pop_front();
                }
            });
            n.start([&]() -> task<> {
                for (int i = 0; i < 3; ++i) {
                    auto held = co_await m.lock();
                    jobs.push_back(i);
                    changed.notify_one();
                    held.unlock();
                    co_await yield();
                }
            });
            co_return;
        });
        auto held = co_await m.lock();
        if (!co_await with_timeout(changed.wait(held), 1ms)) order.push_back(9);
        while (jobs.empty() && co_await with_timeout(changed.wait(held), 1ms)) {
        }
    });
    CHECK(order == std::vector<int>{0, 1, 2, 9});
}

TEST_CASE("phases that all parties begin together") {
    std::string log;
    run([&]() -> task<> {
        barrier phase(3);
        co_await open_nursery([&](nursery& n) -> task<> {
            for (char name : {'a', 'b', 'c'})
                n.start([&, name]() -> task<> {
                    for (int i = 0; i < 3; ++i) {
                        log += name;
                        if (co_await phase.arrive_and_wait() == 2) log += '|';
                    }
                });
            co_return;
        });
    });
    CHECK(log.size() == 12);
    CHECK(log[3] == '|');
    CHECK(log[7] == '|');
}

TEST_CASE("an event ends many waits") {
    int woken = 0;
    event go;
    auto waiter = [](event& e, int& count) -> task<> {
        co_await e.wait();
        ++count;
    };
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 5; ++i) n.start(waiter, std::ref(go), std::ref(woken));
            co_await yield();
            CHECK(woken == 0);
            go.set();
        });
    });
    CHECK(woken == 5);
}

TEST_CASE("at most two at a time") {
    int now = 0, most = 0;
    run([&]() -> task<> {
        semaphore slots(2);
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 8; ++i)
                n.start([&]() -> task<> {
                    auto slot = co_await slots.hold();
                    most = std::max(most, ++now);
                    co_await sleep_for(100us);
                    --now;
                });
            co_return;
        });
        CHECK(slots.available() == 2);
        for (int i = 0; i < 5; ++i) auto one = co_await slots.hold(2);
        CHECK(slots.try_acquire());
        slots.release();
    });
    CHECK(most == 2);
}

TEST_CASE("a thread tells the loop that it has finished") {
    event done;
    int value = 0;
    run([&]() -> task<> {
        std::thread worker([&] {
            value = 42;
            done.set();
        });
        co_await done.wait();
        worker.join();
        CHECK(value == 42);
    });
}

TEST_CASE("a result that many wait for") {
    struct lazy_value {
        mutex m;
        std::optional<std::string> value;
        int computed = 0;
        task<std::string> get() {
            auto held = co_await m.lock();
            if (!value) {
                co_await sleep_for(1ms);
                ++computed;
                value = std::string(40, 'v');
            }
            co_return *value;
        }
    } shared;
    run([&]() -> task<> {
        auto got = co_await when_all(shared.get(), shared.get(), shared.get());
        CHECK(std::get<2>(got).size() == 40);
    });
    CHECK(shared.computed == 1);
}

TEST_CASE("debounce: act when nothing has come for a while") {
    int acted = 0;
    loop l({.virtual_time = true});
    event input;
    l.start([&]() -> task<> {
        for (int i = 0; i < 3; ++i) {
            co_await sleep_for(10ms);
            input.set();
        }
    });
    l.start([&]() -> task<> {
        co_await input.wait();
        do {
            input.clear();
        } while (co_await with_timeout(input.wait(), 50ms));
        ++acted;
    });
    l.run();
    CHECK(acted == 1);
}

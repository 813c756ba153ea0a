// SPDX-License-Identifier: MIT
// A worked example of an awaitable of one's own, and what knows nothing of runnel.
#include <coroutine>
#include <deque>

#include <runnel/runnel.hpp>
#include <runnel/testing/no_loss.hpp>

#include "support/catch.hpp"
#include "support/witness.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

/// A box of tickets: take() waits for one, put() adds one. First come, first served.
class ticket_box {
    class take_await {
    public:
        static constexpr bool is_atomic = true;  // cancelled means that no ticket was taken
        explicit take_await(ticket_box& of) : box_(of) {}
        take_await(const take_await&) = delete;

        bool await_ready() const { return false; }
        bool await_suspend(waiter who) {  // false: done already
            if (box_.left_ > 0 && box_.waiting_.empty()) {
                --box_.left_;
                return false;
            }
            who_ = who;
            box_.waiting_.push_back(this);
            return true;
        }
        void await_resume() const {}
        // Asked only while it waits, or after the ticket was handed over: then it is too late.
        cancellation await_cancel() noexcept {
            if (std::erase(box_.waiting_, this) == 0) return cancellation::too_late;
            return cancellation::now;
        }

    private:
        friend class ticket_box;
        ticket_box& box_;
        waiter who_;
    };

public:
    struct [[nodiscard]] take_operation {
        explicit take_operation(ticket_box& of) : box(of) {}
        take_await operator co_await() const { return take_await(box); }
        ticket_box& box;
    };
    take_operation take() { return take_operation(*this); }
    void put() {
        if (waiting_.empty()) {
            ++left_;
            return;
        }
        take_await* first = waiting_.front();
        waiting_.pop_front();
        first->who_.resume();  // the ticket is its own from here on
    }
    int left() const { return left_; }

private:
    int left_ = 0;
    std::deque<take_await*> waiting_;
};

// All that the harness needs to know of it.
struct take_ticket {
    ticket_box box;
    int puts = 0;
    auto operation() { return box.take(); }
    void complete() { box.put(), ++puts; }
    bool balanced(bool delivered) { return box.left() + delivered == puts; }
};

static_assert(awaitable<ticket_box::take_operation>);
static_assert(atomic_awaitable<ticket_box::take_operation>);
static_assert(!awaitable<std::suspend_always>);
static_assert(!atomic_awaitable<task<>>);

/// Resumed by hand, through the coroutine's own handle.
struct foreign {
    explicit foreign(std::coroutine_handle<>& slot) : waiting(slot) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) noexcept { waiting = h; }
    int await_resume() const noexcept { return 3; }
    std::coroutine_handle<>& waiting;
};

}  // namespace

TEST_CASE("an awaitable of one's own loses nothing") {
    testing::no_loss proof;
    proof.put<take_ticket>("ticket_box.take");
    INFO(proof);
    CHECK(proof.complete());
    CHECK(proof.problems().empty());
}

TEST_CASE("an awaitable of one's own is raced, timed and stopped like any other") {
    run(
        []() -> task<> {
            ticket_box box;
            const bool late = co_await with_timeout(box.take(), 1h);
            CHECK(!late);
            box.put();
            const bool taken = co_await with_timeout(box.take(), 0s);
            CHECK(taken);
            box.put();
            auto got = co_await race(box.take(), sleep_for(1h));
            CHECK(std::get<0>(got).has_value());
            CHECK(box.left() == 0);
        },
        virtual_time);
}

TEST_CASE("a foreign awaitable may resume a task between two turns, and so end it") {
    std::coroutine_handle<> waiting;
    int value = 0;
    loop l;
    l.start([](std::coroutine_handle<>& slot, int& v) -> task<> { v = co_await foreign(slot); },
            std::ref(waiting), std::ref(value));
    l.poll();
    REQUIRE(waiting);
    waiting.resume();
    CHECK(value == 3);
    l.poll();
    CHECK(l.done());
}

TEST_CASE("a cancelled task that waits for a foreign awaitable goes on until its next await") {
    std::coroutine_handle<> waiting;
    std::string log;
    loop l;
    l.start(
        [](std::coroutine_handle<>& slot, std::string& g) -> task<> {
            const witness w(g, '.');
            co_await foreign(slot);
            g += "resumed";
            co_await yield();
            g += "never";
        },
        std::ref(waiting), std::ref(log));
    l.poll();
    l.cancel();
    l.poll();
    CHECK(log.empty());
    waiting.resume();
    l.run();
    CHECK(log == "resumed.");
}

TEST_CASE("uncancellable makes a task of a foreign awaitable") {
    std::coroutine_handle<> waiting;
    run(
        [&]() -> task<> {
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start(
                    [](std::coroutine_handle<>& slot) -> task<> {
                        co_await sleep_for(1h);
                        slot.resume();
                    },
                    std::ref(waiting));
                auto got = co_await race(uncancellable(foreign(waiting)), sleep_for(1s));
                CHECK(std::get<0>(got).has_value());  // it was waited for, and its value is kept
                CHECK(*std::get<0>(got) == 3);
                CHECK(std::get<1>(got).has_value());
            });
        },
        virtual_time);
}

TEST_CASE("an awaiter that throws ends only its own await") {
    struct throws {
        throws() {}
        bool await_ready() const { return false; }
        void await_suspend(waiter) const { throw std::runtime_error("suspend"); }
        void await_resume() const {}
        cancellation await_cancel() noexcept { return cancellation::now; }
    };
    run(
        []() -> task<> {
            int caught = 0;
            try {
                co_await throws();
            } catch (const std::runtime_error&) {
                ++caught;
            }
            try {
                co_await race(throws(), sleep_for(1h));
            } catch (const std::runtime_error&) {
                ++caught;
            }
            CHECK(caught == 2);
        },
        virtual_time);
}

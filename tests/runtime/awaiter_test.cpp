// SPDX-License-Identifier: MIT
// A worked example of an awaitable of one's own, and what knows nothing of runnel.
#include <algorithm>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <exception>
#include <limits>
#include <utility>

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

/// How much of the machine stack lies between the frames that have called look().
class stack_span {
public:
    void look() noexcept {
        const auto at = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
        lowest_ = std::min(lowest_, at);
        highest_ = std::max(highest_, at);
    }
    std::uintptr_t size() const noexcept { return highest_ - lowest_; }

private:
    std::uintptr_t lowest_ = std::numeric_limits<std::uintptr_t>::max();
    std::uintptr_t highest_ = 0;
};

// Foreign awaitables that are done at once, in each way there is.
struct foreign_ready {
    explicit foreign_ready(stack_span& s) : stack(s) {}
    bool await_ready() const noexcept { return stack.look(), true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    void await_resume() const noexcept {}
    stack_span& stack;
};
struct foreign_refusing {
    explicit foreign_refusing(stack_span& s) : stack(s) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) const noexcept { return stack.look(), false; }
    void await_resume() const noexcept {}
    stack_span& stack;
};
struct foreign_returning {
    explicit foreign_returning(stack_span& s) : stack(s) {}
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> self) const noexcept {
        return stack.look(), self;
    }
    void await_resume() const noexcept {}
    stack_span& stack;
};
/// A lazy coroutine of another library, with symmetric transfer there and back.
class foreign_task {
public:
    struct promise_type {
        foreign_task get_return_object() noexcept { return foreign_task(*this); }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        auto final_suspend() const noexcept {
            struct back {
                bool await_ready() const noexcept { return false; }
                std::coroutine_handle<> await_suspend(
                    std::coroutine_handle<promise_type> ended) const noexcept {
                    return ended.promise().awaits;
                }
                void await_resume() const noexcept {}
            };
            return back();
        }
        void return_void() const noexcept {}
        void unhandled_exception() const noexcept { std::terminate(); }
        std::coroutine_handle<> awaits;
    };
    explicit foreign_task(promise_type& of) noexcept
        : frame_(std::coroutine_handle<promise_type>::from_promise(of)) {}
    foreign_task(foreign_task&& other) noexcept : frame_(std::exchange(other.frame_, {})) {}
    ~foreign_task() {
        if (frame_) frame_.destroy();
    }
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> self) const noexcept {
        frame_.promise().awaits = self;
        return frame_;
    }
    void await_resume() const noexcept {}

private:
    std::coroutine_handle<promise_type> frame_;
};
foreign_task looks_at(stack_span& stack) {
    stack.look();
    co_return;
}

/// Awaits a million of what `make` makes, beside a task that wants its turns.
template <class F>
void stays_flat_and_fair(F make) {
    stack_span stack;
    int turns = 0;
    bool ended = false;
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                for (int i = 0; i < 1'000'000; ++i) co_await make(stack);
                ended = true;
            });
            n.start([&]() -> task<> {
                while (!ended) {
                    ++turns;
                    co_await yield();
                }
            });
            co_return;
        });
    });
    CHECK(ended);
    CHECK(turns > 10'000);
    CHECK(stack.size() < 256 * 1024);
}

/// Waits in `slot`, and has who waited there before go on in its place.
struct takes_turns {
    explicit takes_turns(std::coroutine_handle<>& s) : slot(s) {}
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> self) const noexcept {
        const auto other = std::exchange(slot, self);
        return other ? other : std::noop_coroutine();
    }
    void await_resume() const noexcept {}
    std::coroutine_handle<>& slot;
};

}  // namespace

TEST_CASE("a million foreign awaits that are done at once are fair, and leave the stack flat") {
    stays_flat_and_fair([](stack_span& s) { return foreign_ready(s); });
    stays_flat_and_fair([](stack_span& s) { return foreign_refusing(s); });
    stays_flat_and_fair([](stack_span& s) { return foreign_returning(s); });
    stays_flat_and_fair([](stack_span& s) { return looks_at(s); });
}

TEST_CASE("tasks that hand over to each other by foreign means leave the stack flat") {
    stack_span stack;
    std::coroutine_handle<> slot;
    int rounds = 0;
    const auto plays = [&]() -> task<> {
        while (rounds < 1'000'000) {
            ++rounds;
            stack.look();
            co_await takes_turns(slot);
        }
        if (const auto last = std::exchange(slot, {})) last.resume();
    };
    run([&]() -> task<> { co_await when_all(plays(), plays()); });
    CHECK(rounds == 1'000'000);
    CHECK(stack.size() < 256 * 1024);
}

TEST_CASE("who waits for a foreign awaitable may go on before the one it has handed over to") {
    std::coroutine_handle<> slot;
    int played = 0;
    const auto plays = [&]() -> task<> {
        for (int i = 0; i < 1000; ++i) co_await takes_turns(slot);
        ++played;
    };
    // Between two turns, whoever is in the slot is resumed: also one whose successor is queued.
    loop l;
    l.start(plays);
    l.start(plays);
    l.start(plays);
    for (int i = 0; i < 10'000 && played < 3; ++i) {
        l.poll();
        if (const auto waiting = std::exchange(slot, {})) waiting.resume();
    }
    l.poll();
    CHECK(played == 3);
    CHECK(l.done());
}

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

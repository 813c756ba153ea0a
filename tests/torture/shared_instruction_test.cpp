// SPDX-License-Identifier: MIT
// A process is killed after each instruction of an operation on shared state, while another one
// waits for what it changes. tests/torture/every_instruction runs all of them; the tests take a
// sample.
#include <array>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <runnel/ipc.hpp>

#include "support/catch.hpp"
#include "support/step_kill.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

void expect(bool right, const char* otherwise) {
    if (!right) throw std::runtime_error(otherwise);
}

/// An object that a victim changes and a bystander may wait for.
template <bool Futex>
class with_objects : public step_scenario {
protected:
    static bool choose() {
        if (!Futex) ::setenv("RUNNEL_DISABLE", "futex", 1);
        return true;
    }
    void begin() {
        victim_.store(::getpid());
        begin_step_window();
    }
    /// Some time after the victim's death, if it was killed in its window.
    task<> victim_gone() {
        const int pid = victim_.load();
        const unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
        if (pidfd) co_await io::poll(pidfd.get(), POLLIN);
        co_await sleep_for(20ms);
    }
    /// Waits until `wait` is over or the victim gone; says whether it was woken.
    template <class Wait>
    task<bool> woken(Wait wait) {
        auto ends = co_await race(std::move(wait), victim_gone());
        const bool woke = std::get<0>(ends).has_value();
        if (woke) woken_.store(1);
        co_return woke;
    }
    bool was_woken() const { return woken_.load() != 0; }

    const bool chosen_ = choose();
    const ipc::value<int> victim_{0};
    const ipc::value<int> woken_{0};
};

template <bool Futex>
class event_set : public with_objects<Futex> {
public:
    task<> victim() override {
        const auto mine = arrived(e_);
        this->begin();
        mine.set();
        end_step_window();
        co_return;
    }
    bool has_bystander() const override { return true; }
    task<> bystander() override {
        const auto mine = arrived(e_);
        const bool woke = co_await this->woken(mine.wait());
        expect(woke || !mine.is_set(), "a set event is slept through");
    }
    task<std::string> survivor(step_point at) override {
        const bool set = e_.is_set();
        expect(set || !at.completed, "not set");
        expect(set == this->was_woken(), "woken, and not set");
        e_.set();
        co_await e_.wait();
        co_return set ? "set" : "not set";
    }

private:
    const ipc::event e_;
};

template <bool Futex>
class semaphore_release : public with_objects<Futex> {
public:
    task<> victim() override {
        const auto mine = arrived(s_);
        this->begin();
        mine.release();
        end_step_window();
        co_return;
    }
    bool has_bystander() const override { return true; }
    task<> bystander() override {
        const auto mine = arrived(s_);
        const bool woke = co_await this->woken(mine.acquire());
        expect(woke || mine.available() == 0, "a released permit is slept through");
    }
    task<std::string> survivor(step_point at) override {
        expect(s_.available() == 0, "released twice");
        expect(this->was_woken() || !at.completed, "the release is lost");
        s_.release();
        co_await s_.acquire();
        co_return this->was_woken() ? "released" : "not released";
    }

private:
    const ipc::semaphore s_{0};
};

/// The first permit of its loop, which takes its place in the object for it.
template <bool Futex>
class semaphore_hold : public with_objects<Futex> {
public:
    task<> victim() override {
        const auto mine = arrived(s_);
        this->begin();
        auto held = co_await mine.hold(2);
        end_step_window();
    }
    task<std::string> survivor(step_point) override {
        auto all = co_await s_.hold(2);
        expect(s_.available() == 0, "more permits than there were");
        all.release();
        expect(s_.available() == 2, "a permit is lost");
        co_return "free";
    }

private:
    const ipc::semaphore s_{2};
};

/// Dropped, or lost by a death: the one who waits gets it.
template <bool Futex>
class permit_release : public with_objects<Futex> {
public:
    task<> victim() override {
        const auto mine = arrived(s_);
        auto held = co_await mine.hold();
        this->begin();
        held.release();
        end_step_window();
    }
    bool has_bystander() const override { return true; }
    task<> bystander() override {
        const auto mine = arrived(s_);
        auto held = co_await mine.hold();
        expect(mine.available() == 0, "more permits than there were");
    }
    task<std::string> survivor(step_point) override {
        expect(s_.available() == 1, "a permit is lost, or there are two");
        auto held = co_await s_.hold();
        co_return "free";
    }

private:
    const ipc::semaphore s_{1};
};

/// The last to arrive: all pass, or the barrier is broken for all.
template <bool Futex>
class barrier_arrive : public with_objects<Futex> {
public:
    task<> victim() override {
        const auto mine = arrived(b_);
        mine.enlist();
        this->begin();
        co_await mine.arrive_and_wait();
        end_step_window();
    }
    bool has_bystander() const override { return true; }
    task<> bystander() override {
        const auto mine = arrived(b_);
        try {
            const auto number = co_await mine.arrive_and_wait();
            expect(number < 2, "a number above the parties");
            this->woken_.store(1);
        } catch (const std::system_error& error) {
            expect(error.code() == std::errc::owner_dead, "broken by something else");
        }
    }
    task<std::string> survivor(step_point at) override {
        expect(this->was_woken() || !at.completed, "not passed");
        expect(b_.broken(), "the death of one who took part breaks it");
        b_.reset();
        expect(!b_.broken() && b_.waiting() == 0, "it is not whole after a reset");
        co_await when_all(b_.arrive_and_wait(), b_.arrive_and_wait());
        co_return this->was_woken() ? "passed" : "broken";
    }

private:
    const ipc::barrier b_{2};
};

template <bool Futex>
class condition_notify : public with_objects<Futex> {
public:
    task<> victim() override {
        const auto mine = arrived(c_);
        this->begin();
        mine.notify_one();
        end_step_window();
        co_return;
    }
    bool has_bystander() const override { return true; }
    task<> bystander() override {
        const auto lock = arrived(m_);
        const auto mine = arrived(c_);
        auto held = co_await lock.lock();
        co_await this->woken(mine.wait(held));
        expect(bool(held), "the mutex is not held after a wait");
    }
    task<std::string> survivor(step_point at) override {
        expect(this->was_woken() || !at.completed, "the notification is lost");
        auto held = co_await m_.lock();
        c_.notify_all();
        co_return this->was_woken() ? "notified" : "not notified";
    }

private:
    const ipc::mutex m_;
    const ipc::condition c_;
};

/// Of one word, or of more.
template <class T, bool Futex>
class value_store : public with_objects<Futex> {
public:
    task<> victim() override {
        const auto mine = arrived(v_);
        this->begin();
        mine.store(all(2));
        end_step_window();
        co_return;
    }
    bool has_bystander() const override { return true; }
    task<> bystander() override {
        const auto mine = arrived(v_);
        const bool woke =
            co_await this->woken(mine.until([](const T& now) { return now[0] == 2; }));
        expect(woke || mine.load() == all(1), "a change is slept through");
    }
    task<std::string> survivor(step_point at) override {
        const T now = v_.load();
        expect(now == all(1) || now == all(2), "half a value");
        expect(now == all(2) || !at.completed, "the change is lost");
        v_.store(all(3));
        expect(v_.load() == all(3), "it cannot be changed any more");
        co_return now == all(2) ? "changed" : "not changed";
    }

private:
    static T all(int n) {
        T made;
        made.fill(n);
        return made;
    }
    const ipc::value<T> v_{all(1)};
};

class list_set : public with_objects<true> {
public:
    task<> victim() override {
        const auto mine = arrived(l_);
        begin();
        mine.set(0, std::string(100, 'b'));
        end_step_window();
        co_return;
    }
    task<std::string> survivor(step_point at) override {
        const ipc::list::item now = l_.get(0);
        const bool changed = now == ipc::list::item(std::string(100, 'b'));
        expect(changed || now == ipc::list::item(std::string(200, 'a')), "half an item");
        expect(changed || !at.completed, "the change is lost");
        l_.set(0, 7);
        expect(l_.get(0) == ipc::list::item(7), "it cannot be changed any more");
        co_return changed ? "changed" : "not changed";
    }

private:
    const ipc::list l_{std::string(200, 'a')};
};

using word = std::array<int, 2>;
using many = std::array<int, 200>;

}  // namespace

TEST_CASE("a process killed after any instruction of set on an event leaves nobody asleep",
          "[every_instruction]") {
    CHECK(step_kill<event_set<true>>("event set, with a waiter").violations == 0);
    CHECK(step_kill<event_set<false>>("event set, with a waiter, no futex").violations == 0);
}

TEST_CASE("a process killed after any instruction on a semaphore loses no permit",
          "[every_instruction]") {
    CHECK(step_kill<semaphore_release<true>>("semaphore release, with a waiter").violations == 0);
    CHECK(step_kill<semaphore_release<false>>("semaphore release, no futex").violations == 0);
    CHECK(step_kill<semaphore_hold<true>>("semaphore hold").violations == 0);
    CHECK(step_kill<permit_release<true>>("permit release, with a waiter").violations == 0);
    CHECK(step_kill<permit_release<false>>("permit release, no futex").violations == 0);
}

TEST_CASE("a process killed after any instruction of its arrival lets all pass or breaks a barrier",
          "[every_instruction]") {
    CHECK(step_kill<barrier_arrive<true>>("barrier arrive").violations == 0);
    CHECK(step_kill<barrier_arrive<false>>("barrier arrive, no futex").violations == 0);
}

TEST_CASE("a process killed after any instruction of notify leaves a usable condition",
          "[every_instruction]") {
    CHECK(step_kill<condition_notify<true>>("condition notify").violations == 0);
    CHECK(step_kill<condition_notify<false>>("condition notify, no futex").violations == 0);
}

TEST_CASE("a process killed after any instruction of store leaves the old value or the new one",
          "[every_instruction]") {
    CHECK(step_kill<value_store<word, true>>("value store").violations == 0);
    CHECK(step_kill<value_store<many, true>>("value store, large").violations == 0);
    CHECK(step_kill<value_store<many, false>>("value store, large, no futex").violations == 0);
    CHECK(step_kill<list_set>("list set").violations == 0);
}

// SPDX-License-Identifier: MIT
// A process is held up, or killed, after each instruction of what it does with shared state.
#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>

#include <runnel/ipc.hpp>
#include <runnel/runnel.hpp>

#include "support/arrived.hpp"
#include "support/catch.hpp"
#include "torture/step_tools.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

template <class Object, bool Futex>
class with_object : public watched_scenario {
protected:
    template <class... Args>
    explicit with_object(const Args&... args) : object_(args...) {}

private:
    with_futex<Futex> first_;

protected:
    Object object_;
};

/// The victim takes the permit, which belongs to nobody then.
template <bool Futex>
class semaphore_acquire : public with_object<ipc::semaphore, Futex> {
public:
    semaphore_acquire() : with_object<ipc::semaphore, Futex>(1U) {}
    task<> victim() override {
        auto mine = arrived(this->object_);
        begin_step_window();
        co_await mine.acquire();
        end_step_window();
    }
    task<std::string> survivor(step_point at) override {
        const bool taken = !this->object_.try_acquire();
        expect(taken || !at.completed, "a permit is given twice");
        this->object_.release();
        co_await this->object_.acquire();
        expect(this->object_.available() == 0, "there are more permits than there were");
        co_return taken ? "taken" : "not taken";
    }
};

/// The victim gives a permit, or gives back the one that it holds; a bystander waits for it.
template <bool Held, bool Futex>
class semaphore_release : public with_object<ipc::semaphore, Futex> {
public:
    semaphore_release() : with_object<ipc::semaphore, Futex>(Held ? 1U : 0U) {}
    task<> victim() override {
        auto mine = arrived(this->object_);
        if constexpr (Held) {
            auto held = co_await mine.hold();
            begin_step_window();
            held.release();
            end_step_window();
        } else {
            begin_step_window();
            mine.release();
            end_step_window();
        }
        co_return;
    }
    bool has_bystander() const override { return true; }
    task<> bystander() override {
        auto mine = arrived(this->object_);
        co_await mine.acquire();
        this->say(1);
    }
    void killed(step_point at) override {
        if (Held || at.completed) return this->await_bystander();
        this->await([this] { return this->object_.available() == 0; },
                    "the bystander sleeps over a permit");
        if (this->said() != 0) return;
        helped_ = true;
        this->object_.release();
    }
    task<std::string> survivor(step_point) override {
        const bool more = this->object_.try_acquire();
        expect(!more || helped_, "there are more permits than there were");
        co_return helped_ && !more ? "not released" : "released";
    }

private:
    bool helped_ = false;
};

template <bool Futex>
class event_set : public with_object<ipc::event, Futex> {
public:
    task<> victim() override {
        auto mine = arrived(this->object_);
        begin_step_window();
        mine.set();
        end_step_window();
        co_return;
    }
    bool has_bystander() const override { return true; }
    task<> bystander() override {
        auto mine = arrived(this->object_);
        co_await mine.wait();
        this->say(1);
    }
    void killed(step_point at) override {
        set_ = this->object_.is_set();
        expect(set_ || !at.completed, "it was set, and is not");
        if (set_) return this->await_bystander();
        this->object_.set();
    }
    task<std::string> survivor(step_point) override {
        this->object_.set();
        co_await this->object_.wait();
        this->object_.clear();
        expect(!this->object_.is_set(), "it cannot be cleared");
        co_return set_ ? "set" : "not set";
    }

private:
    bool set_ = false;
};

/// The victim waits for an event, which is set then, and is killed on its way.
template <bool Futex>
class event_wait : public with_object<ipc::event, Futex> {
public:
    task<> victim() override {
        auto mine = arrived(this->object_);
        co_await calm_down();
        begin_step_window();
        co_await mine.wait();
        end_step_window();
    }
    bool nudge() override {
        this->object_.set();
        return true;
    }
    task<std::string> survivor(step_point) override {
        this->object_.set();
        co_await this->object_.wait();
        this->object_.clear();
        this->object_.set();
        co_await this->object_.wait();
        co_return "set";
    }
};

struct mutex_and_condition {
    ipc::mutex mutex;
    ipc::condition condition;
};

/// The victim changes something with the mutex held, and notifies; a bystander waits for that.
template <bool Futex>
class condition_notify : public with_object<mutex_and_condition, Futex> {
public:
    task<> victim() override {
        auto mutex = arrived(this->object_.mutex);
        auto condition = arrived(this->object_.condition);
        begin_step_window();
        {
            auto held = co_await mutex.lock();
            changed_->store(true);
            condition.notify_one();
        }
        end_step_window();
    }
    bool has_bystander() const override { return true; }
    task<> bystander() override {
        auto mutex = arrived(this->object_.mutex);
        auto condition = arrived(this->object_.condition);
        auto held = co_await mutex.lock();
        co_await condition.wait(held, [this] { return changed_->load(); });
        this->say(1);
    }
    task<std::string> survivor(step_point) override {
        auto held = co_await this->object_.mutex.lock();
        co_return "woken";
    }

private:
    shared_memory_block memory_{sizeof(std::atomic<bool>)};
    std::atomic<bool>* changed_ = memory_.as<std::atomic<bool>>();
};

/// The victim waits for a condition, and is killed on its way: the next who locks is told of an
/// owner's death or not, and another one who waits is notified.
template <bool Futex>
class condition_wait : public with_object<mutex_and_condition, Futex> {
public:
    task<> victim() override {
        auto mutex = arrived(this->object_.mutex);
        auto condition = arrived(this->object_.condition);
        auto held = co_await mutex.lock();
        co_await calm_down();
        begin_step_window();
        co_await condition.wait(held);
        end_step_window();
    }
    bool nudge() override {
        this->object_.condition.notify_all();
        return true;
    }
    task<std::string> survivor(step_point) override {
        co_await open_nursery([this](nursery& n) -> task<> {
            auto held = co_await this->object_.mutex.lock();
            const auto notify = [](condition_wait& self) -> task<> {
                auto mine = co_await self.object_.mutex.lock();
                self.object_.condition.notify_one();
            };
            n.start(notify, std::ref(*this));
            co_await this->object_.condition.wait(held);
        });
        co_return "goes on";
    }
};

/// The victim comes last to a barrier of two; the bystander waits there.
template <bool Futex>
class barrier_arrive : public with_object<ipc::barrier, Futex> {
public:
    barrier_arrive() : with_object<ipc::barrier, Futex>(2U) {}
    task<> victim() override {
        auto mine = arrived(this->object_);
        mine.enlist();
        co_await calm_down();  // held up, it comes before the bystander, and waits
        begin_step_window();
        static_cast<void>(co_await mine.arrive_and_wait());
        end_step_window();
        co_await sleep_for(std::chrono::hours(1));
    }
    bool has_bystander() const override { return true; }
    task<> bystander() override {
        auto mine = arrived(this->object_);
        try {
            static_cast<void>(co_await mine.arrive_and_wait());
            this->say(1);
        } catch (const std::system_error& e) {
            expect(e.code() == std::errc::owner_dead, e.what());
            this->say(2);
        }
    }
    void killed(step_point) override { this->await_bystander(); }
    task<std::string> survivor(step_point at) override {
        expect(!at.completed || this->said() == 1, "all have arrived, and one is told otherwise");
        this->object_.reset();
        const auto arrive = [](ipc::barrier& on) -> task<> {
            static_cast<void>(co_await on.arrive_and_wait());
        };
        co_await when_all(arrive(this->object_), arrive(this->object_));
        co_return this->said() == 1 ? "all arrived" : "broken";
    }
};

struct image {
    std::array<std::uint64_t, 100> words{};
    static image of(std::uint64_t number) {
        image made;
        made.words.fill(number);
        return made;
    }
    [[nodiscard]] std::uint64_t number() const {
        for (const std::uint64_t each : words) expect(each == words[0], "half a value");
        return words[0];
    }
};
std::uint64_t number_of(const image& one) { return one.number(); }
std::uint64_t number_of(std::uint64_t one) { return one; }
template <class T>
T valued(std::uint64_t number) {
    if constexpr (std::is_same_v<T, image>)
        return image::of(number);
    else
        return number;
}

/// 1 becomes 2; a bystander waits for that.
template <class T, bool Watched, bool Futex>
class value_store : public with_object<ipc::value<T>, Futex> {
public:
    value_store() : with_object<ipc::value<T>, Futex>(valued<T>(1)) {}
    task<> victim() override {
        auto mine = arrived(this->object_);
        const T two = valued<T>(2);
        begin_step_window();
        mine.store(two);
        end_step_window();
        co_return;
    }
    bool has_bystander() const override { return Watched; }
    task<> bystander() override {
        auto mine = arrived(this->object_);
        static_cast<void>(co_await mine.until([](const T& now) { return number_of(now) == 2; }));
        this->say(1);
    }
    void killed(step_point) override {
        stored_ = number_of(this->object_.load()) == 2;
        if (stored_) return this->await_bystander();
        this->object_.store(valued<T>(2));
    }
    task<std::string> survivor(step_point at) override {
        const std::uint64_t now = number_of(this->object_.load());
        if (!Watched) stored_ = now == 2;
        expect(now == 1 || now == 2, "another value");
        expect(stored_ || !at.completed, "what was stored is not there");
        this->object_.store(valued<T>(3));
        expect(number_of(this->object_.load()) == 3, "it cannot be stored to");
        co_return stored_ ? "new" : "old";
    }

private:
    bool stored_ = true;
};

template <class Scenario>
void survives(const char* operation) {
    CHECK(step_kill<Scenario>(operation).violations == 0);
}
template <class Scenario>
void wakes(const char* operation) {
    CHECK(step_kill<Scenario>(operation, held_up()).violations == 0);
}

}  // namespace

TEST_CASE("a process killed after any instruction while it waits lets nobody hang",
          "[every_instruction]") {
    survives<event_wait<true>>("event wait");
    survives<condition_wait<true>>("condition wait");
    survives<semaphore_acquire<true>>("semaphore acquire");
    survives<value_store<image, true, true>>("value store, large, one waits");
}

TEST_CASE("a user of shared state that is held up after any instruction loses no wake-up",
          "[every_instruction]") {
    wakes<semaphore_release<false, true>>("semaphore release, held up");
    wakes<semaphore_release<true, true>>("permit release, held up");
    wakes<semaphore_release<true, false>>("permit release, held up, no futex");
    wakes<event_set<true>>("event set, held up");
    wakes<event_set<false>>("event set, held up, no futex");
    wakes<condition_notify<true>>("condition notify, held up");
    wakes<condition_notify<false>>("condition notify, held up, no futex");
}

TEST_CASE("a change of shared state that is held up after any instruction loses no wake-up",
          "[every_instruction]") {
    wakes<barrier_arrive<true>>("barrier arrive, held up");
    wakes<value_store<image, true, true>>("value store, large, held up");
    wakes<value_store<std::uint64_t, true, true>>("value store, held up");
    wakes<value_store<std::uint64_t, true, false>>("value store, held up, no futex");
}

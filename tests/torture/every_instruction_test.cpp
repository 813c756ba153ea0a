// SPDX-License-Identifier: MIT
// A process is killed after each instruction of an operation. tests/torture/every_instruction runs
// all of them; the tests take a sample.
#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>

#include <sys/mman.h>

#include <runnel/ipc/detail/object_memory.hpp>
#include <runnel/ipc/mutex.hpp>
#include <runnel/ipc/pipe.hpp>
#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/environment.hpp"
#include "torture/step_tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

/// One message, of a body of `Size` bytes: it is there whole, or not at all, and then the end.
template <std::size_t Size>
class pipe_send : public step_scenario {
public:
    task<> victim() override {
        const std::string text(Size, 'm');
        ends_.receiver.close();
        begin_step_window();
        co_await ends_.sender.send(text);
        end_step_window();
    }
    task<std::string> survivor(step_point at) override {
        ends_.sender.close();
        auto first = co_await ends_.receiver.recv();
        if (!first) {
            expect(!at.completed, "a message that was sent is missing");
            co_return "not sent";
        }
        expect(*first == std::string(Size, 'm'), "half a message");
        auto end = co_await ends_.receiver.recv();
        expect(!end, "a message came twice");
        co_return "sent";
    }

private:
    ipc::simplex_pipe<std::string> ends_ = ipc::pipe<std::string>(ipc::simplex);
};

/// Two messages; the victim takes one. It has taken it, or it has not; the second is whole.
template <bool Waits>
class pipe_recv : public step_scenario {
public:
    pipe_recv() {
        if (!Waits) send_all();
    }
    task<> victim() override {
        ends_.sender.close();
        if (Waits) co_await calm_down();
        begin_step_window();
        auto got = co_await ends_.receiver.recv();
        end_step_window();
    }
    bool nudge() override {
        if (sent_ == 0) send_all();
        return true;
    }
    task<std::string> survivor(step_point at) override {
        if (sent_ == 0) {
            const std::string text = "first";
            co_await ends_.sender.send(text);
            co_await ends_.sender.send(text + "!");
        }
        ends_.sender.close();
        std::string all;
        while (auto got = co_await ends_.receiver.recv()) all += *got + ' ';
        expect(all == "first! " || (all == "first first! " && !at.completed),
               "other messages than those that were sent");
        co_return all == "first! " ? "taken" : "not taken";
    }

private:
    void send_all() {
        ++sent_;
        run([this]() -> task<> {
            const std::string text = "first";
            co_await ends_.sender.send(text);
            co_await ends_.sender.send(text + "!");
        });
    }
    ipc::simplex_pipe<std::string> ends_ = ipc::pipe<std::string>(ipc::simplex);
    int sent_ = 0;
};

template <bool Futex>
class with_mutex : public step_scenario {
protected:
    static ipc::mutex made() {
        if (!Futex) ::setenv("RUNNEL_DISABLE", "futex", 1);
        return ipc::mutex();
    }
    task<std::string> lock_again() {
        auto held = co_await mutex_.lock();
        const bool died = held.owner_died();
        held.unlock();
        auto again = co_await mutex_.lock();
        expect(!again.owner_died(), "the death of the owner is told twice");
        co_return died ? "held" : "free";
    }
    ipc::mutex mutex_ = made();
};

template <bool Futex>
class mutex_lock : public with_mutex<Futex> {
public:
    task<> victim() override {
        auto mine = arrived(this->mutex_);
        begin_step_window();
        auto held = co_await mine.lock();
        end_step_window();
    }
    task<std::string> survivor(step_point at) override {
        auto outcome = co_await this->lock_again();
        expect(!at.completed || outcome == "held", "the death of the owner is not told");
        co_return outcome;
    }
};

/// The victim waits for a mutex that the survivor holds, and gives up when the victim waits.
template <bool Futex>
class mutex_lock_held : public with_mutex<Futex> {
public:
    task<> victim() override {
        auto mine = arrived(this->mutex_);
        co_await calm_down();
        begin_step_window();
        auto held = co_await mine.lock();
        end_step_window();
    }
    bool nudge() override {
        held_.reset();
        return true;
    }
    task<std::string> survivor(step_point at) override {
        held_.reset();
        auto outcome = co_await this->lock_again();
        expect(!at.completed || outcome == "held", "the death of the owner is not told");
        co_return outcome;
    }

private:
    std::optional<ipc::mutex::guard> held_ = this->mutex_.try_lock();
};

template <bool Futex, bool Watched>
class mutex_unlock : public with_mutex<Futex> {
public:
    task<> victim() override {
        auto mine = arrived(this->mutex_);
        auto held = co_await mine.lock();
        begin_step_window();
        held.unlock();
        end_step_window();
    }
    bool has_bystander() const override { return Watched; }
    task<> bystander() override {
        auto mine = arrived(this->mutex_);
        auto held = co_await mine.lock();
        expect(bool(held), "no lock");
    }
    task<std::string> survivor(step_point at) override {
        auto outcome = co_await this->lock_again();
        expect(!at.completed || outcome == "free", "an owner died that had unlocked");
        if (Watched) expect(outcome == "free", "the death was not told to the one who waited");
        co_return outcome;
    }
};

/// Two numbers that differ only inside the section.
class short_section : public step_scenario {
public:
    task<> victim() override {
        ipc::detail::robust_lock(memory_.lock(0)).lock();
        ipc::detail::robust_lock(memory_.lock(0)).unlock();  // the first time, symbols are bound
        begin_step_window();
        change();
        end_step_window();
        co_return;
    }
    task<std::string> survivor(step_point at) override {
        ipc::detail::robust_lock lock = memory_.lock(0);
        const auto got = lock.lock();
        expect(got != ipc::detail::robust_lock::got::no, "the lock of a dead process is held");
        const bool told = got == ipc::detail::robust_lock::got::from_the_dead;
        expect(told || two_[0] == two_[1], "a change is half done, and nobody said so");
        expect(!told || !at.completed, "the death of one who had unlocked is told");
        const std::uint64_t changed = two_[1];
        lock.unlock();
        expect(lock.try_lock() == ipc::detail::robust_lock::got::yes, "told twice");
        lock.unlock();
        co_return told ? "died inside" : changed != 0 ? "changed" : "not changed";
    }

private:
    void change() {
        ipc::detail::robust_lock lock = memory_.lock(0);
        const ipc::detail::robust_section section(lock);
        two_[0] = two_[0] + 1;
        two_[1] = two_[1] + 1;
    }
    ipc::detail::object_memory memory_{ipc::detail::object_type{"test", 1}};
    volatile std::uint64_t* two_ = reinterpret_cast<volatile std::uint64_t*>(
        memory_.page(0) + ipc::detail::object_memory::header_size);
};

/// What the harness is there for: a lock that does not outlive its owner.
class spinning_lock : public step_scenario {
public:
    task<> victim() override {
        begin_step_window();
        while (word_->exchange(1) != 0) {
        }
        word_->store(0);
        end_step_window();
        co_return;
    }
    task<std::string> survivor(step_point) override {
        bool taken = false;
        for (int i = 0; i < 100 && !taken; ++i) {
            taken = word_->exchange(1) == 0;
            co_await yield();
        }
        expect(taken, "the lock is never free again");
        co_return "free";
    }

private:
    std::atomic<int>* word_ = static_cast<std::atomic<int>*>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
};

}  // namespace

TEST_CASE("a process killed after any instruction of send leaves a whole message or none",
          "[every_instruction]") {
    CHECK(step_kill<pipe_send<20>>("pipe send").violations == 0);
    CHECK(step_kill<pipe_send<200'000>>("pipe send, large").violations == 0);
}

TEST_CASE("a process killed after any instruction of recv takes a whole message or none",
          "[every_instruction]") {
    CHECK(step_kill<pipe_recv<false>>("pipe recv").violations == 0);
    step_options unsteady;  // how often it looks before it sleeps depends on time
    unsteady.ordered = false;
    CHECK(step_kill<pipe_recv<true>>("pipe recv, waiting", unsteady).violations == 0);
}

TEST_CASE("a process killed after any instruction of lock or unlock leaves a usable mutex",
          "[every_instruction]") {
    CHECK(step_kill<mutex_lock<true>>("mutex lock").violations == 0);
    CHECK(step_kill<mutex_lock_held<true>>("mutex lock, waiting").violations == 0);
    CHECK(step_kill<mutex_unlock<true, false>>("mutex unlock").violations == 0);
    CHECK(step_kill<mutex_unlock<true, true>>("mutex unlock, with a waiter").violations == 0);
}

TEST_CASE("a process killed after any instruction of a short section marks its lock",
          "[every_instruction]") {
    step_options options;
    options.sample = 300;
    CHECK(step_kill<short_section>("robust lock, section", options).violations == 0);
}

TEST_CASE("stepping finds a lock that does not outlive its owner", "[every_instruction]") {
    const step_report report = step_kill<spinning_lock>("a lock that does not outlive its owner");
    CHECK((sanitized || (report.violations != 0 && report.violations != report.kills)));
}

TEST_CASE("an unlock that is held up after any instruction loses no wake-up",
          "[every_instruction]") {
    CHECK(step_kill<mutex_unlock<true, true>>("mutex unlock, held up", held_up()).violations == 0);
    CHECK(step_kill<mutex_unlock<false, true>>("mutex unlock, held up, no futex", held_up())
              .violations == 0);
}

TEST_CASE("the same without futexes in the kernel's ring", "[every_instruction]") {
    CHECK(step_kill<mutex_lock<false>>("mutex lock, no futex").violations == 0);
    CHECK(step_kill<mutex_lock_held<false>>("mutex lock, waiting, no futex").violations == 0);
    CHECK(
        step_kill<mutex_unlock<false, true>>("mutex unlock, with a waiter, no futex").violations ==
        0);
}

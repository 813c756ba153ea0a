// SPDX-License-Identifier: MIT
// A process is killed after each instruction of what it does with a queue.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <runnel/error.hpp>
#include <runnel/ipc/queue.hpp>
#include <runnel/runnel.hpp>

#include "support/arrived.hpp"
#include "support/catch.hpp"
#include "torture/step_tools.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

/// Items that are told apart by a number.
struct words {
    using type = std::uint64_t;
    static type make(int number) { return static_cast<type>(number); }
};
template <std::size_t Size>
struct text {
    using type = std::string;
    static type make(int number) {
        std::string made(Size, static_cast<char>('0' + number));
        made += "end";  // g++ 12 sees a write out of bounds in a sum of strings
        return made;
    }
};

template <class Item, bool Futex>
class with_queue : public watched_scenario {
protected:
    using type = typename Item::type;
    explicit with_queue(ipc::queue_options options = {.max_items = 8})
        : ends_(ipc::queue<type>(options)) {}

    static int number_of(const type& item) {
        for (int number = 1; number < 9; ++number)
            if (item == Item::make(number)) return number;
        throw std::runtime_error("an item that nobody has put");
    }
    void put_now(int number) {
        expect(ends_.putter.try_put(Item::make(number)), "the queue is full, and should not be");
    }
    /// For the victim, before there is anything: its first get finds out who it is, and takes an
    /// uncertain number of instructions for that.
    void get_acquainted(ipc::getter<type>& mine) {
        expect(!mine.try_get(), "there is something already");
    }
    /// What is there, until the end.
    task<std::vector<int>> drained() {
        ends_.putter.close();
        std::vector<int> all;
        while (auto one = co_await ends_.getter.get()) all.push_back(number_of(*one));
        co_return all;
    }

private:
    with_futex<Futex> first_;

protected:
    ipc::queue_ends<type> ends_;
};

/// The victim puts 1, the survivor 2.
template <class Item, bool Watched, bool Futex>
class queue_put : public with_queue<Item, Futex> {
public:
    task<> victim() override {
        auto mine = arrived(this->ends_.putter);
        const auto one = Item::make(1);
        begin_step_window();
        co_await mine.put(one);
        end_step_window();
    }
    bool has_bystander() const override { return Watched; }
    task<> bystander() override {
        auto mine = arrived(this->ends_.getter);
        auto got = co_await mine.get();
        expect(got.has_value(), "the end, while somebody is left to put");
        this->say(this->number_of(*got));
    }
    void killed(step_point) override {
        this->await([this] { return this->ends_.getter.size() == 0; }, "it sleeps over an item");
        if (this->said() != 0) return;
        this->put_now(2);
        put_ = true;
    }
    task<std::string> survivor(step_point at) override {
        const auto two = Item::make(2);
        if (!put_) co_await this->ends_.putter.put(two);
        std::vector<int> all = co_await this->drained();
        if (this->said() != 0) all.insert(all.begin(), this->said());
        const bool put = all == std::vector{1, 2};
        expect(put || (all == std::vector{2} && !at.completed), "items are lost, or come twice");
        co_return put ? "put" : "not put";
    }

private:
    bool put_ = false;
};

/// There are 1 and 2, and the victim takes one. It has it, or not; with leases it comes again.
template <class Item, bool Leased, bool First = false>
class queue_get : public with_queue<Item, true> {
public:
    queue_get() : with_queue<Item, true>({.max_items = 8, .lease = Leased}) {}
    task<> victim() override {
        auto mine = arrived(this->ends_.getter);
        if (!First) this->get_acquainted(mine);
        this->put_now(1);
        this->put_now(2);
        if constexpr (Leased) {
            begin_step_window();
            auto got = co_await mine.get_leased();
            end_step_window();
            expect(got.has_value(), "no item");
        } else {
            begin_step_window();
            auto got = co_await mine.get();
            end_step_window();
            expect(got.has_value(), "no item");
        }
    }
    task<std::string> survivor(step_point at) override {
        if constexpr (Leased) {
            this->ends_.putter.close();
            std::vector<int> all;
            std::uint32_t deliveries = 0;
            while (auto one = co_await this->ends_.getter.get_leased()) {
                all.push_back(this->number_of(**one));
                if (all.back() == 1) deliveries = one->deliveries();
                one->done();
            }
            expect(all == std::vector{1, 2}, "a leased item did not come again, as the first");
            expect(deliveries == 2 || !at.completed, "deliveries are not counted");
            co_return deliveries == 2 ? "taken, comes again" : "not taken";
        } else {
            const std::vector<int> all = co_await this->drained();
            const bool taken = all == std::vector{2};
            expect(taken || (all == std::vector{1, 2} && !at.completed),
                   "other items than were put");
            co_return taken ? "taken" : "not taken";
        }
    }
};

/// The queue is full of 1 and 2, a bystander waits to put 3, and the victim takes one.
template <class Item, bool Futex>
class queue_get_full : public with_queue<Item, Futex> {
public:
    queue_get_full() : with_queue<Item, Futex>({.max_items = 2}) {}
    task<> victim() override {
        auto mine = arrived(this->ends_.getter);
        this->get_acquainted(mine);
        this->put_now(1);
        this->put_now(2);
        begin_step_window();
        auto got = co_await mine.get();
        end_step_window();
        expect(got.has_value(), "no item");
    }
    bool has_bystander() const override { return true; }
    task<> bystander() override {
        auto mine = arrived(this->ends_.putter);
        const auto three = Item::make(3);
        co_await mine.put(three);
        this->say(1);
    }
    void killed(step_point) override {
        if (this->ends_.getter.size() < 2) return this->await_bystander();
        if (this->said() != 0) return;
        auto got = this->ends_.getter.try_get();
        expect(got.has_value(), "there is an item, and it cannot be taken");
        all_.push_back(this->number_of(*got));
    }
    task<std::string> survivor(step_point at) override {
        const std::vector<int> rest = co_await this->drained();
        all_.insert(all_.end(), rest.begin(), rest.end());
        const bool taken = all_ == std::vector{2, 3};
        expect(taken || (all_ == std::vector{1, 2, 3} && !at.completed),
               "items are lost, or twice");
        co_return taken ? "taken" : "not taken";
    }

private:
    std::vector<int> all_;
};

/// The victim has leased the only item, and is done with it, gives it back, or closes its handle; a
/// bystander waits for an item.
enum class lease_ends : unsigned char { done, given_back, closed };
template <lease_ends How, bool Futex>
class lease_end : public with_queue<words, Futex> {
public:
    lease_end() : with_queue<words, Futex>({.max_items = 8, .lease = true}) { this->put_now(1); }
    task<> victim() override {
        auto mine = arrived(this->ends_.getter);
        if constexpr (How == lease_ends::closed) {
            auto got = co_await mine.get();
            expect(got.has_value(), "no item");
            begin_step_window();
            mine.close();
        } else {
            auto got = co_await mine.get_leased();
            begin_step_window();
            How == lease_ends::done ? got->done() : got->give_back();
        }
        end_step_window();
        co_await sleep_for(std::chrono::hours(1));
    }
    bool has_bystander() const override { return true; }
    task<> bystander() override {
        this->ends_.putter.close();
        auto mine = arrived(this->ends_.getter);
        auto got = co_await mine.get_leased();
        if (got) {
            expect(**got == 1, "an item that nobody has put");
            got->done();
        }
        this->say(got ? static_cast<int>(got->deliveries()) : 9);
    }
    void killed(step_point) override {
        if (How == lease_ends::done)
            this->ends_.putter.close();  // then there is an item, or the end
        else
            this->await_bystander();
    }
    task<std::string> survivor(step_point at) override {
        const int said = this->said();
        expect(said == 2 || (said == 9 && How == lease_ends::done), "the item did not come again");
        expect(!at.completed || How != lease_ends::done || said == 9,
               "it was done, and came again");
        const std::vector<int> all = co_await this->drained();
        expect(all.empty(), "an item comes once too often");
        co_return said == 9 ? "done" : "comes again";
    }
};

/// The victim has the only item and says that it is done with it; a bystander joins.
template <bool Leased, bool ByTask, bool Futex>
class queue_done : public with_queue<words, Futex> {
public:
    queue_done() : with_queue<words, Futex>({.max_items = 8, .lease = Leased}) { this->put_now(1); }
    task<> victim() override {
        auto mine = arrived(this->ends_.getter);
        if constexpr (ByTask) {
            auto got = co_await mine.get();
            expect(got.has_value(), "no item");
            begin_step_window();
            mine.task_done();
        } else {
            auto got = co_await mine.get_leased();
            begin_step_window();
            got->done();
        }
        end_step_window();
        co_await sleep_for(std::chrono::hours(1));
    }
    bool has_bystander() const override { return true; }
    task<> bystander() override {
        auto mine = arrived(this->ends_.putter);
        co_await mine.join();
        this->say(1);
    }
    void killed(step_point) override {
        // What the dead one had counts as done; with leases it comes again, and has to be done.
        if (!Leased) return this->await_bystander();
        this->await(
            [this] {
                if (this->said() != 0) return true;
                if (!this->ends_.getter.try_get()) return false;
                expect(!again_, "an item comes twice");
                again_ = true;
                this->ends_.getter.task_done();
                return false;
            },
            "join hangs");
    }
    task<std::string> survivor(step_point at) override {
        expect(!at.completed || !again_, "it was done, and came again");
        co_await this->ends_.putter.join();
        const std::vector<int> all = co_await this->drained();
        expect(all.empty(), "an item comes once too often");
        co_return again_ || !Leased ? "of the dead" : "done";
    }

private:
    bool again_ = false;
};

/// A full queue is shut down; a bystander waits to put 3. Or an empty one, and he waits for an item.
template <bool Immediate, bool Getting, bool Futex>
class queue_shutdown : public with_queue<words, Futex> {
public:
    queue_shutdown() : with_queue<words, Futex>({.max_items = 2}) {
        if (Getting) return;
        this->put_now(1);
        this->put_now(2);
    }
    task<> victim() override {
        auto mine = arrived(this->ends_.getter);
        begin_step_window();
        mine.shutdown(Immediate ? ipc::immediate : ipc::drain);
        end_step_window();
        co_return;
    }
    bool has_bystander() const override { return true; }
    task<> bystander() override {
        if constexpr (Getting) {
            auto mine = arrived(this->ends_.getter);
            auto got = co_await mine.get();
            this->say(got ? 1 : 2);
        } else {
            auto mine = arrived(this->ends_.putter);
            const std::uint64_t three = 3;
            try {
                co_await mine.put(three);
                this->say(1);
            } catch (const std::system_error& e) {
                this->say(e.code() == make_error_code(errc::closed) ? 2 : 3);
            }
        }
    }
    void killed(step_point) override {
        if (this->said() != 0) return;
        if (Getting) {
            try {
                this->put_now(1);
            } catch (const std::system_error&) {  // it has been shut down
            }
        } else if (Immediate && this->ends_.getter.size() == 0) {
            this->await_bystander();
        } else if (auto got = this->ends_.getter.try_get()) {
            expect(*got == 1, "not the first");
            taken_ = true;
        }
    }
    task<std::string> survivor(step_point at) override {
        const bool shut = this->said() == 2;
        expect(shut || (this->said() == 1 && !at.completed), "a put to a queue that is shut down");
        bool refused = false;
        const std::uint64_t four = 4;
        try {
            refused = !this->ends_.putter.try_put(four);
        } catch (const std::system_error& e) {
            refused = e.code() == make_error_code(errc::closed);
            expect(refused, e.what());
        }
        expect(refused || !shut, "it has been shut down, and takes an item");
        std::vector<int> all = co_await this->drained();
        if (taken_) all.insert(all.begin(), 1);
        if (!refused && !all.empty() && all.back() == 4) all.pop_back();
        std::vector<int> right;
        if (!Getting) right = shut ? std::vector{1, 2} : std::vector{1, 2, 3};
        // What a shutdown drops, or another has taken.
        if (Immediate && shut) right.resize(all.size());
        expect(all == right, "items are lost, or come twice");
        co_return shut ? "shut" : "not shut";
    }

private:
    bool taken_ = false;
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

TEST_CASE("a process killed after any instruction of put leaves a whole item or none",
          "[every_instruction]") {
    survives<queue_put<words, false, true>>("queue put");
    survives<queue_put<text<300>, false, true>>("queue put, of any size");
    survives<queue_put<text<300'000>, false, true>>("queue put, large");
    survives<queue_put<words, true, true>>("queue put, a getter sleeps");
    survives<queue_put<text<300>, true, true>>("queue put, of any size, a getter sleeps");
    survives<queue_put<words, true, false>>("queue put, a getter sleeps, no futex");
}

TEST_CASE("a process killed after any instruction of get has taken an item or not",
          "[every_instruction]") {
    survives<queue_get<words, false>>("queue get");
    survives<queue_get<text<300>, false>>("queue get, of any size");
    survives<queue_get<text<300'000>, false>>("queue get, large");
    step_options unsteady;
    unsteady.ordered = false;
    CHECK(step_kill<queue_get<words, false, true>>("queue get, the first", unsteady).violations ==
          0);
    survives<queue_get_full<words, true>>("queue get, a putter sleeps");
    survives<queue_get_full<text<300>, true>>("queue get, of any size, a putter sleeps");
    survives<queue_get_full<words, false>>("queue get, a putter sleeps, no futex");
}

TEST_CASE("what a process killed after any instruction has leased comes again, once",
          "[every_instruction]") {
    survives<queue_get<words, true>>("queue get_leased");
    survives<queue_get<text<300'000>, true>>("queue get_leased, large");
    survives<lease_end<lease_ends::done, true>>("lease done, a getter sleeps");
    survives<lease_end<lease_ends::given_back, true>>("lease give_back, a getter sleeps");
    survives<lease_end<lease_ends::closed, true>>("queue close, a getter sleeps");
    survives<lease_end<lease_ends::given_back, false>>(
        "lease give_back, a getter sleeps, no futex");
}

TEST_CASE("a process killed after any instruction of task_done or shutdown lets nobody hang",
          "[every_instruction]") {
    survives<queue_done<false, true, true>>("queue task_done, one joins");
    survives<queue_done<true, true, true>>("queue task_done, leased, one joins");
    survives<queue_done<true, false, true>>("lease done, one joins");
    survives<queue_done<false, true, false>>("queue task_done, one joins, no futex");
    survives<queue_shutdown<true, false, true>>("queue shutdown, immediate, a putter sleeps");
    survives<queue_shutdown<false, false, true>>("queue shutdown, drain, a putter sleeps");
    survives<queue_shutdown<false, true, true>>("queue shutdown, drain, a getter sleeps");
}

TEST_CASE("a queue's user that is held up after any instruction loses no wake-up",
          "[every_instruction]") {
    wakes<queue_put<words, true, true>>("queue put, held up");
    wakes<queue_put<text<300>, true, true>>("queue put, of any size, held up");
    wakes<queue_get_full<words, true>>("queue get, held up");
    wakes<lease_end<lease_ends::given_back, true>>("lease give_back, held up");
    wakes<lease_end<lease_ends::closed, true>>("queue close, held up");
    wakes<queue_done<false, true, true>>("queue task_done, held up");
    wakes<queue_done<true, false, true>>("lease done, held up");
    wakes<queue_shutdown<true, false, true>>("queue shutdown, held up, a putter");
    wakes<queue_shutdown<false, true, true>>("queue shutdown, held up, a getter");
}

TEST_CASE("a queue's user that is held up, without futexes in the kernel's ring",
          "[every_instruction]") {
    wakes<queue_put<words, true, false>>("queue put, held up, no futex");
    wakes<queue_get_full<words, false>>("queue get, held up, no futex");
    wakes<lease_end<lease_ends::given_back, false>>("lease give_back, held up, no futex");
    wakes<queue_done<false, true, false>>("queue task_done, held up, no futex");
    wakes<queue_shutdown<true, false, false>>("queue shutdown, held up, a putter, no futex");
}

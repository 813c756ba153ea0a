// SPDX-License-Identifier: MIT
// Those who put into and get from a queue are killed at random moments and started again.
// RUNNEL_SEED repeats the moments; RUNNEL_KILLS says how many (150 a test case if it is not set).
#include <algorithm>
#include <chrono>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>

#include <runnel/ipc/queue.hpp>
#include <runnel/runnel.hpp>

#include "support/arrived.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"
#include "support/kill_storm.hpp"
#include "support/leaks.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

/// An item with a text that shows if it was damaged.
struct parcel {
    std::uint64_t number = 0;
    std::string text;
};
parcel parcel_of(std::uint64_t number, std::size_t most) {
    const std::size_t size = number % 7 == 0 ? number * 7919 % most : number % 100;
    return {number, std::string(size, static_cast<char>('a' + number % 26))};
}

struct scene {
    const char* name;
    ipc::queue_options options;
    std::size_t most;  // bytes of an item
};

constexpr unsigned putters = 3;
constexpr unsigned getters = 3;

class queue_storm {
public:
    explicit queue_storm(const scene& of)
        : scene_(of), storm_(options_of(of)), log_(2'000'000 + 4'000 * storm_.kills.wanted) {}

    void rage() {
        {
            kill_storm storm(storm_, [&](const kill_storm& its, unsigned slot) {
                return slot < putters ? put(its) : get();
            });
            storm.rage();
            ends_.putter.close();
            result_ = storm.calm();
        }
        // What the last dead had.
        bool rest_came = false;
        run([&]() -> task<> {
            auto all = take(ends_.getter);
            bool ended = co_await with_timeout(std::move(all), 20s);
            rest_came = ended;
        });
        CHECK(rest_came);
        sums_ = log_.count();
        std::cout << scene_.name << ": " << result_ << "; " << sums_.begun << " items begun, "
                  << sums_.put << " put, " << sums_.got << " got, " << sums_.twice << " twice, "
                  << sums_.lost << " lost by " << killed_getters() << " killed getters\n";
        CHECK(result_.enough);
        CHECK(result_.failed == 0);
        CHECK(result_.hung == 0);
        CHECK(sums_.corrupt == 0);
        CHECK(sums_.got > result_.all);
    }
    [[nodiscard]] const item_log::sums& sums() const { return sums_; }
    [[nodiscard]] std::uint64_t killed_getters() const {
        return result_.kills_of(putters, getters);
    }

private:
    static storm_options options_of(const scene& of) {
        storm_options options;
        options.workers = putters + getters;
        options.seed = announced_seed(of.name);
        options.budget = std::max(2000ms, std::chrono::milliseconds(options.kills.wanted * 20));
        options.mean_gap = 1500us;
        return options;
    }
    task<> put(const kill_storm& storm) {
        auto out = arrived(ends_.putter);
        ends_.putter.close();
        ends_.getter.close();
        while (!storm.stopping()) {
            const std::uint64_t number = log_.begin_put();
            if (number == log_.capacity()) break;
            const parcel item = parcel_of(number, scene_.most);
            co_await out.put(item);
            log_.put(number);
        }
    }
    task<> get() {
        auto in = arrived(ends_.getter);
        ends_.putter.close();
        ends_.getter.close();
        co_await take(in);
    }
    task<> take(ipc::getter<parcel>& in) {
        if (scene_.options.lease) {
            while (auto held = co_await in.get_leased()) {
                note(**held);
                held->done();
            }
        } else {
            while (auto item = co_await in.get()) {
                note(*item);
                in.task_done();
            }
        }
    }
    void note(const parcel& item) {
        const bool right = item.text == parcel_of(item.number, scene_.most).text;
        if (right)
            log_.got(item.number);
        else
            log_.corrupt();
    }

    const scene scene_;
    const storm_options storm_;
    item_log log_;
    ipc::queue_ends<parcel> ends_ = ipc::queue<parcel>(scene_.options);
    storm_result result_;
    item_log::sums sums_;
};

void require_exactly_once(const scene& of) {
    const support::no_leaks leaks;
    queue_storm storm(of);
    storm.rage();
    CHECK(storm.sums().twice == 0);
    CHECK(storm.sums().lost <= storm.killed_getters());
}

void require_nothing_lost(const scene& of) {
    const support::no_leaks leaks;
    queue_storm storm(of);
    storm.rage();
    CHECK(storm.sums().twice <= storm.killed_getters());
    CHECK(storm.sums().lost == 0);
}

}  // namespace

TEST_CASE("a queue whose users are killed at random loses what the getters held", "[kills]") {
    require_exactly_once({"storm on a queue", {.max_items = 16}, 2000});
}
TEST_CASE("a queue that gives memory back, and whose users are killed at random, is right",
          "[kills]") {
    require_exactly_once(
        {"storm on a large queue", {.max_items = 0, .max_bytes = 32 << 20}, 3'000'000});
}
TEST_CASE("a queue with leases whose users are killed at random loses nothing", "[kills]") {
    require_nothing_lost({"storm on leases", {.max_items = 16, .lease = true}, 2000});
}
TEST_CASE("a large queue with leases whose users are killed at random loses nothing", "[kills]") {
    require_nothing_lost({"storm on large leases",
                          {.max_items = 0, .max_bytes = 32 << 20, .lease = true},
                          3'000'000});
}

// SPDX-License-Identifier: MIT
// Processes that use one object are killed at random moments and started again. RUNNEL_SEED repeats
// the moments; RUNNEL_KILLS says how many (150 a test case if it is not set), and they have more
// time then.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>

#include <runnel/ipc/mutex.hpp>
#include <runnel/ipc/pipe.hpp>
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

storm_options storm_of(const char* what, unsigned workers) {
    storm_options options;
    options.workers = workers;
    options.seed = announced_seed(what);
    options.budget = std::max(8000ms, std::chrono::milliseconds(options.kills.wanted * 15));
    return options;
}

/// What a mutex protects: the two differ only while it is held.
struct twins {
    std::atomic<std::uint64_t> one, other, deaths;
};

/// An item as a message: small, or larger than a datagram holds, with a text that shows if it was
/// damaged.
struct parcel {
    std::uint64_t number = 0;
    std::string text;
};
parcel parcel_of(std::uint64_t number) {
    const std::size_t size = number % 64 == 0 ? 150'000 : number % 100;
    return {number, std::string(size, static_cast<char>('a' + number % 26))};
}

}  // namespace

TEST_CASE("senders and receivers that are killed at random lose what they hold, and nothing else",
          "[kills]") {
    const support::no_leaks leaks;
    constexpr unsigned senders = 3;
    constexpr unsigned receivers = 2;
    const storm_options options = storm_of("storm on a pipe", senders + receivers);
    item_log log(1'000'000 + 2'000 * options.kills.wanted);
    auto ends = ipc::pipe<parcel>(ipc::simplex);
    const auto send = [&](const kill_storm& storm) -> task<> {
        ends.receiver.close();
        while (!storm.stopping()) {
            const std::uint64_t number = log.begin_put();
            if (number == log.capacity()) break;
            const parcel item = parcel_of(number);
            co_await ends.sender.send(item);
            log.put(number);
        }
    };
    const auto receive = [&]() -> task<> {
        ends.sender.close();
        while (auto item = co_await ends.receiver.recv()) {
            if (item->text != parcel_of(item->number).text) log.corrupt();
            log.got(item->number);
        }
    };
    storm_result result;
    {
        kill_storm storm(options, [&](const kill_storm& its, unsigned slot) {
            return slot < senders ? send(its) : receive();
        });
        storm.rage();
        ends.sender.close();
        result = storm.calm();
    }
    run([&]() -> task<> {
        while (auto item = co_await ends.receiver.recv()) log.got(item->number);
    });
    ends.receiver.close();
    const item_log::sums sums = log.count();
    std::cout << "pipe: " << result << "; " << sums.begun << " items begun, " << sums.put
              << " sent, " << sums.got << " received, " << sums.lost << " lost by "
              << result.kills_of(senders, receivers) << " killed receivers\n";
    CHECK(result.enough);
    CHECK(result.failed == 0);
    CHECK(result.hung == 0);
    CHECK(sums.corrupt == 0);
    CHECK(sums.twice == 0);
    CHECK(sums.lost <= result.kills_of(senders, receivers));
    CHECK(sums.got > result.all);
}

TEST_CASE("owners of a mutex that are killed at random stop nobody, and each death is told",
          "[kills]") {
    for (const bool futex : {true, false}) {
        const support::no_leaks leaks;
        const char* before = std::getenv("RUNNEL_DISABLE");
        const std::string kept = before != nullptr ? before : "";
        if (!futex) ::setenv("RUNNEL_DISABLE", "futex", 1);
        const storm_options options =
            storm_of(futex ? "storm on a mutex" : "storm on a mutex, no futex", 4);
        ipc::mutex mutex;
        const shared_memory_block memory(sizeof(twins));
        twins& both = *memory.as<twins>();
        const auto work = [&](const kill_storm& storm) -> task<> {
            auto mine = arrived(mutex);
            while (!storm.stopping()) {
                auto held = co_await mine.lock();
                if (both.one.load() != both.other.load()) {
                    if (!held.owner_died()) throw std::runtime_error("a death was not told");
                    both.other.store(both.one.load());
                    both.deaths.fetch_add(1);
                }
                both.one.fetch_add(1);
                if (both.one.load() % 4 == 0) co_await yield();
                both.other.fetch_add(1);
                held.unlock();
                if (both.one.load() % 16 == 0) co_await yield();
            }
        };
        storm_result result;
        {
            kill_storm storm(options, [&](const kill_storm& its, unsigned) { return work(its); });
            storm.rage();
            result = storm.calm();
        }
        std::cout << "mutex: " << result << "; " << both.one << " turns, " << both.deaths
                  << " owners died inside\n";
        CHECK(result.enough);
        CHECK(result.failed == 0);
        CHECK(result.hung == 0);
        CHECK(both.one > result.all);
        if (before != nullptr)
            ::setenv("RUNNEL_DISABLE", kept.c_str(), 1);
        else
            ::unsetenv("RUNNEL_DISABLE");
    }
}

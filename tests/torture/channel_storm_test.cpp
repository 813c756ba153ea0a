// SPDX-License-Identifier: MIT
// The sides of channels and broadcasts are killed at random moments: who is left gets whole
// records, all that were published, in order, and then the end. RUNNEL_SEED repeats the moments;
// RUNNEL_KILLS says how many a test case (150 if it is not set).
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <system_error>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <runnel/ipc/broadcast.hpp>
#include <runnel/ipc/channel.hpp>
#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/environment.hpp"
#include "support/forked.hpp"
#include "support/kill_storm.hpp"
#include "support/leaks.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

/// What the processes of a round say.
struct said {
    std::atomic<std::uint64_t> published;    // so many, for certain
    std::atomic<std::uint64_t> seen[4];      // by each reader, with what it has missed
    std::atomic<std::uint64_t> received[4];  // by each reader
};

/// A record tells its number in its first 8 bytes, and all others hold the lowest of these.
std::size_t size_of(std::uint64_t number) {
    return 8 + (number % 11 == 0 ? number * 7919 % 3000 : number % 60);
}
void fill(std::byte* at, std::uint64_t number) {
    std::memset(at, static_cast<unsigned char>(number), size_of(number));
    std::memcpy(at, &number, sizeof number);
}
bool is_whole(std::span<const std::byte> record, std::uint64_t& number) {
    if (record.size() < sizeof number) return false;
    std::memcpy(&number, record.data(), sizeof number);
    if (record.size() != size_of(number)) return false;
    for (const std::byte each : record.subspan(sizeof number))
        if (each != static_cast<std::byte>(number)) return false;
    return true;
}

/// Publishes until nobody reads: in batches, out of their order, or one by one.
template <class Writer>
task<> publish_all(Writer& to, said& so_far) {
    try {
        for (std::uint64_t number = 0;;) {
            auto one = co_await to.loan(size_of(number));
            fill(one.data(), number);
            if (number % 3 != 0) {
                auto two = co_await to.loan(size_of(number + 1));
                fill(two.data(), number + 1);
                two.stage();
                ++number;
            }
            one.publish();
            so_far.published.store(++number);
            if (number % 64 == 0) co_await yield();
        }
    } catch (const std::system_error& e) {
        if (e.code() != std::errc::broken_pipe) throw;
    }
}

/// Receives until the end, holding a few on the way.
template <class Reader>
task<> receive_all(Reader& from, said& so_far, std::size_t who) {
    using view = typename decltype(from.try_receive())::value_type;
    std::optional<view> held[3];
    std::uint64_t expected = 0;
    while (auto got = co_await from.receive()) {
        std::uint64_t number = 0;
        if constexpr (requires { got->missed(); }) expected += got->missed();
        if (!is_whole(got->span(), number)) throw std::runtime_error("half a record");
        if (number != expected) throw std::runtime_error("not the next record");
        so_far.seen[who].store(++expected);
        so_far.received[who].fetch_add(1);
        held[number * 7 % 3] = std::move(*got);
        if (number % 64 == 0) co_await yield();
    }
}

class storm {
public:
    explicit storm(const char* what) : random_(announced_seed(what)), what_(what) {}
    ~storm() {
        for (const ::pid_t pid : living_) {
            ::kill(pid, SIGKILL);
            reaped(pid);
        }
    }
    storm(const storm&) = delete;
    storm& operator=(const storm&) = delete;

    [[nodiscard]] bool over() const {
        return killed_ >= kills_.wanted || failed_ + hung_ + lost_ != 0;
    }
    /// Every fourth round is as on a kernel before 6.7.
    void begin_round() {
        no_futex_.reset();  // the one before it first
        no_futex_ = std::make_unique<without_futex>(++rounds_ % 4 == 0);
        all_.published = 0;
        for (auto& each : all_.seen) each = 0;
    }
    template <class Make>
    ::pid_t start(const char* role, Make make) {
        living_.push_back(forked_task(role, make));
        return living_.back();
    }
    /// After a while.
    void kill(::pid_t pid) {
        const double wait = std::exponential_distribution<double>(1.0 / 1200)(random_);
        ::usleep(static_cast<::useconds_t>(std::min(wait, 12'000.0)));
        ::kill(pid, SIGKILL);
        const int status = reaped(pid);
        std::erase(living_, pid);
        if (WIFSIGNALED(status))
            ++killed_;
        else
            ++failed_;  // nothing had happened that could end it
    }
    /// All who are left end, and well.
    void settle() {
        const auto until = std::chrono::steady_clock::now() + 10s;
        for (const ::pid_t pid : living_) {
            int status = 0;
            while (::waitpid(pid, &status, WNOHANG) == 0) {
                if (std::chrono::steady_clock::now() > until) {
                    ++hung_;
                    ::kill(pid, SIGKILL);
                    reaped(pid);
                    break;
                }
                ::usleep(100);
            }
            if (status != 0) ++failed_;
        }
        living_.clear();
    }
    /// A reader that has gone on to the end has all.
    void require_all(std::size_t reader) {
        if (all_.seen[reader].load() < all_.published.load()) ++lost_;
    }
    std::uint64_t pick(std::uint64_t n) { return random_() % n; }
    [[nodiscard]] said& all() const { return all_; }
    void report() const {
        std::uint64_t received = 0;
        for (const auto& each : all_.received) received += each.load();
        std::cout << what_ << ": " << killed_ << " kills in " << rounds_ << " rounds, " << received
                  << " records received; " << failed_ << " failed, " << hung_ << " hung, " << lost_
                  << " times something was lost\n";
        CHECK(killed_ >= kills_.wanted);
        CHECK(failed_ == 0);
        CHECK(hung_ == 0);
        CHECK(lost_ == 0);
        CHECK(received > killed_);
    }

private:
    std::mt19937_64 random_;
    const storm_kills kills_;
    const char* what_;
    std::unique_ptr<without_futex> no_futex_;
    shared_memory_block memory_{sizeof(said)};
    said& all_ = *memory_.as<said>();
    std::vector<::pid_t> living_;
    std::uint64_t rounds_ = 0, killed_ = 0, failed_ = 0, hung_ = 0, lost_ = 0;
};

void broadcast_storm(const char* what, ipc::when_behind policy) {
    const support::no_leaks leaks;
    storm its(what);
    while (!its.over()) {
        its.begin_round();
        constexpr std::size_t readers = 3;
        auto ends = ipc::broadcast<std::byte>(
            {.capacity = 1 << 14, .policy = policy, .readers = readers + 1});
        std::vector<ipc::broadcast_reader<std::byte>> in;
        in.push_back(std::move(ends.reader));
        while (in.size() < readers) in.push_back(in[0].share());
        const ::pid_t writer = its.start("writer", [&]() -> task<> {
            in.clear();
            co_await publish_all(ends.writer, its.all());
        });
        ends.writer.close();
        std::vector<::pid_t> processes;
        for (std::size_t i = 0; i < readers; ++i)
            processes.push_back(its.start("reader", [&, i]() -> task<> {
                auto mine = std::move(in[i]);
                in.clear();
                co_await receive_all(mine, its.all(), i);
            }));
        in.clear();
        const std::size_t first = its.pick(readers + 1);  // of the readers, or none of them
        if (first < readers) its.kill(processes[first]);
        its.kill(writer);
        its.settle();
        for (std::size_t i = 0; i < readers; ++i)
            if (i != first) its.require_all(i);
    }
    its.report();
}

}  // namespace

TEST_CASE("a side of a channel that is killed at random leaves the other whole records, and an end",
          "[kills]") {
    const support::no_leaks leaks;
    storm its("storm on a channel");
    while (!its.over()) {
        its.begin_round();
        auto ends = ipc::channel<std::byte>({.capacity = 1 << 14});
        const ::pid_t writer = its.start("writer", [&]() -> task<> {
            ends.reader.close();
            co_await publish_all(ends.writer, its.all());
        });
        const ::pid_t reader = its.start("reader", [&]() -> task<> {
            ends.writer.close();
            co_await receive_all(ends.reader, its.all(), 0);
        });
        ends.writer.close();
        ends.reader.close();
        const bool reads_on = its.pick(3) != 0;
        its.kill(reads_on ? writer : reader);
        its.settle();
        if (reads_on) its.require_all(0);
    }
    its.report();
}
TEST_CASE("a broadcast whose sides are killed at random loses nothing, and ends", "[kills]") {
    broadcast_storm("storm on a broadcast", ipc::when_behind::wait);
}
TEST_CASE("a broadcast that overwrites, whose sides are killed at random, tells what is missed",
          "[kills]") {
    broadcast_storm("storm on an overwriting broadcast", ipc::when_behind::overwrite);
}

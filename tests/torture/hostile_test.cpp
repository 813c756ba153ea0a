// SPDX-License-Identifier: MIT
// Peers that keep to no rule. RUNNEL_SEED repeats what they do.
#include <csignal>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <unistd.h>

#include <runnel/ipc/detail/object_memory.hpp>
#include <runnel/ipc/pipe.hpp>
#include <runnel/runnel.hpp>

#include "ipc/message_tools.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"
#include "support/forked.hpp"
#include "support/hostile.hpp"
#include "support/leaks.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

struct parcel {
    std::uint64_t number = 0;
    std::vector<std::string> words;
    std::optional<unique_fd> file;
};
std::string bytes_of(const raw_message& message) {
    return std::string(reinterpret_cast<const char*>(&message.head), sizeof message.head) +
           message.body;
}

struct tally {
    int values = 0, errors = 0, wrong = 0;
};
template <class T>
task<> receive_all(ipc::connection<T>& from, tally& into) {
    for (;;) {
        try {
            auto got = co_await from.recv();
            if (!got) break;
            ++into.values;
        } catch (const std::system_error& e) {
            ++into.errors;
            if (e.code() == make_error_code(errc::closed)) break;
            if (e.code() == make_error_code(errc::message_too_long)) continue;
            // After malformed bytes the end is closed.
            if (e.code() != make_error_code(errc::protocol) || !from.closed()) ++into.wrong;
            break;
        }
    }
}

/// A child that sends forged messages into each end, until nobody takes them.
template <class T>
::pid_t flood(std::vector<ipc::duplex_pipe<T>>& pipes, const std::string& right,
              std::uint64_t seed) {
    return forked([&] {
        forger make(seed);
        std::mt19937_64 random(seed);
        for (auto& each : pipes) {
            for (std::uint64_t n = random() % 4; n > 0; --n)
                raw_message::post_bytes(each.first.native_handle(), right);
            for (int i = 0; i < 20; ++i) {
                const std::vector<int> numbers(random() % 8 == 0 ? 1 + random() % 3 : 0, 2);
                const std::string bytes = make.forged(right);
                if (!raw_message::post_bytes(each.first.native_handle(), bytes, numbers)) break;
            }
        }
        return 0;
    });
}

template <class T>
void survives_forgery(const std::string& right, std::uint64_t seed) {
    const support::no_leaks leaks;
    tally total;
    auto honest = ipc::pipe<std::string>(ipc::simplex);
    std::vector<ipc::duplex_pipe<T>> pipes;
    for (int i = 0; i < 100; ++i) pipes.push_back(ipc::pipe<T>({.max_message = 100'000}));
    const ::pid_t child = flood(pipes, right, seed);
    for (auto& each : pipes) each.first.close();
    bool in_time = false;
    int honest_ones = 0;
    run([&]() -> task<> {
        const auto all = [&]() -> task<> {
            co_await open_nursery([&](nursery& n) -> task<> {
                for (auto& each : pipes)
                    n.start(receive_all<T>, std::ref(each.second), std::ref(total));
                for (int i = 0; i < 100; ++i) {
                    const std::string text = "honest";
                    co_await honest.sender.send(text);
                    auto got = co_await honest.receiver.recv();
                    if (got == text) ++honest_ones;
                }
            });
        };
        const bool done = co_await with_timeout(all(), 20s);
        in_time = done;
    });
    ::kill(child, SIGKILL);
    reaped(child);
    std::cout << "forged messages: " << total.values << " values, " << total.errors << " errors\n";
    CHECK(in_time);
    CHECK(honest_ones == 100);
    CHECK(total.wrong == 0);
    CHECK(total.errors > 50);
}

}  // namespace

TEST_CASE("a pipe whose peer sends forged messages gives values or an error, and others go on") {
    const std::uint64_t seed = announced_seed("forged messages");
    parcel item;
    item.number = 7;
    item.words = {"one", "two", "three"};
    survives_forgery<parcel>(bytes_of(message_of(item)), seed);
    survives_forgery<std::string>(bytes_of(message_of(std::string(500, 'x'))), seed + 1);
    survives_forgery<int>(bytes_of(message_of(7)), seed + 2);
}

TEST_CASE("a lock whose memory is scribbled over, and its header, harm nobody") {
    using namespace ipc::detail;
    const support::no_leaks leaks;
    constexpr object_type what{"test", 0x74657374, 7, 1, 100'000};
    const hostile_report report = scribbled(
        [&] {
            const auto object = std::make_shared<object_memory>(what);
            object->publish();
            return hostile_object{{object->fd()}, [object, &what]() -> task<> {
                                      robust_lock lock = object->lock(0);
                                      while (lock.lock() == robust_lock::got::no) {
                                          static_cast<void>(lock.forged());
                                          co_await yield();
                                      }
                                      lock.unlock();
                                      unique_fd again(::dup(object->fd()));
                                      const object_memory same(std::move(again), what);
                                  }};
        },
        announced_seed("scribbled lock"));
    std::cout << "lock: " << report << '\n';
    CHECK(report.crashed == 0);
    CHECK(report.stuck == 0);
    CHECK(report.otherwise == 0);
    CHECK(report.refused > 0);
}

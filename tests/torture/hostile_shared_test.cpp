// SPDX-License-Identifier: MIT
// What lies in shared memory is scribbled over by one who keeps to no rule, while others use it:
// they get values or errors, and go on. RUNNEL_SEED repeats it, RUNNEL_ROUNDS says how often.
#include <array>
#include <cstdint>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include <runnel/ipc.hpp>
#include <runnel/runnel.hpp>

#include "support/arrived.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"
#include "support/hostile.hpp"
#include "support/leaks.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

/// Nobody is hit by a signal, and nobody is stuck; something is done before or in spite of it.
void check(const char* what, const hostile_report& report) {
    std::cout << what << ": " << report << '\n';
    INFO(what);
    CHECK(report.crashed == 0);
    CHECK(report.stuck == 0);
    CHECK(report.otherwise == 0);
    CHECK(report.done + report.late + report.refused > report.rounds);
}

/// The same where nonsense can be told from sense, which is seen in the end: not in each round, for
/// a queue that is said to be shut down early stays so.
void check_refused(const char* what, const std::function<hostile_object()>& make,
                   std::uint64_t seed) {
    std::uint64_t seen = 0;
    for (std::uint64_t i = 0; seen == 0 && i < 10; ++i) {
        const hostile_report report = scribbled(make, seed + 100 * i);
        check(what, report);
        seen = report.protocol;
    }
    INFO(what);
    CHECK(seen > 0);
}

/// A handle from where the victim is, for each operation that found the last one closed.
template <class Handle>
Handle& open_again(Handle& mine, const Handle& original) {
    if (mine.closed()) mine = arrived(original);
    return mine;
}

/// Puts and gets; items have a fixed size, or any.
template <class T>
hostile_object a_queue(bool lease, std::size_t bytes, const T& item) {
    const auto ends =
        std::make_shared<ipc::queue_ends<T>>(ipc::queue<T>({.max_bytes = bytes, .lease = lease}));
    struct mine {
        ipc::putter<T> out;
        ipc::getter<T> in;
    };
    const auto own = std::make_shared<mine>();
    std::vector<int> all = descriptors_of(ends->putter);
    return {all, [ends, own, item]() -> task<> {
                ipc::putter<T>& out = open_again(own->out, ends->putter);
                ipc::getter<T>& in = open_again(own->in, ends->getter);
                static_cast<void>(out.try_put(item));
                static_cast<void>(in.size() + in.full());
                co_await out.put(item);
                if (ends->getter.closed()) co_return;
                auto got = co_await in.get();
                if (!got) throw_error(errc::protocol, "get", "a queue that was shut down");
                try {
                    in.task_done();
                } catch (const std::invalid_argument&) {  // it has been made so
                }
                static_cast<void>(in.try_get());
            }};
}

/// The same with leases, given back and done.
hostile_object leases() {
    const auto ends = std::make_shared<ipc::queue_ends<std::string>>(
        ipc::queue<std::string>({.max_bytes = 1 << 20, .lease = true}));
    return {descriptors_of(ends->putter), [ends]() -> task<> {
                auto out = arrived(ends->putter);
                auto in = arrived(ends->getter);
                const std::string item(500, 'x');
                static_cast<void>(out.try_put(item));
                auto one = co_await in.get_leased();
                if (one) one->give_back();
                auto two = co_await in.get_leased();
                if (two) two->done();
            }};
}

struct frame {
    std::array<std::uint64_t, 32> words{};
};

}  // namespace

TEST_CASE("a queue whose memory is scribbled over gives items or an error, in time", "[hostile]") {
    const support::no_leaks leaks;
    const std::uint64_t seed = announced_seed("scribbled queue");
    const auto number = [] { return a_queue<std::uint64_t>(false, 0, 7); };
    check_refused("queue", number, seed);
    const auto text = [] { return a_queue<std::string>(false, 1 << 16, std::string(300, 'x')); };
    check_refused("queue, of any size", text, seed + 1);
    const auto large = [] {
        return a_queue<std::string>(false, 32 << 20, std::string(9'000, 'x'));
    };
    check_refused("queue, large", large, seed + 2);
    check_refused("queue, leases", leases, seed + 3);
}

TEST_CASE("shared state whose memory is scribbled over gives values or an error, in time",
          "[hostile]") {
    const support::no_leaks leaks;
    const std::uint64_t seed = announced_seed("scribbled state");
    check("value", scribbled(
                       [] {
                           const auto one = std::make_shared<ipc::value<frame>>();
                           return hostile_object{descriptors_of(*one), [one]() -> task<> {
                                                     one->store(frame{});
                                                     static_cast<void>(one->load());
                                                     co_await one->until([](const frame& f) {
                                                         return f.words[3] == 0;
                                                     });
                                                 }};
                       },
                       seed));
    check("semaphore", scribbled(
                           [] {
                               const auto one = std::make_shared<ipc::semaphore>(2U);
                               return hostile_object{descriptors_of(*one), [one]() -> task<> {
                                                         auto held = co_await one->hold();
                                                         co_await one->acquire();
                                                         try {
                                                             one->release();
                                                         } catch (const std::invalid_argument&) {
                                                         }
                                                     }};
                           },
                           seed + 1));
    check("barrier", scribbled(
                         [] {
                             const auto one = std::make_shared<ipc::barrier>(2U);
                             return hostile_object{
                                 descriptors_of(*one), [one]() -> task<> {
                                     const auto arrive = [](ipc::barrier& on) -> task<> {
                                         try {
                                             static_cast<void>(co_await on.arrive_and_wait());
                                         } catch (const std::system_error& e) {
                                             if (e.code() == make_error_code(errc::protocol)) throw;
                                             on.reset();  // it has been broken
                                         }
                                     };
                                     co_await when_all(arrive(*one), arrive(*one));
                                 }};
                         },
                         seed + 4));
    check("event", scribbled(
                       [] {
                           const auto one = std::make_shared<ipc::event>();
                           return hostile_object{descriptors_of(*one), [one]() -> task<> {
                                                     one->set();
                                                     co_await one->wait();
                                                     one->clear();
                                                 }};
                       },
                       seed + 2));
    check("condition",
          scribbled(
              [] {
                  // The mutex is for those who trust each other: nobody scribbles there.
                  const auto lock = std::make_shared<ipc::mutex>();
                  const auto one = std::make_shared<ipc::condition>();
                  return hostile_object{
                      descriptors_of(*one), [lock, one]() -> task<> {
                          const auto wait = [](ipc::mutex& m, ipc::condition& c) -> task<> {
                              auto held = co_await m.lock();
                              co_await c.wait(held);
                              if (!held) throw std::logic_error("it is not locked");
                          };
                          const auto tell = [](ipc::mutex& m, ipc::condition& c) -> task<> {
                              auto held = co_await m.lock();
                              c.notify_one();
                          };
                          co_await when_all(wait(*lock, *one), tell(*lock, *one));
                      }};
              },
              seed + 5));
    check("list", scribbled(
                      [] {
                          const auto one = std::make_shared<ipc::list>(
                              std::initializer_list<ipc::list::item>{std::string(100, 'x'), true});
                          return hostile_object{descriptors_of(*one), [one]() -> task<> {
                                                    one->set(0, std::string(70, 'y'));
                                                    static_cast<void>(one->get(0));
                                                    static_cast<void>(one->get(1));
                                                    co_await yield();
                                                }};
                      },
                      seed + 3));
}

TEST_CASE("a lock that is said to be held by one who lives is not waited for without end",
          "[hostile]") {
    const support::no_leaks leaks;
    const ipc::semaphore one(1U);
    const int memory = descriptors_of(one)[0];
    const auto patience = std::exchange(ipc::detail::object_section::patience, 50ms);
    const std::uint32_t init = 1;
    const auto at = static_cast<::off_t>(ipc::detail::object_memory::page_size) - 16;
    REQUIRE(::pwrite(memory, &init, sizeof init, at) == sizeof init);
    std::error_code why;
    try {
        one.release();
    } catch (const std::system_error& e) {
        why = e.code();
    }
    ipc::detail::object_section::patience = patience;
    CHECK(why == std::errc::timed_out);
    CHECK(one.available() == 1);
}

TEST_CASE("what is given back while somebody is stopped in a change is given back", "[hostile]") {
    const support::no_leaks leaks;
    const auto patience = std::exchange(ipc::detail::object_section::patience, 50ms);
    const auto stop = [](const auto& of, std::uint32_t by) {
        const auto at = static_cast<::off_t>(ipc::detail::object_memory::page_size) - 16;
        REQUIRE(::pwrite(descriptors_of(of)[0], &by, sizeof by, at) == sizeof by);
    };
    run([&]() -> task<> {
        const ipc::semaphore permits(3U);
        auto held = permits.try_hold(2);
        CHECK(permits.available() == 1);
        stop(permits, 1);  // by one who lives, and does not go on
        held.reset();
        stop(permits, 0);
        CHECK(permits.available() == 3);

        const ipc::barrier two(2);
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> { co_await two.arrive_and_wait(); });
            while (two.waiting() == 0) co_await yield();
            stop(two, 1);
            n.cancel();
        });
        stop(two, 0);
        CHECK(two.waiting() == 0);
        CHECK_FALSE(two.broken());
    }());
    // By the end of the loop that had them.
    const ipc::semaphore permits(2U);
    std::optional<ipc::semaphore::permit> kept;
    run([&]() -> task<> {
        kept = permits.try_hold(2);
        CHECK(kept);
        stop(permits, 1);
        co_return;
    }());
    stop(permits, 0);
    CHECK(permits.available() == 2);
    kept.reset();
    CHECK(permits.available() == 2);
    ipc::detail::object_section::patience = patience;
}

TEST_CASE("a channel whose other side scribbles gives records or an error, in time", "[hostile]") {
    const support::no_leaks leaks;
    const std::uint64_t seed = announced_seed("scribbled channel");
    // What the writer can write, and a reader; then the other way round.
    check_refused(
        "channel, by the writer",
        [] {
            const auto ends = std::make_shared<ipc::channel_ends<std::byte>>(
                ipc::channel<std::byte>({.capacity = 1 << 16}));
            std::vector<int> all = descriptors_of(ends->writer);
            const auto writer =
                std::make_shared<ipc::channel_writer<std::byte>>(arrived(ends->writer));
            const auto reader =
                std::make_shared<ipc::channel_reader<std::byte>>(arrived(ends->reader));
            return hostile_object{all, [writer, reader, ends]() -> task<> {
                                      if (writer->closed()) *writer = arrived(ends->writer);
                                      if (reader->closed()) *reader = arrived(ends->reader);
                                      auto loan = writer->try_loan(3'000);
                                      if (loan) loan->publish();
                                      auto view = co_await reader->receive();
                                      if (!view) co_return;
                                      std::uint64_t sum = 0;
                                      for (const std::byte each : view->span())
                                          sum += std::to_integer<std::uint64_t>(each);
                                      static_cast<void>(sum);
                                  }};
        },
        seed);
    check_refused(
        "channel, by the reader",
        [] {
            const auto ends = std::make_shared<ipc::channel_ends<std::byte>>(
                ipc::channel<std::byte>({.capacity = 1 << 16}));
            std::vector<int> all = descriptors_of(ends->reader);
            const auto writer =
                std::make_shared<ipc::channel_writer<std::byte>>(arrived(ends->writer));
            return hostile_object{all, [writer, ends]() -> task<> {
                                      if (writer->closed()) *writer = arrived(ends->writer);
                                      auto loan = co_await writer->loan(3'000);
                                      loan.data()[2'999] = std::byte{1};
                                      loan.publish();
                                  }};
        },
        seed + 1);
}

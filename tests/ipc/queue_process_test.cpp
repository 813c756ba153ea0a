// SPDX-License-Identifier: MIT
// A queue between processes: who ends in whatever way leaves it usable, and its end is told.
#include <runnel/ipc/queue.hpp>

#include <chrono>
#include <csignal>
#include <numeric>
#include <vector>

#include <sched.h>

#include <runnel/ipc/pipe.hpp>
#include <runnel/when_all.hpp>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

task<int> sum_of(ipc::getter<int> in) {
    int sum = 0;
    while (auto item = co_await in.get()) {
        sum += *item;
        in.task_done();
    }
    co_return sum;
}
task<> put_all(ipc::putter<int> out, int first, int count) {
    for (int i = 0; i < count; ++i) co_await out.put(first + i);
}
/// Says when it is there, gets an item, says so, and never ends.
task<> get_and_keep(ipc::getter<int> in, unique_fd say) {
    tell(say);
    co_await in.get();
    tell(say);
    co_await sleep_for(1h);
}
task<> keep(ipc::putter<int> out, unique_fd say) {
    tell(say);
    co_await sleep_for(1h);
    out.close();
}
/// What an operation of another process has come to.
task<std::string> name_of_end(task<std::error_code> operation) {
    const std::error_code code = co_await std::move(operation);
    if (!code) co_return "done";
    if (code == errc::closed) co_return "closed";
    if (code == std::errc::broken_pipe) co_return "broken_pipe";
    co_return code.message();
}
task<std::string> try_to_put(ipc::putter<int> out, unique_fd say) {
    tell(say);
    auto code = error_of([&] { return out.put(borrowed<1>); });
    auto name = co_await name_of_end(std::move(code));
    co_return name;
}
task<std::string> try_to_join(ipc::putter<int> out, unique_fd say) {
    tell(say);
    auto code = error_of([&] { return out.join(); });
    auto name = co_await name_of_end(std::move(code));
    co_return name;
}
task<std::string> try_to_get(ipc::getter<int> in, unique_fd say) {
    tell(say);
    auto got = co_await in.get();
    co_return got ? "an item" : "the end";
}

}  // namespace

TEST_CASE("processes put and get, each item once") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.max_items = 8});
        std::vector<ipc::process<>> putters;
        std::vector<ipc::process<int>> getters;
        for (int i = 0; i < 3; ++i) {
            putters.push_back(ipc::spawn(put_all, q.putter.share(), i * 1000, 1000));
            getters.push_back(ipc::spawn(sum_of, q.getter.share()));
        }
        for (const auto& each : putters) co_await each.join();
        co_await q.putter.join();
        CHECK(q.putter.empty());
        q.putter.close();
        int sum = 0;
        for (const auto& each : getters) {
            const int part = co_await each.join();
            sum += part;
        }
        CHECK(sum == 3000 * 2999 / 2);
    });
}

TEST_CASE("the items of one who puts come in order to one who gets") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.max_items = 4});
        auto child = ipc::spawn(put_all, std::move(q.putter), 0, 500);
        int next = 0;
        while (auto item = co_await q.getter.get()) {
            CHECK(*item == next);
            ++next;
        }
        CHECK(next == 500);
        co_await child.join();
    });
}

TEST_CASE("the end comes when the last who could put is closed") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        auto other = q.putter.share();
        bool ended = false;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                auto got = co_await q.getter.get();
                ended = !got;
            });
            co_await turns();
            q.putter.close();
            co_await turns();
            CHECK(!ended);
            other.close();
        });
        CHECK(ended);
        auto again = co_await q.getter.get();
        CHECK(!again);
    });
}

TEST_CASE("what was put before the end comes before the end") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        co_await q.putter.put(1);
        {
            auto dropped = std::move(q.putter);
        }
        auto got = co_await q.getter.get();
        CHECK(got == 1);
        auto end = co_await q.getter.get();
        CHECK(!end);
    });
}

TEST_CASE("the end comes when the last who could put is killed") {
    both_ways([]() -> task<> {
        for (const bool waits_before : {true, false}) {
            auto q = ipc::queue<int>();
            signal_pipe up;
            auto putter = ipc::spawn(keep, std::move(q.putter), std::move(up.say));
            bool there = co_await told(up.hear);
            CHECK(there);
            bool ended = false;
            co_await open_nursery([&](nursery& n) -> task<> {
                if (!waits_before) putter.kill();
                n.start([&]() -> task<> {
                    auto got = co_await q.getter.get();
                    ended = !got;
                });
                co_await turns();
                putter.kill();
            });
            CHECK(ended);
            co_await putter.wait();
        }
    });
}

TEST_CASE("a putter in flight inside a message counts, until the message is dropped") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        auto carrier = ipc::pipe<ipc::putter<int>>(ipc::simplex);
        co_await carrier.sender.send(std::move(q.putter));
        auto none = co_await with_timeout(q.getter.get(), 2ms);
        CHECK(!none);
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                auto got = co_await q.getter.get();
                CHECK(!got);
            });
            co_await turns();
            carrier.receiver.close();
            carrier.sender.close();
        });
    });
}

TEST_CASE("ends of a queue travel through pipes, with a queue between them") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<std::string>();
        auto outs = ipc::pipe<ipc::putter<std::string>>(ipc::simplex);
        auto ins = ipc::pipe<ipc::getter<std::string>>(ipc::simplex);
        co_await outs.sender.send(q.putter.share());
        co_await ins.sender.send(std::move(q.getter));
        auto child = ipc::spawn(
            [](ipc::receiver<ipc::putter<std::string>> from) -> task<> {
                auto out = co_await from.recv();
                const std::string text = "from far away";
                co_await out->put(text);
            },
            std::move(outs.receiver));
        auto in = co_await ins.receiver.recv();
        auto text = co_await in->get();
        CHECK(text == "from far away");
        q.putter.close();
        co_await child.join();
        auto end = co_await in->get();
        CHECK(!end);
    });
}

TEST_CASE("a queue comes back from a child, which has ended") {
    both_ways([]() -> task<> {
        auto child = ipc::spawn([]() -> task<ipc::getter<int>> {
            auto q = ipc::queue<int>();
            co_await q.putter.put(1);
            co_await q.putter.put(2);
            co_return std::move(q.getter);
        });
        auto in = co_await child.join();
        auto first = co_await in.get();
        auto second = co_await in.get();
        CHECK(first == 1);
        CHECK(second == 2);
        auto end = co_await in.get();
        CHECK(!end);
    });
}

TEST_CASE("an end of a queue of another type is refused, and says so") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        ipc::encoder out;
        ipc::encode(out, q.getter);
        const auto arrive = [&](auto into) {
            std::vector<unique_fd> copies;
            for (const int number : out.handles()) copies.emplace_back(::dup(number));
            return ipc::decode<decltype(into)>(out.bytes(), copies);
        };
        CHECK(code_of([&] { arrive(ipc::getter<long>()); }) == errc::protocol);
        CHECK(code_of([&] { arrive(ipc::putter<int>()); }) == errc::protocol);
        CHECK(code_of([&] { arrive(ipc::getter<int>()); }) == std::error_code());
        auto none = arrive(ipc::getter<int>());
        CHECK(none.empty());
        co_return;
    });
}

TEST_CASE("put throws when nobody is left to get: closed, or killed") {
    both_ways([]() -> task<> {
        auto closed = ipc::queue<int>({.max_items = 1});
        closed.getter.close();
        auto code = co_await error_of([&] { return closed.putter.put(borrowed<1>); });
        CHECK(code == std::errc::broken_pipe);
        CHECK(code_of([&] { (void)closed.putter.try_put(1); }) == std::errc::broken_pipe);

        for (const bool full : {false, true}) {
            auto q = ipc::queue<int>({.max_items = 1});
            signal_pipe up;
            auto getter = ipc::spawn(get_and_keep, std::move(q.getter), std::move(up.say));
            bool there = co_await told(up.hear);
            CHECK(there);
            if (full) {
                co_await q.putter.put(1);
                co_await told(up.hear);
                co_await q.putter.put(2);
            }
            co_await open_nursery([&](nursery& n) -> task<> {
                if (full)
                    n.start([&]() -> task<> {
                        auto how = co_await error_of([&] { return q.putter.put(borrowed<3>); });
                        CHECK(how == std::errc::broken_pipe);
                    });
                co_await turns();
                getter.kill();
            });
            co_await getter.wait();
            if (full) {
                CHECK(code_of([&] { (void)q.putter.try_put(1); }) == std::errc::broken_pipe);
                code = co_await error_of([&] { return q.putter.join(); });
                CHECK(code == std::errc::broken_pipe);
            }
        }
    });
}

TEST_CASE("try_put learns of the death of all getters when the queue is full, without a loop") {
    auto q = ipc::queue<int>({.max_items = 2});
    std::optional<ipc::process<>> child;
    signal_pipe up;
    child = ipc::spawn(get_and_keep, std::move(q.getter), std::move(up.say));
    CHECK(q.putter.try_put(1));
    child->kill();
    run([&]() -> task<> { co_await child->wait(); });
    std::error_code code;
    // The kernel may still be at taking the dead one's ring apart.
    for (const auto until = std::chrono::steady_clock::now() + 10s;
         !code && std::chrono::steady_clock::now() < until; ::sched_yield())
        code = code_of([&] { (void)q.putter.try_put(2); });
    CHECK(code == std::errc::broken_pipe);
}

TEST_CASE("join ends when the only one who gets is killed: what it had counts as done") {
    both_ways([]() -> task<> {
        for (const bool rest : {false, true}) {
            auto q = ipc::queue<int>();
            signal_pipe up;
            auto getter = ipc::spawn(get_and_keep, std::move(q.getter), std::move(up.say));
            co_await q.putter.put(1);
            if (rest) co_await q.putter.put(2);
            co_await told(up.hear);
            co_await told(up.hear);
            std::error_code code;
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start(
                    [&]() -> task<> { code = co_await error_of([&] { return q.putter.join(); }); });
                co_await turns();
                getter.kill();
            });
            CHECK((rest ? code == std::errc::broken_pipe : !code));
            co_await getter.wait();
        }
    });
}

TEST_CASE("a loop that never sleeps learns that those who got have been killed") {
    both_ways([] {
        return never_asleep([]() -> task<> {
            for (const bool lease : {false, true}) {
                auto q = ipc::queue<int>({.lease = lease});
                signal_pipe up;
                auto getter = ipc::spawn(get_and_keep, q.getter.share(), std::move(up.say));
                co_await q.putter.put(1);
                co_await told(up.hear);
                co_await told(up.hear);
                std::optional<int> again;
                co_await open_nursery([&](nursery& n) -> task<> {
                    n.start([&]() -> task<> {
                        if (lease) again = co_await q.getter.get();
                        if (lease) q.getter.task_done();
                    });
                    n.start([&]() -> task<> { co_await q.putter.join(); });
                    co_await turns();
                    getter.kill();
                });
                CHECK((!lease || again == 1));
                co_await getter.wait();
            }
        }());
    });
}

TEST_CASE("a dead process's unfinished items do not block join") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        std::vector<ipc::process<>> all;
        for (int i = 0; i < 3; ++i) {
            signal_pipe up;
            all.push_back(ipc::spawn(get_and_keep, q.getter.share(), std::move(up.say)));
            co_await q.putter.put(i);
            co_await told(up.hear);
            bool got = co_await told(up.hear);
            CHECK(got);
        }
        // One has died before anybody joins, one while somebody does, in another process as well.
        all[0].kill();
        co_await all[0].wait();
        signal_pipe up;
        auto other = ipc::spawn(try_to_join, q.putter.share(), std::move(up.say));
        co_await told(up.hear);
        co_await until_asleep(other.pid());
        bool joined = co_await with_timeout(q.getter.join(), 2ms);
        CHECK(!joined);
        all[1].kill();
        joined = co_await with_timeout(q.putter.join(), 2ms);
        CHECK(!joined);
        all[2].terminate();
        co_await q.getter.join();
        const std::string how = co_await other.join();
        CHECK(how == "done");
        for (auto& each : all) co_await each.wait();
    });
}

TEST_CASE("a getter that is closed has finished what it had") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        co_await q.putter.put(1);
        auto child = ipc::spawn(
            [](ipc::getter<int> in) -> task<> {
                co_await in.get();
                in.close();
            },
            q.getter.share());
        co_await child.join();
        co_await q.putter.join();
    });
}

TEST_CASE("shutdown tells all who wait, in all processes") {
    both_ways([]() -> task<> {
        for (const auto how : {ipc::drain, ipc::immediate}) {
            auto full = ipc::queue<int>({.max_items = 2});
            auto empty = ipc::queue<int>();
            co_await full.putter.put(1);
            co_await full.putter.put(2);
            std::vector<ipc::process<std::string>> putters, getters, joiners;
            const auto start = [&](auto& all, auto fn, auto handle) -> task<> {
                signal_pipe up;
                all.push_back(ipc::spawn(fn, std::move(handle), std::move(up.say)));
                co_await told(up.hear);
                co_await until_asleep(all.back().pid());
            };
            for (int i = 0; i < 2; ++i) {
                co_await start(putters, try_to_put, full.putter.share());
                co_await start(getters, try_to_get, empty.getter.share());
                co_await start(joiners, try_to_join, full.putter.share());
            }
            auto by_child = ipc::spawn(
                [](ipc::getter<int> one, ipc::putter<int> other, bool immediate) {
                    one.shutdown(immediate ? ipc::immediate : ipc::drain);
                    other.shutdown(immediate ? ipc::immediate : ipc::drain);
                },
                full.getter.share(), empty.putter.share(), how == ipc::immediate);
            co_await by_child.join();
            for (const auto& each : putters) {
                const auto end = co_await each.join();
                CHECK(end == "closed");
            }
            for (const auto& each : getters) {
                const auto end = co_await each.join();
                CHECK(end == "the end");
            }
            if (how == ipc::drain) {
                for (int i = 0; i < 2; ++i) {
                    auto rest = co_await full.getter.get();
                    CHECK(rest == i + 1);
                    full.getter.task_done();
                }
            }
            auto end = co_await full.getter.get();
            CHECK(!end);
            for (const auto& each : joiners) {
                const auto joined = co_await each.join();
                CHECK(joined == "done");
            }
        }
    });
}

TEST_CASE("a getter that is killed while it waits takes no wake-up with it") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>();
        std::vector<ipc::process<std::string>> all;
        for (int i = 0; i < 3; ++i) {
            signal_pipe up;
            all.push_back(ipc::spawn(try_to_get, q.getter.share(), std::move(up.say)));
            co_await told(up.hear);
            co_await until_asleep(all.back().pid());
        }
        all[0].kill();
        co_await q.putter.put(1);
        all[1].kill();
        co_await q.putter.put(2);
        co_await q.putter.put(3);
        const auto got = co_await all[2].join();
        CHECK(got == "an item");
        for (int i = 0; i < 2; ++i) co_await all[static_cast<std::size_t>(i)].wait();
        q.putter.close();
        while (auto rest = co_await q.getter.get()) {
        }
    });
}

TEST_CASE("a process in the middle of nothing can be stopped and the others go on") {
    both_ways([]() -> task<> {
        auto q = ipc::queue<int>({.max_items = 4});
        signal_pipe up;
        auto child = ipc::spawn(get_and_keep, q.getter.share(), std::move(up.say));
        co_await told(up.hear);
        co_await until_asleep(child.pid());
        ::kill(child.pid(), SIGSTOP);
        for (int i = 0; i < 100; ++i) {
            co_await q.putter.put(i);
            auto got = co_await q.getter.get();
            CHECK(got == i);
        }
        ::kill(child.pid(), SIGCONT);
        child.kill();
        co_await child.wait();
    });
}

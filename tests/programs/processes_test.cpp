// SPDX-License-Identifier: MIT
// Programs as users write them: messages and processes.
#include <csignal>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include <runnel/ipc.hpp>

#include "programs/expect.hpp"
#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

struct point {
    int x = 0;
    int y = 0;
    bool operator==(const point&) const = default;
};
struct order {
    std::string item;
    std::vector<int> amounts;
    std::optional<point> where;
};
struct question {
    std::string text;
    ipc::sender<std::string> answer;
};
using shape = std::variant<int, std::string, point>;

int square(int n) { return n * n; }
std::string greet(const std::string& name) { return "hello " + name; }
task<int> slow_square(int n) {
    co_await sleep_for(1ms);
    co_return n* n;
}
void fail_on_purpose() { throw std::invalid_argument("no such thing"); }
task<> never_ends() {
    event never;
    co_await never.wait();
}
task<> double_all(ipc::receiver<int> in, ipc::sender<int> out) {
    while (auto n = co_await in.recv()) co_await out.send(*n * 2);
}
task<> answer_questions(ipc::receiver<question> in) {
    while (auto q = co_await in.recv()) co_await q->answer.send("about " + q->text);
}
task<> count_up(ipc::mutex lock, int times, ipc::connection<int> counter) {
    for (int i = 0; i < times; ++i) {
        auto held = co_await lock.lock();
        auto value = co_await counter.recv();
        co_await counter.send(*value + 1);
    }
}
task<> die_with(ipc::mutex lock, ipc::sender<int> ready) {
    auto held = co_await lock.lock();
    co_await ready.send(1);
    co_await never_ends();
}

}  // namespace

TEST_CASE("send numbers and add them up") {
    run([]() -> task<> {
        auto ends = ipc::pipe<int>(ipc::simplex);
        auto write = [](ipc::sender<int> out) -> task<> {
            for (int i = 1; i <= 10; ++i) co_await out.send(i);
        };
        int sum = 0;
        auto read = [&](ipc::receiver<int> in) -> task<> {
            while (auto n = co_await in.recv()) sum += *n;
        };
        co_await when_all(write(std::move(ends.sender)), read(std::move(ends.receiver)));
        CHECK(sum == 55);
    });
}

TEST_CASE("send a struct with a string, a vector and an optional") {
    run([]() -> task<> {
        auto [here, there] = ipc::pipe<order>();
        order one;
        one.item = "pump";
        one.amounts = {1, 2, 3};
        one.where = point{4, 5};
        co_await here.send(one);
        auto got = co_await there.recv();
        CHECK(got->item == "pump");
        CHECK(got->amounts == std::vector<int>{1, 2, 3});
        CHECK(got->where == point{4, 5});
    });
}

TEST_CASE("send variants and maps") {
    run([]() -> task<> {
        auto shapes = ipc::pipe<shape>();
        shape text = std::string("circle");
        co_await shapes.first.send(text);
        auto got = co_await shapes.second.recv();
        CHECK(std::get<std::string>(*got) == "circle");

        auto maps = ipc::pipe<std::map<std::string, int>>();
        std::map<std::string, int> ages{{"ann", 40}, {"bob", 50}};
        co_await maps.first.send(ages);
        auto back = co_await maps.second.recv();
        CHECK(*back == ages);
    });
}

TEST_CASE("receive with a timeout, and again") {
    run([]() -> task<> {
        auto ends = ipc::pipe<int>(ipc::simplex);
        auto nothing = co_await with_timeout(ends.receiver.recv(), 1ms);
        CHECK(!nothing);
        co_await ends.sender.send(7);
        auto something = co_await with_timeout(ends.receiver.recv(), 5s);
        CHECK(**something == 7);
    });
}

TEST_CASE("poll a connection in a loop without a variable of its own") {
    int polls = 0;
    run([&]() -> task<> {
        auto ends = ipc::pipe<int>();
        co_await ends.first.send(1);
        auto drain = [&](ipc::connection<int>& from) -> task<> {
            while (co_await from.poll(1ms)) {
                ++polls;
                co_await from.recv();
            }
        };
        co_await drain(ends.second);
    });
    CHECK(polls == 1);
}

TEST_CASE("the answer comes on a channel that was in the question") {
    run([]() -> task<> {
        auto questions = ipc::pipe<question>(ipc::simplex);
        auto expert = ipc::spawn(answer_questions, std::move(questions.receiver));
        auto answers = ipc::pipe<std::string>(ipc::simplex);
        question mine{"rain", std::move(answers.sender)};
        co_await questions.sender.send(mine);
        auto answer = co_await answers.receiver.recv();
        CHECK(*answer == "about rain");
        questions.sender.close();
        co_await expert.join();
    });
}

TEST_CASE("compute in another process") {
    run([]() -> task<> {
        auto child = ipc::spawn(square, 12);
        int result = co_await child.join();
        CHECK(result == 144);
        auto polite = ipc::spawn(greet, "world");
        auto text = co_await polite.join();
        CHECK(text == "hello world");
        auto lambda =
            ipc::spawn([](std::vector<int> v) { return std::accumulate(v.begin(), v.end(), 0); },
                       std::vector<int>(10, 3));
        int sum = co_await lambda.join();
        CHECK(sum == 30);
    });
}

TEST_CASE("many processes at once") {
    run([]() -> task<> {
        std::vector<ipc::process<int>> all;
        for (int i = 0; i < 5; ++i) all.push_back(ipc::spawn(slow_square, i));
        int sum = 0;
        for (auto& each : all) sum += co_await each.join();
        CHECK(sum == 0 + 1 + 4 + 9 + 16);
    });
}

TEST_CASE("an exception of a child comes out of join") {
    run([]() -> task<> {
        auto child = ipc::spawn(fail_on_purpose);
        std::string what;
        std::string type;
        try {
            co_await child.join();
        } catch (const ipc::child_failed& e) {
            what = e.what();
            type = e.type_name();
        }
        CHECK(what.find("no such thing") != std::string::npos);
        CHECK(type == "std::invalid_argument");
    });
}

TEST_CASE("wait for a child no longer than this, then kill it") {
    run([]() -> task<> {
        auto child = ipc::spawn(never_ends);
        auto ended = co_await with_timeout(child.wait(), 5ms);
        CHECK(!ended);
        child.kill();
        auto status = co_await child.wait();
        CHECK(status.signal() == SIGKILL);
    });
}

TEST_CASE("ask a child to stop") {
    run([]() -> task<> {
        auto child = ipc::spawn(never_ends);
        child.stop();
        auto status = co_await child.wait();
        CHECK(status.code() == 0);
    });
}

TEST_CASE("drop a child that runs, and go home") {
    run([]() -> task<> {
        auto child = ipc::spawn(never_ends);
        co_return;
    });
    CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
}

TEST_CASE("three workers share a queue of jobs") {
    run([]() -> task<> {
        auto jobs = ipc::pipe<int>(ipc::simplex);
        auto results = ipc::pipe<int>(ipc::simplex);
        std::vector<ipc::process<void>> workers;
        for (int i = 0; i < 3; ++i)
            workers.push_back(
                ipc::spawn(double_all, jobs.receiver.share(), results.sender.share()));
        jobs.receiver.close();
        results.sender.close();
        auto feed = [](ipc::sender<int> out) -> task<> {
            for (int i = 0; i < 30; ++i) co_await out.send(i);
        };
        int sum = 0;
        auto collect = [&]() -> task<> {
            while (auto r = co_await results.receiver.recv()) sum += *r;
        };
        co_await when_all(feed(std::move(jobs.sender)), collect());
        for (auto& w : workers) co_await w.join();
        CHECK(sum == 2 * (29 * 30 / 2));
    });
}

TEST_CASE("a lock keeps read and write together") {
    run([]() -> task<> {
        ipc::mutex lock;
        auto counter = ipc::pipe<int>();
        auto a = ipc::spawn(count_up, lock.share(), 20, counter.second.share());
        auto b = ipc::spawn(count_up, lock.share(), 20, counter.second.share());
        int value = 0;
        for (int i = 0; i < 40; ++i) {
            co_await counter.first.send(value);
            auto next = co_await counter.first.recv();
            CHECK(*next == value + 1);
            value = *next;
        }
        co_await when_all(a.join(), b.join());
        CHECK(value == 40);
    });
}

TEST_CASE("the owner of a lock is killed, and the next one hears of it") {
    run([]() -> task<> {
        ipc::mutex lock;
        auto ready = ipc::pipe<int>(ipc::simplex);
        auto owner = ipc::spawn(die_with, lock.share(), std::move(ready.sender));
        co_await ready.receiver.recv();
        owner.kill();
        auto held = co_await with_timeout(lock.lock(), 10s);
        const bool told = held && held->owner_died();
        CHECK(told);
        co_await owner.wait();
    });
}

TEST_CASE("whichever comes first, a message, the end of a child, or a second") {
    run([]() -> task<> {
        auto ends = ipc::pipe<int>(ipc::simplex);
        auto child = ipc::spawn(square, 3);
        auto got = co_await race(ends.receiver.recv(), child.join(), sleep_for(10s));
        CHECK(!std::get<0>(got));
        const bool came = bool(std::get<1>(got));
        CHECK(came);
        if (auto& n = std::get<1>(got)) CHECK(*n == 9);
    });
}

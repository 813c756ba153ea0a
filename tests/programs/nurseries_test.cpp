// SPDX-License-Identifier: MIT
// Programs as users write them: nurseries and the callables that are started in them.
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <runnel/runnel.hpp>

#include "programs/expect.hpp"
#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

task<> add(int& total, int n) {
    co_await yield();
    total += n;
}
task<> append(std::vector<std::string>& to, std::string s) {
    co_await yield();
    to.push_back(std::move(s));
}
task<> fail_after(std::chrono::milliseconds t, const char* why) {
    co_await sleep_for(t);
    throw std::runtime_error(why);
}
struct long_name {
    std::string text = std::string(50, 'l');
};

}  // namespace

TEST_CASE("start functions with arguments and references") {
    int total = 0;
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 1; i <= 10; ++i) n.start(add, std::ref(total), i);
            n.start(add(total, 100));
            co_return;
        });
    });
    CHECK(total == 155);
}

TEST_CASE("start lambdas that capture strings by value") {
    std::vector<std::string> got;
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            for (std::string s : {std::string(40, 'a'), std::string(40, 'b')})
                n.start([s, &got]() -> task<> {
                    co_await yield();
                    got.push_back(s);
                });
            co_return;
        });
    });
    REQUIRE(got.size() == 2);
    CHECK(got[1] == std::string(40, 'b'));
}

TEST_CASE("start a lambda that owns something move-only") {
    int seen = 0;
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            auto p = std::make_unique<int>(5);
            n.start([p = std::move(p), &seen]() -> task<> {
                co_await sleep_for(1ms);
                seen = *p;
            });
            auto q = std::make_unique<int>(6);
            n.start(
                [&seen](std::unique_ptr<int> by_value) -> task<> {
                    co_await sleep_for(2ms);
                    seen += *by_value;
                },
                std::move(q));
            co_return;
        });
    });
    CHECK(seen == 11);
}

TEST_CASE("start with temporaries and aggregates as arguments") {
    std::size_t size = 0;
    auto use = [&size](long_name a, const std::string& b, std::vector<int> c) -> task<> {
        co_await yield();
        size = a.text.size() + b.size() + c.size();
    };
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(use, long_name{}, std::string(30, 'b'), std::vector<int>{1, 2, 3});
            n.start(append, std::ref(*std::make_unique<std::vector<std::string>>()), "literal");
            n.cancel();
            co_return;
        });
        CHECK(size == 0);
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(use, long_name{.text = std::string(60, 'x')}, std::string(30, 'b'),
                    std::vector<int>{1, 2, 3});
            co_await n.join();
        });
    });
    CHECK(size == 93);
}

TEST_CASE("start member functions") {
    struct counter {
        int n = 0;
        task<> bump(int by) {
            co_await yield();
            n += by;
        }
    } c;
    auto shared = std::make_shared<counter>();
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(&counter::bump, &c, 2);
            n.start(&counter::bump, shared, 3);
            n.start(&counter::bump, std::ref(c), 4);
            co_return;
        });
    });
    CHECK(c.n == 6);
    CHECK(shared->n == 3);
}

TEST_CASE("start std::function, bind and function objects") {
    int total = 0;
    struct adder {
        int& total;
        task<> operator()(int n) const { co_await add(total, n); }
    };
    std::function<task<>(int)> f = [&](int n) { return add(total, n); };
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(f, 1);
            n.start(adder{total}, 2);
            auto bound = std::bind_front(add, std::ref(total), 3);
            n.start(bound);
            n.start(std::move(bound));
            co_return;
        });
    });
    CHECK(total == 9);
}

TEST_CASE("nurseries inside nurseries") {
    int total = 0;
    std::function<task<>(int)> branch = [&](int levels) -> task<> {
        if (levels == 0) {
            ++total;
            co_return;
        }
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(branch, levels - 1);
            n.start(branch, levels - 1);
            co_return;
        });
    };
    run([&]() -> task<> { co_await branch(5); });
    CHECK(total == 32);
}

TEST_CASE("an exception crosses two nurseries and cancels all") {
    auto token = std::make_shared<int>(0);
    auto wait = [](std::shared_ptr<int>) -> task<> { co_await sleep_for(1h); };
    std::string why;
    run([&]() -> task<> {
        try {
            co_await open_nursery([&](nursery& outer) -> task<> {
                outer.start(wait, token);
                co_await open_nursery([&](nursery& inner) -> task<> {
                    inner.start(wait, token);
                    inner.start(fail_after, 1ms, "inner");
                    co_await sleep_for(1h);
                });
            });
        } catch (const std::runtime_error& e) {
            why = e.what();
        }
    });
    CHECK(why == "inner");
    CHECK(token.use_count() == 1);
}

TEST_CASE("a child that fails is confined") {
    std::vector<std::string> log;
    bool done = false;
    run([&]() -> task<> {
        auto note = [&](std::exception_ptr e) {
            try {
                std::rethrow_exception(e);
            } catch (const std::exception& x) {
                log.push_back(x.what());
            }
        };
        co_await open_nursery(isolate(note), [&](nursery& n) -> task<> {
            n.start(fail_after, 0ms, "one");
            n.start(fail_after, 1ms, "two");
            n.start([&]() -> task<> {
                co_await sleep_for(2ms);
                done = true;
            });
            co_return;
        });
    });
    CHECK(log == std::vector<std::string>{"one", "two"});
    CHECK(done);
}

TEST_CASE("isolate with a named handler that owns a string") {
    int failures = 0;
    std::string prefix(40, 'p');
    run([&]() -> task<> {
        auto on_error = [prefix, &failures](std::exception_ptr) {
            failures += prefix.size() == 40;
        };
        auto isolated = isolate(on_error);
        auto body = [prefix](nursery& n) -> task<> {
            n.start(fail_after, 0ms, prefix.c_str());
            co_await n.join();
        };
        co_await open_nursery(isolated, body);
        co_await open_nursery(std::move(isolated), body);
    });
    CHECK(failures == 2);
}

TEST_CASE("hand the nursery to functions that start more") {
    int total = 0;
    struct server {
        nursery& children;
        int& total;
        void accept(int n) {
            if (n == 0) return;
            children.start([this, n]() -> task<> {
                total += n;
                accept(n - 1);
                co_return;
            });
        }
    };
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            server s{n, total};
            s.accept(4);
            co_await n.join();
        });
    });
    CHECK(total == 10);
}

TEST_CASE("a pool of workers that takes from one queue") {
    std::vector<int> jobs(20, 1);
    int done = 0;
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int w = 0; w < 4; ++w)
                n.start([&]() -> task<> {
                    while (!jobs.empty()) {
                        int job = jobs.back();
                        jobs.pop_back();
                        co_await sleep_for(std::chrono::microseconds(job));
                        done += job;
                    }
                });
            co_return;
        });
    });
    CHECK(done == 20);
}

TEST_CASE("a deadline and a grace period for all children") {
    bool calm = true, in_time = true;
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([]() -> task<> { co_await sleep_for(1h); });
            calm = co_await n.join_or_cancel_after(1ms);
        });
        co_await open_nursery([&](nursery& n) -> task<> {
            n.deadline(1ms);
            n.start([]() -> task<> { co_await sleep_for(1h); });
            if (co_await with_timeout(n.join(), 1h)) in_time = false;
        });
    });
    CHECK_FALSE(calm);
    CHECK(in_time);
}

TEST_CASE("collect results of children in a map") {
    std::map<std::string, std::size_t> lengths;
    auto measure = [&](std::string s) -> task<> {
        co_await yield();
        lengths[s] = s.size();
    };
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            for (const char* s : {"a", "bb", "ccc"}) n.start(measure, s);
            co_return;
        });
    });
    CHECK(lengths.size() == 3);
    CHECK(lengths["ccc"] == 3);
}

TEST_CASE("run a callable that owns what it captures") {
    std::string s(40, 's');
    auto p = std::make_unique<int>(2);
    const std::size_t n = run([s, p = std::move(p)]() -> task<std::size_t> {
        co_await sleep_for(1ms);
        co_return s.size() + std::size_t(*p);
    });
    CHECK(n == 42);
    auto shared = std::make_shared<int>(1);
    std::function<task<int>()> f = [shared]() -> task<int> {
        co_await yield();
        co_return *shared;
    };
    CHECK(run(f) == 1);
    CHECK(shared.use_count() == 2);
}

TEST_CASE("a started lambda calls a lambda with captures by name") {
    std::string text(45, 't');
    std::size_t got = 0;
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([text, &got]() -> task<> {
                auto measure = [text]() -> task<std::size_t> {
                    co_await yield();
                    co_return text.size();
                };
                got = co_await measure();
                got += co_await with_timeout(measure(), 1s) ? 1 : 0;
            });
            co_return;
        });
    });
    CHECK(got == 46);
}

// SPDX-License-Identifier: MIT
#include <memory>
#include <stdexcept>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/witness.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {
task<> waits(std::string& log, char name) {
    const witness w(log, name);
    co_await sleep_for(1h);
    log += '!';
}
task<> throws_after(std::chrono::milliseconds d, const char* text) {
    co_await sleep_for(d);
    throw std::runtime_error(text);
}
task<> fails_in_cleanup(const char* text) {
    auto cleanup = [](const char* t) -> task<> {
        co_await yield();
        throw std::runtime_error(t);
    };
    co_await finally(sleep_for(1h), cleanup(text));
}
}  // namespace

TEST_CASE("a nursery ends when its last child has ended") {
    run(
        []() -> task<> {
            const auto begun = loop::current()->now();
            int ended = 0;
            co_await open_nursery([&](nursery& n) -> task<> {
                for (int i = 1; i <= 10; ++i)
                    n.start(
                        [](int hours, int& count) -> task<> {
                            co_await sleep_for(std::chrono::hours(hours));
                            ++count;
                        },
                        i, std::ref(ended));
                CHECK(n.size() == 10);
                co_return;
            });
            CHECK(ended == 10);
            CHECK(loop::current()->now() - begun == 10h);
        },
        virtual_time);
}

TEST_CASE("the first error cancels the body and all children and is thrown, later ones are kept") {
    std::string log, first;
    std::size_t others = 0;
    run(
        [&]() -> task<> {
            try {
                co_await open_nursery([&](nursery& n) -> task<> {
                    n.start(waits, std::ref(log), 'a');
                    n.start(fails_in_cleanup, "second");
                    n.start(throws_after, 1ms, "first");
                    const witness body(log, 'b');
                    co_await sleep_for(1h);
                    log += '!';
                });
            } catch (const std::runtime_error& e) {
                first = e.what();
                others = suppressed_errors().size();
            }
        },
        virtual_time);
    CHECK(first == "first");
    CHECK(others == 1);
    CHECK((log == "ab" || log == "ba"));
}

TEST_CASE("an error of the body cancels the children") {
    std::string log;
    CHECK_THROWS_AS(run(
                        [&]() -> task<> {
                            co_await open_nursery([&](nursery& n) -> task<> {
                                n.start(waits, std::ref(log), 'a');
                                co_await yield();
                                throw std::runtime_error("body");
                            });
                        },
                        virtual_time),
                    std::runtime_error);
    CHECK(log == "a");
}

TEST_CASE("a body that throws before it is a task does not lose the children it started") {
    std::string log;
    bool thrown = false;
    run(
        [&]() -> task<> {
            auto body = [&](nursery& n) -> task<> {
                n.start(waits, std::ref(log), 'a');
                throw std::runtime_error("early");
            };
            auto plain = [&](nursery& n) { return body(n); };
            try {
                co_await open_nursery(plain);
            } catch (const std::runtime_error&) {
                thrown = true;
            }
        },
        virtual_time);
    CHECK(thrown);
}

TEST_CASE("n.cancel() from the body ends the nursery without an error") {
    std::string log;
    run(
        [&]() -> task<> {
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start(waits, std::ref(log), 'a');
                co_await yield();
                n.cancel();
                CHECK(n.cancelled());
                co_await yield();
                log += "never";
            });
            log += '.';
        },
        virtual_time);
    CHECK(log == "a.");
}

TEST_CASE("n.cancel() from a child ends its siblings and itself") {
    std::string log;
    run(
        [&]() -> task<> {
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start(waits, std::ref(log), 'a');
                n.start(
                    [](nursery& own, std::string& l) -> task<> {
                        const witness w(l, 'c');
                        co_await yield();
                        own.cancel();
                        co_await sleep_for(1h);
                        l += "never";
                    },
                    std::ref(n), std::ref(log));
                co_await sleep_for(1h);
                log += "never";
            });
        },
        virtual_time);
    CHECK(log.size() == 2);
}

TEST_CASE("a child that is started after the cancellation never begins") {
    std::string log;
    run(
        [&]() -> task<> {
            co_await open_nursery([&](nursery& n) -> task<> {
                n.cancel();
                n.start(waits, std::ref(log), 'a');
                CHECK(n.size() == 1);
                co_return;
            });
        },
        virtual_time);
    CHECK(log.empty());
}

TEST_CASE("a nursery's deadline cancels it, and a new one replaces the old") {
    std::string log;
    run(
        [&]() -> task<> {
            const auto begun = loop::current()->now();
            co_await open_nursery([&](nursery& n) -> task<> {
                n.deadline(1h);
                n.deadline(2h);
                n.start(
                    [](std::string& l) -> task<> {
                        const witness w(l, 'w');
                        co_await sleep_for(90min);
                        l += '+';
                        co_await sleep_for(90min);
                        l += "never";
                    },
                    std::ref(log));
                co_return;
            });
            CHECK(loop::current()->now() - begun == 2h);
        },
        virtual_time);
    CHECK(log == "+w");
}

TEST_CASE("isolate confines the failure of a child to that child") {
    int errors = 0, ended = 0;
    run(
        [&]() -> task<> {
            co_await open_nursery(isolate([&](std::exception_ptr) { ++errors; }),
                                  [&](nursery& n) -> task<> {
                                      n.start(throws_after, 1ms, "one");
                                      n.start(throws_after, 2ms, "two");
                                      n.start(
                                          [](int& count) -> task<> {
                                              co_await sleep_for(1h);
                                              ++count;
                                          },
                                          std::ref(ended));
                                      co_return;
                                  });
        },
        virtual_time);
    CHECK(errors == 2);
    CHECK(ended == 1);
}

TEST_CASE("what on_error throws cancels an isolating nursery") {
    std::string log;
    CHECK_THROWS_AS(run(
                        [&]() -> task<> {
                            co_await open_nursery(
                                isolate([](std::exception_ptr e) { std::rethrow_exception(e); }),
                                [&](nursery& n) -> task<> {
                                    n.start(waits, std::ref(log), 'a');
                                    n.start(throws_after, 1ms, "one");
                                    co_return;
                                });
                        },
                        virtual_time),
                    std::runtime_error);
    CHECK(log == "a");
}

TEST_CASE("join_or_cancel_after waits for the children, and then no longer") {
    std::string log;
    run(
        [&]() -> task<> {
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start([]() -> task<> { co_await sleep_for(1h); });
                const bool in_time = co_await n.join_or_cancel_after(2h);
                CHECK(in_time);
                n.start(
                    [](std::string& l) -> task<> {
                        const witness w(l, 'w');
                        co_await sleep_for(3h);
                        l += "never";
                    },
                    std::ref(log));
                const bool late = co_await n.join_or_cancel_after(2h);
                CHECK(!late);
                CHECK(log == "w");
                CHECK(n.size() == 0);
            });
        },
        virtual_time);
}

TEST_CASE("a cancelled nursery waits for clean-up and ends its waiter there") {
    std::string log;
    auto child = [](std::string& l) -> task<> {
        auto cleanup = [](std::string& to) -> task<> {
            co_await sleep_for(1s);
            to += "clean ";
        };
        co_await finally(sleep_for(1h), cleanup(l));
    };
    run(
        [&]() -> task<> {
            auto work = [&]() -> task<> {
                const witness w(log, 'w');
                co_await open_nursery([&](nursery& n) -> task<> {
                    n.start(child, std::ref(log));
                    co_return;
                });
                log += "never";
            };
            const bool done = co_await with_timeout(work(), 1ms);
            CHECK(!done);
        },
        virtual_time);
    CHECK(log == "clean w");
}

TEST_CASE("a child keeps its callable and arguments until it has ended") {
    auto held = std::make_shared<int>(1);
    run(
        [&]() -> task<> {
            co_await open_nursery([&](nursery& n) -> task<> {
                n.start(
                    [held](std::string text, const std::string& more) -> task<> {
                        co_await sleep_for(1h);
                        CHECK(held.use_count() > 1);
                        CHECK(text + more == std::string(100, 'x') + std::string(100, 'y'));
                    },
                    std::string(100, 'x'), std::string(100, 'y'));
                co_return;
            });
        },
        virtual_time);
    CHECK(held.use_count() == 1);
}

TEST_CASE("ten thousand children in one nursery are cancelled together") {
    std::string log;
    run(
        [&]() -> task<> {
            co_await open_nursery([&](nursery& n) -> task<> {
                for (int i = 0; i < 10'000; ++i) n.start(waits, std::ref(log), '.');
                co_await sleep_for(1ms);
                n.cancel();
            });
        },
        virtual_time);
    CHECK(log == std::string(10'000, '.'));
}

namespace {
task<> keep_view(std::string_view text, std::string& into) {
    co_await yield();
    into = text;
}
}  // namespace

TEST_CASE("what a view among the parameters looks at is kept until the child has ended") {
    const std::string expected = "long enough to be on the heap, and to be missed";
    std::string got;
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(keep_view, std::string(expected), std::ref(got));
            co_return;
        });
    });
    CHECK(got == expected);
}

TEST_CASE("a nursery whose last child has ended takes no more, though it is not awaited yet") {
    std::string refused;
    run([&]() -> task<> {
        event last;
        nursery* ended = nullptr;
        auto late = [&]() -> task<> {
            co_await last.wait();
            try {
                ended->start([]() -> task<> { co_await sleep_for(std::chrono::hours(1)); });
            } catch (const std::invalid_argument& e) {
                refused = e.what();
            }
        };
        auto inner = [&]() -> task<> {
            co_await open_nursery([&](nursery& n) -> task<> {
                ended = &n;
                // The waiter of `last` is ready before the nursery's own.
                n.start([&]() -> task<> {
                    last.set();
                    co_return;
                });
                co_return;
            });
        };
        co_await when_all(late(), inner());
    });
    CHECK(refused == "start on nursery: the nursery has ended");
}

TEST_CASE("a second task that joins the children of a nursery is refused") {
    std::string refused;
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([]() -> task<> {
                co_await yield();
                co_await yield();
                co_await yield();
            });
            auto second = [&]() -> task<> {
                try {
                    co_await n.join();
                } catch (const std::invalid_argument& e) {
                    refused = e.what();
                }
            };
            co_await when_all(n.join(), second());
        });
    });
    CHECK(refused == "join on nursery: another task waits for its children already");
}

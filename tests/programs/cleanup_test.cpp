// SPDX-License-Identifier: MIT
// Programs as users write them: cancellation, and cleaning up after it.
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <runnel/runnel.hpp>

#include "programs/expect.hpp"
#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

struct log_on_exit {
    std::vector<std::string>& log;
    std::string what;
    ~log_on_exit() { log.push_back(what); }
};

}  // namespace

TEST_CASE("guards are released from the inside out") {
    std::vector<std::string> log;
    auto inner = [&]() -> task<> {
        log_on_exit g{log, "inner"};
        co_await sleep_for(1h);
        log.push_back("never");
    };
    auto outer = [&]() -> task<> {
        log_on_exit a{log, "first"};
        log_on_exit b{log, "second"};
        co_await inner();
        log.push_back("never");
    };
    run([&]() -> task<> {
        bool done = co_await with_timeout(outer(), 1ms);
        CHECK_FALSE(done);
    });
    CHECK(log == std::vector<std::string>{"inner", "second", "first"});
}

TEST_CASE("no catch sees a cancellation") {
    bool caught = false, after = false;
    auto stubborn = [&]() -> task<> {
        try {
            co_await sleep_for(1h);
        } catch (...) {
            caught = true;
        }
        after = true;
    };
    run([&]() -> task<> { co_await race(stubborn(), sleep_for(1ms)); });
    CHECK_FALSE(caught);
    CHECK_FALSE(after);
}

TEST_CASE("say goodbye however it ends") {
    std::vector<std::string> log;
    auto talk = [&](int how) -> task<int> {
        co_await yield();
        if (how == 1) throw std::runtime_error("talk");
        if (how == 2) co_await sleep_for(1h);
        co_return how;
    };
    auto goodbye = [&](std::string to) -> task<> {
        co_await sleep_for(1ms);
        log.push_back("bye " + to);
    };
    run([&]() -> task<> {
        expect(co_await finally(talk(0), goodbye("zero, who came first")) == 0);
        bool failed = false;
        try {
            co_await finally(talk(1), goodbye("one"));
        } catch (const std::runtime_error&) {
            failed = true;
        }
        CHECK(failed);
        auto late = co_await with_timeout(finally(talk(2), goodbye("two")), 1ms);
        CHECK_FALSE(late);
    });
    CHECK(log == std::vector<std::string>{"bye zero, who came first", "bye one", "bye two"});
}

TEST_CASE("commit cannot be interrupted") {
    std::string state = "open";
    auto commit = [&](std::string to) -> task<> {
        state = "writing";
        co_await sleep_for(2ms);
        state = to;
    };
    auto work = [&]() -> task<> {
        std::string committed(40, 'c');
        co_await shield(commit(committed));
        co_await sleep_for(1h);
        state = "never";
    };
    run([&]() -> task<> { (void)co_await with_timeout(work(), 1ms); });
    CHECK(state == std::string(40, 'c'));
}

TEST_CASE("a stop token of another thread ends a wait") {
    std::stop_source source;
    run([&]() -> task<> {
        event started;
        std::thread stopper([&, started = &started] {
            while (!started->is_set()) std::this_thread::yield();
            source.request_stop();
        });
        started.set();
        bool finished = co_await cancel_on(source.get_token(), sleep_for(1h));
        stopper.join();
        CHECK_FALSE(finished);
        expect(!co_await cancel_on(source.get_token(), sleep_for(1h)));
        std::jthread t;
        auto n = co_await cancel_on(t.get_stop_token(), []() -> task<int> { co_return 3; }());
        CHECK(*n == 3);
    });
}

TEST_CASE("unwinding releases a lock and gives a permit back") {
    mutex m;
    semaphore s(1);
    auto hold = [&]() -> task<> {
        auto held = co_await m.lock();
        auto slot = co_await s.hold();
        co_await sleep_for(1h);
    };
    run([&]() -> task<> {
        (void)co_await with_timeout(hold(), 1ms);
        CHECK(s.available() == 1);
        auto held = co_await with_timeout(m.lock(), 1s);
        CHECK(held);
    });
}

TEST_CASE("cancel one of several children") {
    std::vector<int> ended;
    run([&]() -> task<> {
        event stop_second;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 3; ++i)
                n.start([&, i]() -> task<> {
                    if (i == 1) {
                        auto got = co_await race(sleep_for(1h), stop_second.wait());
                        if (std::get<1>(got)) ended.push_back(i);
                        co_return;
                    }
                    co_await sleep_for(3ms);
                    ended.push_back(i);
                });
            stop_second.set();
            co_return;
        });
    });
    CHECK(ended.front() == 1);
    CHECK(ended.size() == 3);
}

TEST_CASE("a scope that is cancelled by its own child") {
    int reached = 0;
    run([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                co_await yield();
                n.cancel();
                reached = 1;
                co_await sleep_for(1h);
                reached = 2;
            });
            co_await sleep_for(1h);
            reached = 3;
        });
        CHECK(reached == 1);
    });
}

TEST_CASE("what a timed out receive would have taken is still there") {
    run([]() -> task<> {
        auto [here, there] = make_socket_pair();
        std::array<std::byte, 16> buffer;
        auto late = co_await with_timeout(here.read(buffer), 1ms);
        CHECK_FALSE(late);
        co_await there.write_all("hello");
        auto n = co_await with_timeout(here.read(buffer), 10s);
        CHECK(n.value() == 5);
    });
}

TEST_CASE("temporaries in a cancelled expression are destroyed once") {
    auto shared = std::make_shared<int>(1);
    auto slow = [](std::shared_ptr<int> a, const std::string& b) -> task<int> {
        co_await sleep_for(1h);
        co_return *a + int(b.size());
    };
    auto work = [&]() -> task<int> {
        co_return co_await slow(shared, std::string(40, 'x')) + co_await slow(shared, "y");
    };
    run([&]() -> task<> {
        auto got = co_await with_timeout(work(), 1ms);
        CHECK_FALSE(got);
    });
    CHECK(shared.use_count() == 1);
}

TEST_CASE("an error in a clean-up comes out if there is no other") {
    auto bad = []() -> task<> {
        co_await yield();
        throw std::logic_error("clean-up");
    };
    std::string why;
    run([&]() -> task<> {
        try {
            co_await finally(sleep_for(1ms), bad());
        } catch (const std::logic_error& e) {
            why = e.what();
        }
    });
    CHECK(why == "clean-up");
}

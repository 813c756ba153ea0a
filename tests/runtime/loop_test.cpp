// SPDX-License-Identifier: MIT
#include <runnel/loop.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/death.hpp"
#include "support/environment.hpp"
#include "support/fds.hpp"
#include "support/forked.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

task<> count_to(int n, int& counted) {
    for (int i = 0; i < n; ++i) {
        co_await yield();
        ++counted;
    }
}

task<> wait_for_ever(bool& unwound) {
    struct at_end {
        bool& flag;
        ~at_end() { flag = true; }
    } mark{unwound};
    event never;
    co_await never.wait();
}

/// What the system_error that f throws says.
std::string message_of(const std::function<void()>& f) {
    try {
        f();
    } catch (const std::system_error& error) {
        return error.code() == errc::wrong_thread ? error.what() : "another code";
    }
    return "no error";
}

task<> waits_innermost(event& e) { co_await e.wait(); }
task<> waits_below(event& e) { co_await waits_innermost(e); }
task<> waits_outermost(event& e) { co_await waits_below(e); }

/// Where in `text` the line begins that holds `part`, or npos.
std::size_t line_of(const std::string& text, const std::string& part) {
    const auto at = text.find(part);
    return at == std::string::npos ? at : text.rfind('\n', at) + 1;
}
/// How far that line is indented.
std::size_t indent_of(const std::string& text, const std::string& part) {
    const auto begin = line_of(text, part);
    return text.find_first_not_of(' ', begin) - begin;
}

/// A foreign loop: poll(2) on the loop's descriptor, until done() or ten seconds.
template <class F>
bool host(loop& l, F done) {
    const auto begun = std::chrono::steady_clock::now();
    ::pollfd wakes{l.fd(), POLLIN, 0};
    while (!done()) {
        const int limit = l.timeout_ms();
        ::poll(&wakes, 1, limit < 0 ? 10'000 : limit);
        l.poll();
        if (std::chrono::steady_clock::now() - begun > 10s) return false;
    }
    return true;
}

std::chrono::nanoseconds cpu_time() {
    ::timespec used{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

struct scoped_variable {
    scoped_variable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
    ~scoped_variable() { ::unsetenv(name_); }
    const char* name_;
};

}  // namespace

// --- running ---

TEST_CASE("a loop runs until its tasks have ended") {
    int counted = 0;
    loop l;
    CHECK(l.done());
    l.start(count_to, 10, std::ref(counted));
    l.start(count_to, 5, std::ref(counted));
    CHECK(l.stats().tasks == 2);
    l.run();
    CHECK(counted == 15);
    CHECK(l.done());
}

TEST_CASE("a loop that never ran is destroyed with its tasks") {
    const test::descriptor_count descriptors;
    int counted = 0;
    {
        loop l;
        l.start(count_to, 10, std::ref(counted));
        l.post([&] { ++counted; });
    }
    CHECK(counted == 1);
    CHECK(descriptors.unchanged());
}

TEST_CASE("a loop that is destroyed unwinds its tasks and closes its descriptors") {
    const test::descriptor_count descriptors;
    bool unwound = false;
    {
        loop l;
        l.start(wait_for_ever, std::ref(unwound));
        l.poll();
        CHECK_FALSE(unwound);
    }
    CHECK(unwound);
    CHECK(descriptors.unchanged());
}

TEST_CASE("errors of root tasks go to on_error, or are thrown by run") {
    const auto fails = []() -> task<> {
        co_await yield();
        throw std::runtime_error("on purpose");
    };
    loop l;
    l.start(fails);
    CHECK_THROWS_AS(l.run(), std::runtime_error);
    int errors = 0;
    l.on_error([&](std::exception_ptr) { ++errors; });
    l.start(fails);
    l.start(fails);
    l.run();
    CHECK(errors == 2);
}

TEST_CASE("the current loop is known inside its tasks only") {
    CHECK(loop::current() == nullptr);
    loop l;
    l.start([&]() -> task<> {
        CHECK(loop::current() == &l);
        co_return;
    });
    l.run();
    CHECK(loop::current() == nullptr);
}

TEST_CASE("a million awaits that are done at once do not grow the stack") {
    const auto one = []() -> task<int> { co_return 1; };
    event set;
    set.set();
    const int sum = run([&]() -> task<int> {
        int all = 0;
        for (int i = 0; i < 1'000'000; ++i) {
            const int n = co_await one();
            co_await set.wait();
            all += n;
        }
        co_return all;
    });
    CHECK(sum == 1'000'000);
}

TEST_CASE("ten million awaits that are done at once do not grow the stack") {
    // Under a sanitizer, where each one is an allocation, three million take as long.
    constexpr int awaits = test::sanitized ? 3'000'000 : 10'000'000;
    const auto one = []() -> task<int> { co_return 1; };
    const int sum = run([&]() -> task<int> {
        int all = 0;
        for (int i = 0; i < awaits; ++i) {
            const int n = co_await one();
            all += n;
        }
        co_return all;
    });
    CHECK(sum == awaits);
}

TEST_CASE("a ring of eight entries serves thousands of operations at once") {
    const scoped_variable small("RUNNEL_RING_ENTRIES", "8");
    const int done = run([]() -> task<int> {
        int ended = 0;
        const auto one = [&]() -> task<> {
            co_await io::nop();
            ++ended;
        };
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 5000; ++i) n.start(one);
            co_return;
        });
        co_return ended;
    });
    CHECK(done == 5000);
}

TEST_CASE("a ring of eight entries cancels thousands of operations at once") {
    const scoped_variable small("RUNNEL_RING_ENTRIES", "8");
    run([]() -> task<> {
        auto ends = make_pipe();
        int ended = 0;
        const auto one = [&]() -> task<> {
            co_await readable(ends.reader.native_handle());
            ++ended;
        };
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 2000; ++i) n.start(one);
            for (int i = 0; i < 50; ++i) co_await io::nop();
            n.cancel();
        });
        CHECK(ended == 0);
    });
}

TEST_CASE("an idle loop uses no CPU") {
    std::chrono::nanoseconds used{};
    run([&]() -> task<> {
        // What the spin of a busy loop leaves behind is over by then.
        co_await sleep_for(20ms);
        const auto before = cpu_time();
        co_await sleep_for(300ms);
        used = cpu_time() - before;
    });
    CHECK(used < 30ms);
}

TEST_CASE("a dump names what each task waits for, and where") {
    auto ends = make_pipe();
    event never;
    loop l;
    l.start([&]() -> task<> { co_await never.wait(); });
    l.start([&]() -> task<> { co_await sleep_for(1h); });
    l.start([&]() -> task<> { co_await ends.reader.read_until('\n'); });
    l.start([&]() -> task<> { co_await with_timeout(readable(ends.reader.native_handle()), 1h); });
    l.poll();
    std::ostringstream out;
    l.dump(out);
    const std::string text = out.str();
    const std::string number = std::to_string(ends.reader.native_handle());
    CHECK(text.find("loop: 4 tasks") != std::string::npos);
    CHECK(text.find("loop_test.cpp:") != std::string::npos);
    CHECK(text.find("waits for event") != std::string::npos);
    CHECK(text.find("waits for sleep") != std::string::npos);
    CHECK(text.find("waits for read_until on pipe " + number) != std::string::npos);
    CHECK(text.find("waits for with_timeout") != std::string::npos);
    CHECK(text.find("poll on descriptor " + number) != std::string::npos);
}

TEST_CASE("a dump shows nested awaits from the outside in, and the time since the innermost") {
    event never;
    std::ostringstream out;
    loop l({.virtual_time = true});
    l.start(waits_outermost, std::ref(never));
    l.start([&]() -> task<> {
        co_await sleep_for(2500ms);
        l.dump(out);
    });
    for (int i = 0; i < 10 && out.str().empty(); ++i) l.poll();
    const std::string text = out.str();
    INFO(text);
    const auto outermost = text.find(" in waits_outermost\n");
    const auto below = text.find(" in waits_below\n");
    const auto innermost = text.find(" in waits_innermost: waits for event, 2500 ms\n");
    REQUIRE(outermost != std::string::npos);
    REQUIRE(below != std::string::npos);
    REQUIRE(innermost != std::string::npos);
    CHECK(outermost < below);
    CHECK(below < innermost);
    CHECK(text.find("ready to run") != std::string::npos);  // the one that dumps
}

TEST_CASE("a dump shows the body and the children of a nursery below who opened it") {
    event never;
    std::ostringstream out;
    loop l({.virtual_time = true});
    l.start([&]() -> task<> {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(waits_innermost, std::ref(never));
            n.start([&]() -> task<> {
                co_await sleep_for(1s);
                co_await waits_below(never);
            });
            co_await n.join();
        });
    });
    l.start([&]() -> task<> {
        co_await sleep_for(3s);
        l.dump(out);
    });
    for (int i = 0; i < 10 && out.str().empty(); ++i) l.poll();
    const std::string text = out.str();
    INFO(text);
    const std::string parts[] = {"waits for nursery, 3000 ms", "waits for children of a nursery",
                                 "waits for event, 3000 ms", "in waits_below",
                                 "waits for event, 2000 ms"};
    std::size_t at = 0;
    for (const std::string& part : parts) {
        const auto found = text.find(part, at);
        REQUIRE(found != std::string::npos);
        at = found;
        if (part != parts[0]) CHECK(indent_of(text, part) > indent_of(text, parts[0]));
    }
    CHECK(indent_of(text, parts[2]) == indent_of(text, parts[1]));
}

TEST_CASE("run waits for processes that are being reaped, and done says so") {
    const auto sleeps = [] {
        ::alarm(30);
        for (;;) ::pause();
        return 0;
    };
    const ::pid_t obeys = test::forked(sleeps);
    const ::pid_t stays = test::forked(sleeps);
    bool asked = false;
    loop l;
    l.reap_later(
        unique_fd(static_cast<int>(::syscall(SYS_pidfd_open, obeys, 0))),
        [&] {
            asked = true;
            ::kill(obeys, SIGTERM);
        },
        20s);
    l.reap_later(unique_fd(static_cast<int>(::syscall(SYS_pidfd_open, stays, 0))), nullptr, 1ms);
    CHECK_FALSE(l.done());
    l.run();
    CHECK(asked);
    CHECK(l.done());
    for (const ::pid_t child : {obeys, stays}) {
        const bool gone = ::waitpid(child, nullptr, WNOHANG) < 0 && errno == ECHILD;
        CHECK(gone);
    }
}

// --- threads ---

TEST_CASE("functions posted from other threads all run on the loop's thread") {
    constexpr int threads = 4;
    constexpr int each = 5000;
    int ran = 0;  // no atomic: one thread runs them
    event all;
    const auto here = std::this_thread::get_id();
    std::vector<std::thread> posters;
    run([&]() -> task<> {
        loop& l = *loop::current();
        for (int t = 0; t < threads; ++t) {
            posters.emplace_back([&] {
                for (int i = 0; i < each; ++i)
                    l.post([&] {
                        if (std::this_thread::get_id() == here) ++ran;
                        if (ran == threads * each) all.set();
                    });
            });
        }
        co_await all.wait();
    });
    for (std::thread& poster : posters) poster.join();
    CHECK(ran == threads * each);
}

TEST_CASE("functions posted from one thread run in order") {
    std::vector<int> order;
    event all;
    std::thread poster;
    run([&]() -> task<> {
        loop& l = *loop::current();
        poster = std::thread([&] {
            for (int i = 0; i < 1000; ++i) l.post([&, i] { order.push_back(i); });
            l.post([&] { all.set(); });
        });
        co_await all.wait();
    });
    poster.join();
    REQUIRE(order.size() == 1000);
    bool sorted = true;
    for (int i = 0; i < 1000; ++i) sorted &= order[static_cast<std::size_t>(i)] == i;
    CHECK(sorted);
}

TEST_CASE("each post wakes a loop that sleeps") {
    event ready;
    std::atomic<int> turn{0};
    std::thread poster;
    run([&]() -> task<> {
        loop& l = *loop::current();
        poster = std::thread([&] {
            for (int i = 0; i < 200; ++i) {
                l.post([&] { ready.set(); });
                while (turn.load() == i) std::this_thread::yield();
            }
        });
        for (int i = 0; i < 200; ++i) {
            co_await ready.wait();
            ready.clear();
            turn.store(i + 1);
        }
    });
    poster.join();
    CHECK(turn.load() == 200);
}

TEST_CASE("what a posted function throws is an error of the loop") {
    loop l;
    l.post([] { throw std::runtime_error("on purpose"); });
    CHECK_THROWS_AS(l.poll(), std::runtime_error);
}

TEST_CASE("a loop can be made on one thread and run on another") {
    int counted = 0;
    auto here = std::make_unique<loop>();
    here->start(count_to, 10, std::ref(counted));
    std::thread runs([&] {
        here->run();
        here.reset();
    });
    runs.join();
    CHECK(counted == 10);
}

TEST_CASE("a loop that is used from a second thread says so") {
    loop l;
    int counted = 0;
    l.start(count_to, 1, std::ref(counted));
    l.run();
    std::string run_says, poll_says, fd_says, start_says;
    std::thread other([&] {
        run_says = message_of([&] { l.run(); });
        poll_says = message_of([&] { l.poll(); });
        fd_says = message_of([&] { [[maybe_unused]] const int none = l.fd(); });
        start_says = message_of([&] { l.start(count_to, 1, std::ref(counted)); });
    });
    other.join();
    CHECK(run_says == "run on loop: loop used from a second thread");
    CHECK(poll_says == "poll on loop: loop used from a second thread");
    CHECK(fd_says == "fd on loop: loop used from a second thread");
    CHECK(start_says == "start on loop: loop used from a second thread");
    CHECK(counted == 1);
}

TEST_CASE("fd binds a loop to its thread") {
    loop l;
    std::string says;
    REQUIRE(l.fd() >= 0);
    std::thread([&] { says = message_of([&] { l.poll(); }); }).join();
    CHECK(says == "poll on loop: loop used from a second thread");
}

TEST_CASE("a loop is cancelled from any thread, before its first turn too") {
    bool unwound = false;
    loop l;
    l.start(wait_for_ever, std::ref(unwound));
    std::thread([&] { l.cancel(); }).join();
    l.run();
    CHECK(unwound);
    for (int round = 0; round < 20; ++round) {
        loop other;
        other.start(wait_for_ever, std::ref(unwound));
        std::thread canceller([&] { other.cancel(); });
        other.run();
        canceller.join();
        CHECK(other.done());
    }
}

TEST_CASE("a loop that has nothing left is destroyed on any thread") {
    const test::descriptor_count descriptors;
    int counted = 0;
    const auto work = [&]() -> task<> {
        co_await io::nop();
        ++counted;
    };
    for (int round = 0; round < 20; ++round) {
        loop l;
        l.start(work);
        std::thread([&] { l.run(); }).join();
    }
    CHECK(counted == 20);
    // While the thread that ran it goes on, and the other one has a loop of its own.
    std::promise<void> done_there;
    std::promise<void> destroyed;
    auto there = std::make_unique<loop>();
    there->start(work);
    loop here;
    here.start(work);
    here.run();
    std::thread runs([&] {
        there->run();
        done_there.set_value();
        destroyed.get_future().wait();
        loop again;
        again.start(work);
        again.run();
    });
    done_there.get_future().wait();
    there.reset();
    here.start(work);
    here.run();
    destroyed.set_value();
    runs.join();
    here.start(work);
    here.run();
    CHECK(counted == 25);
}

TEST_CASE("a loop that has tasks left aborts when another thread than its own destroys it") {
    const test::death end = test::death_of([] {
        bool unwound = false;
        loop l;
        l.start(wait_for_ever, std::ref(unwound));
        std::thread([&] { l.poll(); }).join();
    });
    INFO(end.text);
    CHECK(end.signal == SIGABRT);
    CHECK(end.says("runnel: fatal: a loop was destroyed on another thread than ran it"));
}

// --- embedding ---

TEST_CASE("poll does what is ready and does not block") {
    int counted = 0;
    bool unwound = false;
    loop l;
    l.start(wait_for_ever, std::ref(unwound));
    l.start(count_to, 3, std::ref(counted));
    for (int i = 0; i < 10; ++i) l.poll();
    CHECK(counted == 3);
    CHECK_FALSE(l.done());
    CHECK(l.timeout_ms() == -1);
    l.cancel();
    for (int i = 0; i < 10; ++i) l.poll();
    CHECK(unwound);
    CHECK(l.done());
}

TEST_CASE("a post from another thread wakes a foreign loop") {
    loop l;
    for (int round = 0; round < 50; ++round) {
        bool posted = false;
        std::thread other([&] { l.post([&] { posted = true; }); });
        CHECK(host(l, [&] { return posted; }));
        other.join();
    }
}

TEST_CASE("a foreign loop is told of timers and I/O") {
    loop l;
    std::string got;
    auto ends = make_pipe();
    l.start([&]() -> task<> {
        co_await sleep_for(5ms);
        co_await ends.writer.write_all("hello");
    });
    l.start([&]() -> task<> {
        const auto text = co_await ends.reader.read_until('o');
        got = text.value_or("");
    });
    CHECK(host(l, [&] { return l.done(); }));
    CHECK(got == "hell");
}

TEST_CASE("a foreign loop is woken by I/O of another thread, however often") {
    loop l;
    auto there = make_pipe();
    auto back = make_pipe();
    constexpr int rounds = 500;
    std::thread other([&, in = there.reader.native_handle(), out = back.writer.native_handle()] {
        char c = 0;
        for (int i = 0; i < rounds; ++i)
            if (::read(in, &c, 1) != 1 || ::write(out, &c, 1) != 1) return;
    });
    int done = 0;
    l.start([&]() -> task<> {
        std::string one(1, 'x');
        for (; done < rounds; ++done) {
            co_await there.writer.write_all(one);
            co_await back.reader.read_exactly(std::as_writable_bytes(std::span(one)));
        }
    });
    CHECK(host(l, [&] { return l.done(); }));
    CHECK(done == rounds);
    there.writer.close();
    other.join();
}

TEST_CASE("a foreign loop is woken by an eventfd that another thread writes, however often") {
    loop l;
    const unique_fd there(::eventfd(0, EFD_CLOEXEC));
    auto back = make_pipe();
    constexpr int rounds = 200;
    std::thread other([in = there.get(), out = back.reader.native_handle()] {
        const std::uint64_t one = 1;
        char c = 0;
        for (int i = 0; i < rounds; ++i)
            if (::write(in, &one, sizeof one) != sizeof one || ::read(out, &c, 1) != 1) return;
    });
    int done = 0;
    l.start([&]() -> task<> {
        std::uint64_t count = 0;
        for (; done < rounds; ++done) {
            co_await io::read(there.get(), std::as_writable_bytes(std::span(&count, 1)));
            co_await back.writer.write_all("x");
        }
    });
    CHECK(host(l, [&] { return l.done(); }));
    CHECK(done == rounds);
    back.writer.close();
    other.join();
}

TEST_CASE("timeout_ms and next_deadline tell when the nearest timer is due") {
    loop l;
    CHECK_FALSE(l.next_deadline());
    const auto before = std::chrono::steady_clock::now();
    l.start([]() -> task<> { co_await sleep_for(1h); });
    CHECK(l.timeout_ms() == 0);  // a task is ready to run
    for (int i = 0; i < 5; ++i) l.poll();
    REQUIRE(l.next_deadline());
    CHECK(*l.next_deadline() >= before + 1h);
    CHECK(l.timeout_ms() > 3'500'000);
    CHECK(l.timeout_ms() <= 3'600'000);
}

TEST_CASE("a loop refuses to be run from inside one of its own tasks") {
    loop l;
    std::string poll_says, run_says;
    l.start([&]() -> task<> {
        co_await yield();
        try {
            l.poll();
        } catch (const std::logic_error& e) {
            poll_says = e.what();
        }
        try {
            l.run();
        } catch (const std::logic_error& e) {
            run_says = e.what();
        }
    });
    l.run();
    CHECK(poll_says == "poll on loop: called from inside one of the loop's own tasks");
    CHECK(run_says == "run on loop: it is running already");
}

// --- interrupts ---

TEST_CASE("SIGINT cancels main, runs its destructors, and ends the process") {
    auto report = make_pipe();
    const ::pid_t child = ::fork();
    if (child == 0) {
        ::signal(SIGINT, SIG_DFL);
        struct tell {
            int fd;
            ~tell() { [[maybe_unused]] const auto n = ::write(fd, "unwound", 7); }
        };
        run([fd = report.writer.native_handle()]() -> task<> {
            const tell at_end{fd};
            ::kill(::getpid(), SIGINT);
            co_await sleep_for(1h);
        });
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGINT);
    char text[7] = {};
    report.writer.close();
    CHECK(::read(report.reader.native_handle(), text, 7) == 7);
    CHECK(std::string(text, 7) == "unwound");
}

TEST_CASE("a main that ends with a value in spite of SIGINT keeps it") {
    const ::pid_t child = ::fork();
    if (child == 0) {
        ::signal(SIGINT, SIG_DFL);
        const int code = run([]() -> task<int> {
            ::raise(SIGINT);
            co_return 7;
        });
        ::_exit(code);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 7);
}

TEST_CASE("a function that is posted to a loop which never runs is called when that ends") {
    bool called = false;
    {
        loop l;
        l.post([&] { called = true; });
    }
    CHECK(called);
}

TEST_CASE("the thread that runs a loop is told from a later one") {
    // A loop ends on its own thread, so this is about the part that knows the thread.
    detail::scheduler home;
    std::thread([&] { home.bind_to_this_thread(); }).join();
    bool mistaken = true;
    std::thread([&] { mistaken = home.on_home_thread(); }).join();
    CHECK(!mistaken);
}

TEST_CASE("a deadline long before the clock began is due at once") {
    const auto past = std::chrono::steady_clock::time_point::min();
    bool timed_out = false;
    run([&]() -> task<> {
        for (int i = 0; i < 50; ++i) co_await sleep_until(past);
        event never;
        timed_out = !co_await with_deadline(never.wait(), past);
    });
    CHECK(timed_out);
}

TEST_CASE("a loop can be dumped while its tasks are unwound") {
    std::ostringstream text;
    run([&]() -> task<> {
        struct dumps {
            explicit dumps(std::ostream& to) : out(to) {}
            ~dumps() { loop::current()->dump(out); }
            std::ostream& out;
        };
        auto inner = [&]() -> task<> {
            const dumps at_end(text);
            event never;
            co_await never.wait();
        };
        auto outer = [&]() -> task<> {
            const dumps at_end(text);
            co_await inner();
        };
        co_await with_timeout(outer(), 1ms);
    });
    CHECK(text.str().find("loop:") != std::string::npos);
}

TEST_CASE("an error of a root task does not end what run runs") {
    int steps = 0;
    run([&]() -> task<> {
        loop::current()->on_error([&](std::exception_ptr) { ++steps; });
        loop::current()->start([]() -> task<> {
            co_await yield();
            throw std::runtime_error("nobody waits for it");
        });
        for (int i = 0; i < 5; ++i) co_await yield();
        ++steps;
    });
    CHECK(steps == 2);
}

TEST_CASE("SIGINT cancels main whenever it comes") {
    for (int delay = 0; delay < 30; ++delay) {
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        const ::pid_t child = ::fork();
        if (child == 0) {
            run([&]() -> task<> {
                const auto n = ::write(ends[1], "x", 1);
                event never;
                if (n == 1) co_await never.wait();
            });
            ::_exit(0);
        }
        char c = 0;
        CHECK(::read(ends[0], &c, 1) == 1);
        const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(delay);
        while (std::chrono::steady_clock::now() < until) {
        }
        ::kill(child, SIGINT);
        const int watch = static_cast<int>(::syscall(SYS_pidfd_open, child, 0));
        ::pollfd end{watch, POLLIN, 0};
        const bool ended = ::poll(&end, 1, 5000) == 1;
        CHECK(ended);
        if (!ended) ::kill(child, SIGKILL);
        int status = 0;
        ::waitpid(child, &status, 0);
        CHECK(WIFSIGNALED(status));
        ::close(watch);
        ::close(ends[0]);
        ::close(ends[1]);
    }
}

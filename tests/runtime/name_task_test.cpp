// SPDX-License-Identifier: MIT
#include <runnel/name_task.hpp>

#include <csignal>
#include <sstream>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/forked.hpp"

using namespace runnel;
using namespace std::chrono_literals;

static_assert(atomic_awaitable<decltype(name_task(""))>);

namespace {

task<> reader(event& until, int number) {
    co_await name_task("reader " + std::to_string(number));
    co_await until.wait();
}

std::string dump_of(const loop& l) {
    std::ostringstream out;
    l.dump(out);
    return out.str();
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a dump shows the names of tasks") {
    event never;
    loop l;
    l.start(reader, std::ref(never), 3);
    l.start(reader, std::ref(never), 4);
    l.poll();
    const std::string text = dump_of(l);
    INFO(text);
    CHECK(contains(text, "task 1 reader 3\n"));
    CHECK(contains(text, "task 2 reader 4\n"));
}

TEST_CASE("a name is the logical task's: awaited tasks give it, and a later one replaces it") {
    run([]() -> task<> {
        loop& l = *loop::current();
        const auto names = [](std::string name) -> task<> { co_await name_task(std::move(name)); };
        std::string seen[3];
        co_await names("outer");
        seen[0] = dump_of(l);
        co_await shield(names("shielded"));
        seen[1] = dump_of(l);
        co_await open_nursery([&](nursery& n) -> task<> {
            co_await name_task("body");
            n.start([&]() -> task<> {
                co_await name_task("child");
                seen[2] = dump_of(l);
            });
        });
        CHECK(contains(seen[0], " outer\n"));
        CHECK(contains(seen[1], " shielded\n"));
        CHECK_FALSE(contains(seen[1], "outer"));
        CHECK(contains(seen[2], " body\n"));
        CHECK(contains(seen[2], " child: ready to run"));
        CHECK_FALSE(contains(seen[2], "shielded"));
    });
}

TEST_CASE("a name ends with its task") {
    event stop;
    loop l;
    l.start(reader, std::ref(stop), 3);
    l.poll();
    stop.set();
    l.run();
    l.start([]() -> task<> { co_await sleep_for(1h); });
    l.poll();
    CHECK_FALSE(contains(dump_of(l), "reader 3"));
}

TEST_CASE("what keeps a loop from ending is reported by name") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const ::pid_t child = test::forked([&] {
        ::close(ends[0]);
        ::dup2(ends[1], STDERR_FILENO);
        ::close(ends[1]);
        ::alarm(30);
        event never;
        loop l;
        l.start([&]() -> task<> {
            co_await name_task("reader 3");
            co_await shield(never.wait());
        });
        l.poll();
        return 0;
    });
    ::close(ends[1]);
    std::string text;
    char part[256];
    while (!contains(text, "reader 3")) {
        const auto n = ::read(ends[0], part, sizeof part);
        if (n <= 0) break;
        text.append(part, static_cast<std::size_t>(n));
    }
    ::kill(child, SIGKILL);
    ::close(ends[0]);
    test::reaped(child);
    INFO(text);
    CHECK(contains(text, "a loop that ends is waiting for:"));
    CHECK(contains(text, "reader 3 (cancelled)"));
}

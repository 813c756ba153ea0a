// SPDX-License-Identifier: MIT
// Owners of an ipc::mutex that stall, or die, in the middle of a release: at the system calls by
// which they wake others.
#include <array>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <runnel/io.hpp>
#include <runnel/ipc/mutex.hpp>
#include <runnel/ipc/spawn.hpp>
#include <runnel/run.hpp>
#include <runnel/with_timeout.hpp>

#include "support/both_ways.hpp"
#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/system_calls.hpp"

namespace {

/// When armed: tells so by a byte before, or after, the next call that wakes; then waits for one.
struct stall {
    enum class point : int { none, before, after };
    point at = point::none;
    int say = -1;
    int hear = -1;
    void here(point now) {
        if (at != now) return;
        at = point::none;
        char c = 's';
        if (::write(say, &c, 1) != 1 || ::read(hear, &c, 1) != 1) ::_exit(9);
    }
} stalled;

void stall_when_waking(const support::system_call& call) {
    const bool wakes = call.number == SYS_futex && call.arguments[1] == FUTEX_WAKE;
    if (!wakes && call.number != SYS_recvfrom) return;
    if (!call.result) stalled.here(stall::point::before);
    // Of the receives, the one that finds no more to be rung.
    if (call.result && (wakes || *call.result < 0)) stalled.here(stall::point::after);
}

}  // namespace

using namespace runnel;
using namespace std::chrono_literals;

namespace {

/// What a process and its parent say to each other, a byte at a time.
struct line {
    unique_fd say, hear;
};
std::pair<line, line> make_line() {
    std::array<int, 2> a{};
    std::array<int, 2> b{};
    if (::pipe2(a.data(), O_CLOEXEC) != 0 || ::pipe2(b.data(), O_CLOEXEC) != 0) std::abort();
    std::pair<line, line> ends;
    ends.first.hear.reset(a[0]);
    ends.second.say.reset(a[1]);
    ends.second.hear.reset(b[0]);
    ends.first.say.reset(b[1]);
    return ends;
}
void say(const line& to, char what = 't') {
    if (::write(to.say.get(), &what, 1) != 1) std::abort();
}
task<char> heard(const line& from) {
    std::array<std::byte, 1> one{};
    const auto n = co_await io::read(from.hear.get(), one);
    co_return n == 1 ? static_cast<char>(one[0]) : '\0';
}

/// Takes the mutex, releases it when it is told, and stalls at that point of the release.
task<> release_and_stall(ipc::mutex m, line parent, int at) {
    auto held = co_await m.lock();
    say(parent, 'h');
    co_await heard(parent);
    stalled.say = parent.say.get();
    stalled.hear = parent.hear.get();
    stalled.at = static_cast<stall::point>(at);
    support::on_system_call = stall_when_waking;
    held.unlock();
    say(parent, 'u');
}
/// Says when it is about to lock, when it has, and releases when it is told.
task<> lock_and_tell(ipc::mutex m, line parent) {
    say(parent, 'l');
    auto held = co_await m.lock();
    say(parent, held.owner_died() ? 'd' : 'h');
    co_await heard(parent);
}

/// Until `who` sleeps: it has nothing else to do than to wait for the mutex.
void await_asleep(const ipc::process<>& who) {
    const std::string path = "/proc/" + std::to_string(who.pid()) + "/stat";
    for (int asleep = 0; asleep < 3;) {
        const unique_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        std::array<char, 256> text{};
        if (::read(file.get(), text.data(), text.size() - 1) <= 0) std::abort();
        const std::string all(text.data());
        asleep = all[all.rfind(')') + 2] == 'S' ? asleep + 1 : 0;
        ::usleep(1000);
    }
}

struct party {
    line parent;
    ipc::process<> child;
};
party start_owner(const ipc::mutex& m, stall::point at) {
    auto ends = make_line();
    auto child =
        ipc::spawn(release_and_stall, m.share(), std::move(ends.second), static_cast<int>(at));
    return {std::move(ends.first), std::move(child)};
}
party start_waiter(const ipc::mutex& m) {
    auto ends = make_line();
    auto child = ipc::spawn(lock_and_tell, m.share(), std::move(ends.second));
    return {std::move(ends.first), std::move(child)};
}

constexpr auto soon = 10s;

}  // namespace

TEST_CASE("an owner that stalls in the release keeps nobody from the mutex") {
    for (const stall::point at : {stall::point::before, stall::point::after}) {
        test::both_ways([at]() -> task<> {
            ipc::mutex m;
            party owner = start_owner(m, at);
            const char held = co_await heard(owner.parent);
            CHECK(held == 'h');
            party first = start_waiter(m);
            co_await heard(first.parent);
            await_asleep(first.child);
            first.child.kill();  // so that there is somebody to wake
            co_await first.child.wait();
            say(owner.parent);
            const char stalls = co_await heard(owner.parent);
            CHECK(stalls == 's');
            party second = start_waiter(m);
            co_await heard(second.parent);
            const auto got = co_await with_timeout(heard(second.parent), soon);
            CHECK(got == 'h');
            say(owner.parent);
            co_await heard(owner.parent);
            say(second.parent);
            co_await second.child.join();
            co_await owner.child.join();
        });
    }
}

TEST_CASE("one who waits for the next owner is not forgotten when the last one dies releasing") {
    for (const stall::point at : {stall::point::before, stall::point::after}) {
        test::both_ways([at]() -> task<> {
            ipc::mutex m;
            party owner = start_owner(m, at);
            co_await heard(owner.parent);
            party first = start_waiter(m);
            co_await heard(first.parent);
            await_asleep(first.child);
            first.child.kill();
            co_await first.child.wait();
            say(owner.parent);
            co_await heard(owner.parent);  // unlocked, and nobody told, or not all done
            party next = start_waiter(m);
            co_await heard(next.parent);
            const char takes = co_await heard(next.parent);
            CHECK(takes == 'h');
            party waits = start_waiter(m);
            co_await heard(waits.parent);
            await_asleep(waits.child);
            owner.child.kill();
            co_await owner.child.wait();
            say(next.parent);
            const auto got = co_await with_timeout(heard(waits.parent), soon);
            CHECK(got == 'h');
            say(waits.parent);
            co_await next.child.join();
            co_await waits.child.join();
        });
    }
}

TEST_CASE("the death of the next owner is seen by one who watches the last, who stalls") {
    test::both_ways([]() -> task<> {
        ipc::mutex m;
        party owner = start_owner(m, stall::point::before);
        co_await heard(owner.parent);
        party waits = start_waiter(m);  // for the owner that is going to stall
        co_await heard(waits.parent);
        await_asleep(waits.child);
        say(owner.parent);
        co_await heard(owner.parent);
        party next = start_waiter(m);
        co_await heard(next.parent);
        const char takes = co_await heard(next.parent);
        CHECK(takes == 'h');
        next.child.kill();
        co_await next.child.wait();
        say(owner.parent);  // goes on: it has to wake the one who watches it
        const auto got = co_await with_timeout(heard(waits.parent), soon);
        CHECK(got == 'd');
        co_await heard(owner.parent);
        say(waits.parent);
        co_await waits.child.join();
        co_await owner.child.join();
    });
}

TEST_CASE("a lock that is waited for in vain thousands of times can be waited for once more") {
    test::both_ways([]() -> task<> {
        ipc::mutex m;
        party owner = start_waiter(m);
        co_await heard(owner.parent);
        co_await heard(owner.parent);
        int none = 0;
        for (int i = 0; i < 3000; ++i) {
            const auto got = co_await with_timeout(m.lock(), 0ms);
            if (!got) ++none;
        }
        CHECK(none == 3000);
        say(owner.parent);
        const auto got = co_await with_timeout(m.lock(), soon);
        CHECK(got.has_value());
        co_await owner.child.join();
    });
}

TEST_CASE("a thousand handles whose waiters are gone leave room for another") {
    test::both_ways([]() -> task<> {
        ipc::mutex m;
        party owner = start_waiter(m);
        co_await heard(owner.parent);
        co_await heard(owner.parent);
        ipc::encoder out;
        out.write(m);
        int none = 0;
        for (int i = 0; i < 1000; ++i) {
            std::vector<unique_fd> handles;
            for (const int number : out.handles())
                handles.emplace_back(::fcntl(number, F_DUPFD_CLOEXEC, 0));
            const auto another = ipc::decode<ipc::mutex>(out.bytes(), handles);
            const auto got = co_await with_timeout(another.lock(), 0ms);
            if (!got) ++none;
        }
        CHECK(none == 1000);
        say(owner.parent);
        const auto got = co_await with_timeout(m.lock(), soon);
        CHECK(got.has_value());
        co_await owner.child.join();
    });
}

TEST_CASE("a mutex arrives, is locked and released where there is no room for a descriptor") {
    test::both_ways([]() -> task<> {
        ipc::mutex m;
        auto held = m.try_lock();
        co_await with_timeout(m.lock(), 1ms);  // leaves somebody to be woken
        ipc::encoder out;
        out.write(m);
        std::vector<unique_fd> handles;
        for (const int number : out.handles())
            handles.emplace_back(::fcntl(number, F_DUPFD_CLOEXEC, 0));
        ::rlimit before{};
        ::getrlimit(RLIMIT_NOFILE, &before);
        const ::rlimit none{0, before.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &none);
        const auto another = ipc::decode<ipc::mutex>(out.bytes(), handles);
        held.reset();
        const auto got = another.try_lock();
        ::setrlimit(RLIMIT_NOFILE, &before);
        CHECK(got.has_value());
    });
}

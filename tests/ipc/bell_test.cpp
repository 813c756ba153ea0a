// SPDX-License-Identifier: MIT
// Those who sleep at a bell, and those who ring it: all ways in which their steps can follow each
// other, with the bell itself.
#include <runnel/ipc/detail/bell.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/message_tools.hpp"
#include "support/catch.hpp"
#include "support/forked.hpp"

using namespace runnel::ipc::detail;

namespace {

/// One who waits: arm() of a wait_hub, again and again. He finds nothing when he looks.
struct sleeper {
    enum at : std::uint8_t { looks, says, checks, sleeps, asleep, served } where = looks;
    std::uint32_t seen = 0;
    unsigned rounds = 2;
    auto operator<=>(const sleeper&) const = default;
};

/// One who changes something, in a section: ring(), then the change.
struct ringer {
    enum at : std::uint8_t { outside, asks, wakes, notes, commits, done } where = outside;
    std::uint32_t told = 0;
    unsigned rounds = 1;
    auto operator<=>(const ringer&) const = default;
};

struct moment {
    std::uint32_t rung = 0;
    std::uint32_t said = 0;
    bool locked = false;
    std::array<sleeper, 2> waiting;
    std::array<ringer, 2> ringing;
    auto operator<=>(const moment&) const = default;

    /// The bell as it is now does something.
    template <class F>
    void with_bell(F f) {
        bell one;
        one.rung = rung;
        one.sleepers = said;
        f(one);
        rung = one.rung;
        said = one.sleepers;
    }
};

/// The next step of one who waits; false if there is none.
bool step(moment& now, sleeper& me) {
    switch (me.where) {
        case sleeper::looks:
            if (me.rounds == 0) return false;
            me.seen = now.rung;
            me.where = sleeper::says;
            return true;
        case sleeper::says:
            now.with_bell([](bell& one) { one.will_sleep(); });
            me.where = sleeper::checks;
            return true;
        case sleeper::checks:
            me.where = sleeper::sleeps;
            if (now.locked) {
                me.where = sleeper::looks;
                --me.rounds;
            }
            return true;
        case sleeper::sleeps:
            // The kernel compares; another one took what there was, or all is well.
            me.where = me.seen == now.rung ? sleeper::asleep : sleeper::served;
            return true;
        case sleeper::asleep:
            if (me.seen == now.rung || me.rounds == 0) return false;
            me.where = sleeper::looks;
            --me.rounds;
            return true;
        case sleeper::served: return false;
    }
    return false;
}

/// The next step of one who rings. The second rings without the lock that is looked at.
bool step(moment& now, ringer& me, bool locks) {
    switch (me.where) {
        case ringer::outside:
            if (me.rounds == 0) return false;
            if (locks) now.locked = true;
            me.where = ringer::asks;
            return true;
        case ringer::asks:
            me.told = now.said;
            me.where = bell::sleeps(now.said) ? ringer::wakes : ringer::commits;
            return true;
        case ringer::wakes:
            ++now.rung;
            me.where = ringer::notes;
            return true;
        case ringer::notes:
            now.with_bell([&](bell& one) { one.all_awake(me.told); });
            me.where = ringer::commits;
            return true;
        case ringer::commits:
            if (locks) now.locked = false;
            me.where = ringer::outside;
            --me.rounds;
            return true;
        case ringer::done: return false;
    }
    return false;
}

/// Somebody sleeps whom nobody will wake, since the bell says that nobody sleeps.
bool forgotten(const moment& now) {
    if (bell::sleeps(now.said)) return false;
    const auto sleeps = [&](const sleeper& one) {
        return one.where == sleeper::asleep && one.seen == now.rung;
    };
    const auto rings = [](const ringer& one) {
        return one.where == ringer::wakes || one.where == ringer::notes;
    };
    return std::any_of(now.waiting.begin(), now.waiting.end(), sleeps) &&
           std::none_of(now.ringing.begin(), now.ringing.end(), rings);
}

std::size_t explore(const moment& first, bool& lost) {
    std::set<moment> known{first};
    std::vector<moment> open{first};
    const auto add = [&](const moment& next) {
        if (known.insert(next).second) open.push_back(next);
    };
    while (!open.empty()) {
        const moment now = open.back();
        open.pop_back();
        lost |= forgotten(now);
        for (std::size_t i = 0; i < 2; ++i) {
            if (moment next = now; step(next, next.waiting[i])) add(next);
            if (moment next = now; step(next, next.ringing[i], i == 0)) add(next);
        }
    }
    return known.size();
}

}  // namespace

TEST_CASE("nobody sleeps at a bell that says that nobody does, whatever the order of steps") {
    moment first;
    bool lost = false;
    SECTION("all begin at once") {}
    SECTION("one has fallen asleep before, and another has read the same") {
        first.with_bell([](bell& one) { one.will_sleep(); });
        first.waiting[0].where = sleeper::asleep;
        first.waiting[1].where = sleeper::says;
    }
    const std::size_t states = explore(first, lost);
    CHECK(states > 1000);
    CHECK_FALSE(lost);
}

TEST_CASE("one who would sleep gives up when too many of the user's descriptors are under way") {
    const ::pid_t child = runnel::test::forked([] {
        ::alarm(20);
        ::setenv("RUNNEL_DISABLE", "futex", 1);
        const bell_register registered = bell_register::make();
        if (!registered.used() || !registered.enter()) return 2;
        std::array<int, 2> ends{};
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return 3;
        // The privileged may send as many as they like.
        if (::geteuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) return 4;
        const ::rlimit few{64, 64};
        if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 5;
        const std::array<int, 1> any{ends[1]};
        while (runnel::test::raw_message::post_bytes(ends[0], "x", any)) {
        }
        if (errno != ETOOMANYREFS) return 6;
        return registered.enter() ? 7 : 0;
    });
    const int status = runnel::test::reaped(child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}

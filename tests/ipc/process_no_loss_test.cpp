// SPDX-License-Identifier: MIT
// Waiting for a child at every moment at which its end and a cancellation can meet. Each run forks,
// so there are no chaos seeds here.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <runnel/ipc/spawn.hpp>
#include <runnel/run.hpp>
#include <runnel/testing/no_loss.hpp>

#include "support/catch.hpp"
#include "support/fds.hpp"
#include "support/proof.hpp"

using namespace runnel;

namespace {

/// A child that ends when it is told to.
template <class R>
struct child_to_end {
    unique_fd tell;
    ipc::process<R> child;

    child_to_end() {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        unique_fd hear(ends[0]);
        tell.reset(ends[1]);
        child = ipc::spawn(
            [](unique_fd until) -> R {
                char c;
                [[maybe_unused]] const auto n = ::read(until.get(), &c, 1);
                if constexpr (std::is_same_v<R, unique_fd>)
                    return until;
                else
                    return 7;
            },
            std::move(hear));
    }
    void complete() {
        tell.reset();
        ::pollfd end{child.sentinel(), POLLIN, 0};
        REQUIRE(::poll(&end, 1, 20'000) == 1);
    }
};

struct waits : child_to_end<int> {
    auto operation() { return child.wait(); }
    static task<bool> seven(ipc::process<int>& c) {
        const auto status = co_await c.wait();
        const int value = co_await c.join();
        co_return status.success() && value == 7;
    }
    bool balanced(bool) {
        tell.reset();
        return run(seven(child));
    }
};
// What it gives is given once: to the join, or to the next one.
struct joins : child_to_end<unique_fd> {
    auto operation() { return child.join(); }
    static task<bool> there(ipc::process<unique_fd>& c) {
        bool is_there = false;
        try {
            const unique_fd given = co_await c.join();
            is_there = bool(given);
        } catch (const std::invalid_argument&) {
        }
        co_return is_there;
    }
    bool balanced(bool delivered) {
        tell.reset();
        const bool left = run(there(child));
        return left != delivered;
    }
};

}  // namespace

TEST_CASE("a wait for a child that is cancelled takes nothing from the next") {
    const test::descriptor_count before;
    testing::no_loss proof({.seeds = 0});
    proof.put<waits>("ipc::process.wait");
    test::require_proven(proof);
    CHECK(before.unchanged());
}

TEST_CASE("what a child gives is joined for, or stays for the next join") {
    const test::descriptor_count before;
    testing::no_loss proof({.seeds = 0});
    proof.put<joins>("ipc::process.join");
    test::require_proven(proof);
    CHECK(before.unchanged());
}

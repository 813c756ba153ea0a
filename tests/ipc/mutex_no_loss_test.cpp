// SPDX-License-Identifier: MIT
// Locking an ipc::mutex, which a task of this loop or another process holds, at every moment at
// which the release and a cancellation can meet.
#include <cstdlib>
#include <optional>
#include <string>

#include <fcntl.h>
#include <unistd.h>

#include <runnel/ipc/mutex.hpp>
#include <runnel/ipc/spawn.hpp>
#include <runnel/testing/no_loss.hpp>

#include "support/catch.hpp"
#include "support/environment.hpp"
#include "support/fds.hpp"
#include "support/proof.hpp"

using namespace runnel;

namespace {

/// Held by this process.
struct locks {
    ipc::mutex m;
    std::optional<ipc::mutex::guard> held = m.try_lock();
    auto operation() { return m.lock(); }
    void complete() { held.reset(); }
    bool balanced(bool delivered) {
        const bool completed = !held;
        held.reset();
        const auto left = m.try_lock();
        return left.has_value() != delivered && (completed || !delivered) &&
               (!left || !left->owner_died());
    }
};

std::pair<unique_fd, unique_fd> os_pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    return {unique_fd(ends[0]), unique_fd(ends[1])};
}

/// A process that takes and releases a mutex when it is told to, and says when it has.
class other_process {
public:
    other_process() {
        auto there = os_pipe();
        auto back = os_pipe();
        tell_ = std::move(there.second);
        hear_ = std::move(back.first);
        child_ = ipc::spawn(work, m.share(), std::move(there.first), std::move(back.second));
    }
    void switch_over() {
        char c = '.';
        REQUIRE(::write(tell_.get(), &c, 1) == 1);
        REQUIRE(::read(hear_.get(), &c, 1) == 1);
        REQUIRE(c == '.');
    }
    const ipc::mutex m;
    static inline other_process* current = nullptr;

private:
    static int work(ipc::mutex its, unique_fd hear, unique_fd say) {
        std::optional<ipc::mutex::guard> held;
        for (char c; ::read(hear.get(), &c, 1) == 1;) {
            if (held) {
                held.reset();
            } else {
                held = its.try_lock();
                if (!held) c = '!';
            }
            if (::write(say.get(), &c, 1) != 1) break;
        }
        return 0;
    }
    unique_fd tell_, hear_;
    ipc::process<int> child_;
};
struct locks_what_another_holds {
    other_process& other = *other_process::current;
    bool held = (other.switch_over(), true);
    auto operation() { return other.m.lock(); }
    void complete() {
        other.switch_over();
        held = false;
    }
    bool balanced(bool delivered) {
        const bool completed = !held;
        if (held) complete();
        const auto left = other.m.try_lock();
        return left.has_value() != delivered && (completed || !delivered) &&
               (!left || !left->owner_died());
    }
};

void prove(const std::string& how) {
    const test::descriptor_count before;
    {
        testing::no_loss proof({.seeds = 2});
        proof.put<locks>("ipc::mutex.lock" + how);
        other_process other;
        other_process::current = &other;
        proof.put<locks_what_another_holds>("ipc::mutex.lock, of another process" + how);
        other_process::current = nullptr;
        test::require_proven(proof);
    }
    CHECK(before.unchanged());
}

}  // namespace

TEST_CASE("an ipc mutex is locked, or stays for the next") { prove(""); }

TEST_CASE("an ipc mutex without futex operations is locked, or stays for the next") {
    const test::without_futex as_before_linux_6_7;
    prove(", without futex");
}

// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <stdexcept>

#include <unistd.h>

#include <runnel/sleep.hpp>
#include <runnel/task.hpp>

#include "support/kill_storm.hpp"
#include "support/step_kill.hpp"

// What scenarios have in common in which a process is killed after each instruction.

namespace runnel::test {

inline void expect(bool right, const char* otherwise) {
    if (!right) throw std::runtime_error(otherwise);
}

/// Has the loop learn that spinning is of no use just now, so that there is less of it to step
/// through.
inline task<> calm_down() {
    using namespace std::chrono_literals;
    for (int i = 0; i < 10; ++i) co_await sleep_for(300us);
}

/// For the initialiser of a scenario's first member: its objects are made without futexes in the
/// kernel's ring, if `Futex` is false. Each scenario has a process of its own.
template <bool Futex>
struct with_futex {
    with_futex() {
        if (!Futex) ::setenv("RUNNEL_DISABLE", "futex", 1);
    }
};

/// A scenario with a bystander, who says how far it is.
class watched_scenario : public step_scenario {
protected:
    /// For the bystander, as soon as it has got what it waited for. Never 0.
    void say(int what) noexcept { said_->store(what); }
    [[nodiscard]] int said() const noexcept { return said_->load(); }
    /// For killed(): a condition that the bystander brings about without help.
    static void await(const std::function<bool()>& condition, const char* otherwise) {
        for (int i = 0; i < 30'000; ++i, ::usleep(100))
            if (condition()) return;
        throw std::runtime_error(otherwise);
    }
    /// The bystander has something to go on with.
    void await_bystander() {
        await([this] { return said() != 0; }, "the bystander sleeps over what it waits for");
    }

private:
    shared_memory_block memory_{sizeof(std::atomic<int>)};
    std::atomic<int>* said_ = memory_.as<std::atomic<int>>();
};

/// All kinds of a scenario on the same operation.
inline step_options held_up() {
    step_options options;
    options.hold_up = true;
    return options;
}

}  // namespace runnel::test

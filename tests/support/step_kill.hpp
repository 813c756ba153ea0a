// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <runnel/task.hpp>

#include "support/arrived.hpp"
#include "support/stepper.hpp"

// A process is single-stepped through one operation and killed after instruction k, for every k;
// those who are left go on. Or it is held up there, while others run. RUNNEL_STEP_ALL=1 takes every
// k; otherwise it is a random sample of RUNNEL_STEP_SAMPLE of them, spread over the operation, and
// RUNNEL_SEED repeats it.

namespace runnel::test {

/// Where the victim was killed.
struct step_point {
    std::uint64_t instruction = 0;  ///< after so many of its window
    bool completed = false;         ///< the window was over
};

/// The objects of one kill and what is done to them. Made afresh for each, in a process of its own,
/// which checks that no descriptor is left when it has been destroyed.
class step_scenario {
public:
    virtual ~step_scenario() = default;
    /// Runs in a fork, on a loop of its own: its set-up, begin_step_window(), the operation,
    /// end_step_window(). It has the memory of the process that made the scenario; handles should
    /// be used as they would come from there, through arrived().
    virtual task<> victim() = 0;
    /// Runs after the kill, where the scenario was made, within a time limit: goes on with the
    /// objects, throws if something is broken, and gives what the kill has led to ("sent"). As k
    /// grows this is expected to change, never to change back.
    virtual task<std::string> survivor(step_point at) = 0;

    /// Whether there is a bystander: another process, which sleeps in the kernel when the window
    /// begins, and has to end within a time limit after the kill; it throws if something is broken.
    /// See step_options::hold_up.
    [[nodiscard]] virtual bool has_bystander() const { return false; }
    virtual task<> bystander() { co_return; }
    /// Called, where the scenario was made, when the victim has been killed and the bystander has
    /// not been waited for: finds out whether it has to go on by itself, and helps it if not. Not
    /// called when the victim was held up, whose operation has to be enough.
    virtual void killed(step_point) {}
    /// Called, where the scenario was made, when the victim waits in the kernel. False: it waits
    /// for ever, and this is as far as it gets.
    virtual bool nudge() { return false; }
};

struct step_options {
    std::uint64_t sample = 40;              ///< RUNNEL_STEP_SAMPLE overrides it
    std::chrono::milliseconds limit{5000};  ///< of a survivor, and of a bystander
    /// Of a sample; what it was too short for is said. It is ten times as long for the first half of
    /// the sample, and less than that half is a violation. Where one kill takes so long that there
    /// would not be time for all, the sample is smaller from the start.
    std::chrono::milliseconds budget{1500};
    /// Instead of being killed, the victim is held up after instruction k while the bystander, who
    /// begins only then, has time to end or to sleep; the victim goes on to the end of its window
    /// and stays there until the bystander has ended. Finds wake-ups that are lost.
    bool hold_up = false;
    bool ordered = true;  ///< an outcome that changes back is a violation
};

struct step_report {
    struct span {
        std::string outcome;
        std::uint64_t first = 0, last = 0;
    };
    std::string operation;
    std::uint64_t seed = 0;
    std::uint64_t instructions = 0;  ///< of the window, as counted without a kill
    std::uint64_t kills = 0;
    std::uint64_t violations = 0;
    std::uint64_t strayed = 0;            ///< kills on another way than the first, done again
    std::vector<span> outcomes;           ///< in the order of instructions
    std::vector<std::string> complaints;  ///< of the first violations
    std::chrono::milliseconds took{};
};
/// A line: operation, instructions, kills, violations, and where the outcome changes.
std::ostream& operator<<(std::ostream& out, const step_report& report);

/// Runs it, prints the report and gives it. Skipped, which is said, under a sanitizer.
step_report step_kill(std::string operation,
                      const std::function<std::unique_ptr<step_scenario>()>& make,
                      step_options options = {});

template <class Scenario>
step_report step_kill(std::string operation, step_options options = {}) {
    return step_kill(std::move(operation), [] { return std::make_unique<Scenario>(); }, options);
}

}  // namespace runnel::test

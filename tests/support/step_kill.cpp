// SPDX-License-Identifier: MIT
#include "support/step_kill.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <iomanip>
#include <iostream>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>

#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/run.hpp>
#include <runnel/with_timeout.hpp>

#include "support/environment.hpp"
#include "support/fds.hpp"
#include "support/forked.hpp"

namespace runnel::test {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

/// What a cell, the process in which one kill happens, leaves behind.
struct cell_result {
    std::uint64_t steps = 0;
    bool completed = false;
    bool good = false;
    bool strayed = false;
    char text[400] = {};  // the outcome or the complaint

    void say(const std::string& what) { std::snprintf(text, sizeof text, "%s", what.c_str()); }
};

/// Memory that is shared with the processes forked from now on.
template <class T>
T* shared_array(std::size_t count) {
    void* at = ::mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw std::runtime_error("mmap");
    return static_cast<T*>(at);
}

std::string ended_by(int status) {
    if (WIFEXITED(status)) return "ended with " + std::to_string(WEXITSTATUS(status));
    const int number = WIFSTOPPED(status) ? WSTOPSIG(status) : WTERMSIG(status);
    return "was hit by signal " + std::to_string(number);
}

bool eventually(std::chrono::milliseconds limit, const std::function<bool()>& condition) {
    for (const auto until = clock::now() + limit; clock::now() < until; ::usleep(200))
        if (condition()) return true;
    return condition();
}

/// Another process that waits while the victim is killed, or runs while it is held up.
class bystander {
public:
    bystander(step_scenario& scenario, std::atomic<bool>* begun, bool may_end) {
        pid_ = forked_task("bystander", [&]() {
            begun->store(true);
            return scenario.bystander();
        });
        if (may_end) {
            // If it does neither, it is one that does not sleep just now: let it.
            eventually(20ms, [&] { return begun->load() && (sleeps(pid_) || ended(0ms)); });
            return;
        }
        const auto asleep = [&] { return begun->load() && sleeps(pid_); };
        // Twice, since the way there may sleep as well.
        if (!eventually(2s, asleep) || (::usleep(300), !eventually(2s, asleep)))
            throw std::runtime_error("the bystander never waited");
    }
    ~bystander() {
        if (ended_) return;
        ::kill(pid_, SIGKILL);
        reaped(pid_);
    }
    bystander(const bystander&) = delete;
    bystander& operator=(const bystander&) = delete;
    void finish(std::chrono::milliseconds limit) {
        if (!ended(limit)) throw std::runtime_error("the bystander hangs");
        if (status_ != 0) throw std::runtime_error("the bystander " + ended_by(status_));
    }

private:
    bool ended(std::chrono::milliseconds limit) {
        return ended_ || eventually(limit, [&] {
                   return ended_ = ::waitpid(pid_, &status_, WNOHANG) == pid_;
               });
    }
    ::pid_t pid_ = 0;
    int status_ = 0;
    bool ended_ = false;
};

/// What is the same for all kills of an operation.
struct plan {
    const std::function<std::unique_ptr<step_scenario>()>& make;
    const step_options& options;
    std::span<std::uint64_t> trace;  // shared memory
    std::uint64_t traced = 0;        // how much of it is known
};

std::string one_kill(step_scenario& scenario, std::uint64_t wanted, const plan& of,
                     std::atomic<bool>* begun, cell_result& result) {
    const step_options& options = of.options;
    std::optional<bystander> witness;
    {
        const ::pid_t pid = forked_task("victim", [&] {
            let_parent_step();
            return scenario.victim();
        });
        stepper victim(pid);
        if (!victim.reach_window(2500))
            throw std::runtime_error("the victim " + ended_by(victim.status()) +
                                     " before its window");
        if (scenario.has_bystander() && !options.hold_up) witness.emplace(scenario, begun, false);
        const auto nudge = [&] { return scenario.nudge(); };
        if (of.traced == 0) victim.record(of.trace);
        const auto state = of.traced == 0 ? victim.step(wanted, nudge)
                                          : victim.jump(of.trace.first(of.traced), wanted, nudge);
        result.strayed = victim.strayed();
        result.steps = result.strayed ? wanted : victim.steps();
        result.completed = state == stepper::state::over;
        if (state == stepper::state::ended)
            throw std::runtime_error("the victim " + ended_by(victim.status()) + " in its window");
        if (options.hold_up) {
            witness.emplace(scenario, begun, true);
            result.completed = true;
            if (state != stepper::state::over && !victim.go_on(2500))
                throw std::runtime_error("the victim " + ended_by(victim.status()) +
                                         " after it was held up");
            witness->finish(options.limit);
            witness.reset();
        }
        victim.kill();
    }
    const step_point at{result.steps, result.completed};
    if (witness) {
        scenario.killed(at);
        witness->finish(options.limit);
    }
    std::optional<std::string> outcome;
    run([&]() -> task<> {
        auto got = co_await with_timeout(scenario.survivor(at), options.limit);
        outcome = std::move(got);
    });
    if (!outcome) throw std::runtime_error("the survivor hangs");
    return *outcome;
}

void cell(const plan& of, std::uint64_t wanted, cell_result& result) {
    auto* begun = shared_array<std::atomic<bool>>(1);
    try {
        const std::size_t before = open_descriptors();
        std::string outcome;
        {
            const std::unique_ptr<step_scenario> scenario = of.make();
            outcome = one_kill(*scenario, wanted, of, begun, result);
        }
        if (open_descriptors() != before) throw std::runtime_error("descriptors are left");
        result.say(outcome);
        result.good = true;
    } catch (const std::exception& e) {
        result.say(e.what());
    }
}

/// Runs cells, as many at a time as there are CPUs, each on a CPU of its own: stepping goes to and
/// fro between two processes.
class cells {
public:
    using done = std::function<void(std::uint64_t wanted, const cell_result&)>;
    cells(const plan& of, done then) : plan_(of), then_(std::move(then)) {
        ::cpu_set_t allowed;
        CPU_ZERO(&allowed);
        ::sched_getaffinity(0, sizeof allowed, &allowed);
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
            if (CPU_ISSET(cpu, &allowed)) running_.push_back({cpu, -1, -1, 0, {}});
        results_ = shared_array<cell_result>(running_.size());
    }
    ~cells() { ::munmap(results_, running_.size() * sizeof(cell_result)); }
    cells(const cells&) = delete;
    cells& operator=(const cells&) = delete;

    [[nodiscard]] int at_a_time() const noexcept { return static_cast<int>(running_.size()); }
    void start(std::uint64_t wanted) {
        for (;;) {
            for (std::size_t i = 0; i < running_.size(); ++i) {
                if (running_[i].pid >= 0) continue;
                begin(i, wanted);
                return;
            }
            finish_one();
        }
    }
    void finish() {
        while (std::any_of(running_.begin(), running_.end(), [](auto& c) { return c.pid >= 0; }))
            finish_one();
    }

private:
    struct one {
        int cpu;
        ::pid_t pid;
        int pidfd;
        std::uint64_t wanted;
        clock::time_point until;
    };
    void begin(std::size_t i, std::uint64_t wanted) {
        new (&results_[i]) cell_result;
        one& c = running_[i];
        c.wanted = wanted;
        c.until = clock::now() + 2 * plan_.options.limit + 20s;
        c.pid = forked([&] {
            ::cpu_set_t own;
            CPU_ZERO(&own);
            CPU_SET(static_cast<std::size_t>(c.cpu), &own);
            ::sched_setaffinity(0, sizeof own, &own);
            for (const one& other : running_)
                if (other.pidfd >= 0) ::close(other.pidfd);
            cell(plan_, wanted, results_[i]);
            return 0;
        });
        c.pidfd = static_cast<int>(::syscall(SYS_pidfd_open, c.pid, 0));
    }
    void finish_one() {
        std::vector<::pollfd> all;
        for (const one& c : running_) all.push_back({c.pidfd, POLLIN, 0});
        ::poll(all.data(), all.size(), 100);
        for (std::size_t i = 0; i < running_.size(); ++i) {
            one& c = running_[i];
            if (c.pid < 0) continue;
            const bool late = clock::now() > c.until;
            if (all[i].revents == 0 && !late) continue;
            if (late) ::kill(c.pid, SIGKILL);
            const int status = reaped(c.pid);
            ::close(c.pidfd);
            c.pid = c.pidfd = -1;
            cell_result& result = results_[i];
            if (status != 0) {
                result.good = false;
                result.say(late ? "the survivor's process hangs"
                                : "the survivor's process " + ended_by(status));
            }
            then_(c.wanted, result);
        }
    }

    const plan& plan_;
    done then_;
    std::vector<one> running_;
    cell_result* results_ = nullptr;
};

/// Which instructions to kill after: all, or one out of each of so many parts.
std::vector<std::uint64_t> choose(std::uint64_t instructions, std::uint64_t sample,
                                  std::uint64_t seed) {
    std::vector<std::uint64_t> chosen;
    std::mt19937_64 random(seed);
    if (sample == 0 || sample > instructions) {
        for (std::uint64_t k = 0; k <= instructions; ++k) chosen.push_back(k);
        if (sample == 0) return chosen;
    } else {
        for (std::uint64_t i = 0; i < sample; ++i) {
            const std::uint64_t from = instructions * i / sample;
            const std::uint64_t to = std::max(instructions * (i + 1) / sample, from + 1);
            chosen.push_back(from + random() % (to - from));
        }
    }
    // If time is short, what is left out should lie everywhere.
    std::shuffle(chosen.begin(), chosen.end(), random);
    return chosen;
}

using outcomes_by_kill = std::vector<std::pair<std::string, std::uint64_t>>;
using spans = std::vector<step_report::span>;

/// Where each outcome is, in the order of instructions.
spans spans_of(outcomes_by_kill outcomes) {
    std::sort(outcomes.begin(), outcomes.end());
    spans all;
    for (const auto& [outcome, k] : outcomes) {
        if (all.empty() || all.back().outcome != outcome) all.push_back({outcome, k, k});
        all.back().last = k;
    }
    std::sort(all.begin(), all.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    return all;
}
bool changes_back(const step_report::span& before, const step_report::span& after) {
    // The same way is a few instructions longer or shorter from time to time (reading a clock is).
    constexpr std::uint64_t slack = 100;
    return before.last > after.first + slack;
}
bool changes_back(const spans& all) {
    for (std::size_t i = 1; i < all.size(); ++i)
        if (changes_back(all[i - 1], all[i])) return true;
    return false;
}
bool in_doubt(const spans& all, std::uint64_t k) {
    for (std::size_t i = 1; i < all.size(); ++i)
        if (changes_back(all[i - 1], all[i]) && k >= all[i].first && k <= all[i - 1].last)
            return true;
    return false;
}

}  // namespace

step_report step_kill(std::string operation,
                      const std::function<std::unique_ptr<step_scenario>()>& make,
                      step_options options) {
    step_report report;
    report.operation = std::move(operation);
    if (sanitized) {
        std::cout << "every instruction: " << report.operation
                  << ": not with a sanitizer, whose instructions would be counted as well\n";
        return report;
    }
    const auto begun = clock::now();
    const bool all = number_from_env("RUNNEL_STEP_ALL", 0) != 0;
    const std::uint64_t sample = all ? 0 : number_from_env("RUNNEL_STEP_SAMPLE", options.sample);
    report.seed = number_from_env("RUNNEL_SEED", std::random_device()());
    std::cout.flush();
    std::fflush(nullptr);

    outcomes_by_kill outcomes;
    bool plainly = false;
    constexpr std::size_t longest = std::size_t{1} << 20;
    auto* trace = shared_array<std::uint64_t>(longest);
    plan of{make, options, std::span(trace, longest)};
    std::vector<std::uint64_t> again;
    cells running(of, [&](std::uint64_t wanted, const cell_result& result) {
        ++report.kills;
        if (result.strayed) again.push_back(wanted);
        if (wanted == ~std::uint64_t{0}) report.instructions = result.steps;
        if (result.good) {
            // Counts compare only where the way was the same.
            const bool same_way = plainly || of.traced != 0 || wanted == ~std::uint64_t{0};
            if (!result.strayed && same_way) outcomes.emplace_back(result.text, result.steps);
            return;
        }
        ++report.violations;
        if (report.complaints.size() < 5)
            report.complaints.push_back("after instruction " + std::to_string(result.steps) +
                                        (result.completed ? " (completed)" : "") + ": " +
                                        result.text);
    });
    running.start(~std::uint64_t{0});
    running.finish();
    of.traced = std::min<std::uint64_t>(report.instructions, longest);
    // Half of the sample has to be; where one kill takes long, of a smaller one.
    const auto counted = clock::now();
    const clock::duration most = 10 * options.budget;
    const auto affordable = static_cast<std::uint64_t>(
        most * running.at_a_time() / std::max<clock::duration>(counted - begun, 1us));
    const std::vector<std::uint64_t> chosen = choose(
        report.instructions, std::min(sample, std::max(affordable, std::uint64_t{2})), report.seed);
    const std::size_t least = sample == 0 ? chosen.size() : (chosen.size() + 1) / 2;
    std::size_t started = 0;
    for (const std::uint64_t k : chosen) {
        const auto took = clock::now() - counted;
        if (sample != 0 && took > (started < least ? most : options.budget)) break;
        running.start(k);
        ++started;
    }
    running.finish();
    // Where the way was another one: without a map of it, step by step.
    of.trace = {};
    of.traced = 0;
    report.strayed = again.size();
    for (const std::uint64_t k : std::exchange(again, {})) running.start(k);
    running.finish();
    ::munmap(trace, longest * sizeof *trace);

    report.outcomes = spans_of(outcomes);
    if (options.ordered && changes_back(report.outcomes)) {
        // Where the way depends on time, a child that was not stepped all the way may have been
        // elsewhere. Those of whom it could be are killed again, with nothing but steps.
        plainly = true;
        const auto unsure = std::partition(outcomes.begin(), outcomes.end(), [&](const auto& one) {
            return !in_doubt(report.outcomes, one.second);
        });
        for (auto one = unsure; one != outcomes.end(); ++one) again.push_back(one->second);
        outcomes.erase(unsure, outcomes.end());
        report.strayed += again.size();
        for (const std::uint64_t k : again) running.start(k);
        running.finish();
        report.outcomes = spans_of(outcomes);
    }
    for (std::size_t i = 1; options.ordered && i < report.outcomes.size(); ++i) {
        const auto& before = report.outcomes[i - 1];
        const auto& after = report.outcomes[i];
        if (!changes_back(before, after)) continue;
        ++report.violations;
        report.complaints.push_back("\"" + before.outcome + "\" after \"" + after.outcome + '"');
    }
    if (started < chosen.size())
        std::cout << report.operation << ": no time for " << chosen.size() - started
                  << " of the sample\n";
    if (started < least || report.instructions == 0) {
        ++report.violations;
        report.complaints.push_back("only " + std::to_string(started) + " kills of " +
                                    std::to_string(chosen.size()));
    }
    report.took = std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - begun);
    std::cout << report << std::flush;
    return report;
}

std::ostream& operator<<(std::ostream& out, const step_report& report) {
    out << std::left << std::setw(36) << report.operation << std::right << std::setw(7)
        << report.instructions << " instructions " << std::setw(6) << report.kills << " kills "
        << std::setw(3) << report.violations << " violations  (" << report.took.count() << " ms, "
        << report.strayed << " done again, RUNNEL_SEED=" << report.seed << ")\n";
    for (const auto& s : report.outcomes)
        out << "    " << s.first << ".." << s.last << ": " << s.outcome << '\n';
    for (const std::string& c : report.complaints) out << "    VIOLATION " << c << '\n';
    return out;
}

}  // namespace runnel::test

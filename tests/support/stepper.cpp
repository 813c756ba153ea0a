// SPDX-License-Identifier: MIT
#include "support/stepper.hpp"

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <string>
#include <unordered_map>
#include <utility>

#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

namespace runnel::test {
namespace {

constexpr unsigned long tick_us = 2'000;
constexpr unsigned ticks_for_a_nudge = 2'500;

/// Interrupts waitpid at each tick, which spares a second system call per step.
void tick(bool on) {
    struct ::sigaction action{};
    action.sa_handler = [](int) {};
    ::sigaction(SIGALRM, &action, nullptr);
    ::itimerval every{};
    every.it_interval.tv_usec = every.it_value.tv_usec = on ? tick_us : 0;
    ::setitimer(ITIMER_REAL, &every, nullptr);
}

#if defined(__x86_64__)
std::uint64_t instruction_pointer(::pid_t of) {
    return static_cast<std::uint64_t>(
        ::ptrace(PTRACE_PEEKUSER, of, offsetof(::user, regs.rip), nullptr));
}
/// The length of a string instruction with its prefixes, or 0.
unsigned length_of_repeated(std::uint64_t code) {
    for (unsigned i = 0; i < 5; ++i, code >>= 8) {
        const auto byte = static_cast<unsigned>(code & 0xff);
        if (byte == 0x66 || byte == 0xf2 || byte == 0xf3 || (byte & 0xf0) == 0x40) continue;
        const bool string = (byte >= 0xa4 && byte <= 0xa7) || (byte >= 0xaa && byte <= 0xaf);
        return string ? i + 1 : 0;
    }
    return 0;
}
#endif

}  // namespace

void begin_step_window() { ::kill(::getpid(), SIGSTOP); }
void end_step_window() { ::kill(::getpid(), SIGSTOP); }

void let_parent_step() {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(98);
}

bool sleeps(::pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    std::getline(file, text);
    const std::size_t name = text.rfind(')');
    return name != text.npos && text.size() > name + 2 && text[name + 2] == 'S';
}

stepper::stepper(::pid_t child) : child_(child) { tick(true); }
stepper::~stepper() {
    kill();
    tick(false);
}

void stepper::kill() {
    if (!gone_) {
        ::kill(child_, SIGKILL);
        while (::waitpid(child_, &status_, 0) != child_ || WIFSTOPPED(status_)) {
        }
        gone_ = true;
    }
}

/// Waits until the child has stopped or ended.
bool stepper::wait(unsigned ticks) {
    for (unsigned i = 0;;) {
        const ::pid_t got = ::waitpid(child_, &status_, __WALL);
        if (got == child_) {
            gone_ = !WIFSTOPPED(status_);
            return true;
        }
        if (errno != EINTR || ++i >= ticks) return false;
    }
}

bool stepper::reach_window(unsigned ticks) {
    if (!wait(ticks) || gone_ || WSTOPSIG(status_) != SIGSTOP) return false;
    return ::ptrace(PTRACE_SETOPTIONS, child_, nullptr, PTRACE_O_EXITKILL) == 0;
}

bool stepper::go_on(unsigned ticks) {
    // The step that a child which waits is at ends with a stop of its own, once it is woken.
    if (waits_ && (!wait(ticks) || gone_)) return false;
    if (waits_ && WSTOPSIG(status_) == SIGSTOP) return true;
    waits_ = false;
    if (trapped_at_ != 0 && !lift_trap()) return false;
    if (gone_ || ::ptrace(PTRACE_CONT, child_, nullptr, nullptr) != 0) return false;
    return wait(ticks) && !gone_ && WSTOPSIG(status_) == SIGSTOP;
}

/// Lets the child run, for one instruction or until it stops, and helps it on where it waits.
/// `stepped`: it has stopped at a trap.
stepper::state stepper::resume(bool one_step, const std::function<bool()>& nudge) {
    if (::ptrace(one_step ? PTRACE_SINGLESTEP : PTRACE_CONT, child_, nullptr, nullptr) != 0)
        return state::ended;
    bool nudged = false;
    waits_ = true;
    for (unsigned waited = 0; !wait(2);) {
        if (++waited > ticks_for_a_nudge) return state::waits;
        if (nudged || !sleeps(child_) || wait(1)) continue;
        if (!sleeps(child_)) continue;
        if (!nudge()) return state::waits;
        nudged = true;
    }
    waits_ = false;
    if (gone_) return state::ended;
    if (WSTOPSIG(status_) == SIGSTOP) return state::over;
    return WSTOPSIG(status_) == SIGTRAP ? state::stepped : state::ended;
}

stepper::state stepper::step(std::uint64_t wanted, const std::function<bool()>& nudge) {
#if defined(__x86_64__)
    std::uint64_t at = instruction_pointer(child_);
    if (!recorded_.empty()) recorded_[0] = at;
#endif
    while (steps_ < wanted) {
        const state now = resume(true, nudge);
        if (now != state::stepped) return now;
        ++steps_;
#if defined(__x86_64__)
        const std::uint64_t after = instruction_pointer(child_);
        if (steps_ < recorded_.size()) recorded_[steps_] = after;
        if (after == at && steps_ != wanted && !finish_repeated(at)) return state::ended;
        at = after;
#endif
    }
    return state::stepped;
}

stepper::state stepper::jump([[maybe_unused]] std::span<const std::uint64_t> way,
                             std::uint64_t wanted, const std::function<bool()>& nudge) {
#if defined(__x86_64__)
    constexpr std::uint64_t furthest = 400;  // to step behind the breakpoint
    constexpr std::uint64_t pass = 6;        // what passing it costs, in steps
    if (wanted >= way.size()) return step(wanted, nudge);
    std::unordered_map<std::uint64_t, std::uint64_t> times;
    std::uint64_t best = 0, passes = 0, cost = wanted;
    for (std::uint64_t i = 0; i <= wanted; ++i) {
        std::uint64_t& seen = times[way[i]];
        // An instruction that repeats itself is several steps, and one breakpoint.
        const bool repeats = i + 1 < way.size() && way[i + 1] == way[i];
        seen = repeats || seen == ~std::uint64_t{0} ? ~std::uint64_t{0} : seen + 1;
        if (seen == ~std::uint64_t{0} || wanted - i > furthest) continue;
        if (pass * seen + (wanted - i) >= cost) continue;
        cost = pass * seen + (wanted - i);
        best = i;
        passes = seen;
    }
    strayed_ = true;
    const auto arrive = [&] {
        const state now = step(wanted, nudge);
        strayed_ = now != state::stepped || instruction_pointer(child_) != way[wanted];
        return now;
    };
    if (passes == 0) return arrive();
    const std::uint64_t at = way[best];
    const auto code = static_cast<std::uint64_t>(::ptrace(PTRACE_PEEKTEXT, child_, at, nullptr));
    const std::uint64_t trap = (code & ~std::uint64_t{0xff}) | 0xcc;
    for (std::uint64_t i = 0; i < passes; ++i) {
        if (!set_code(at, trap)) return state::ended;
        trapped_at_ = at;
        code_there_ = code;
        state now = resume(false, nudge);
        if (now != state::stepped) return now;
        if (!lift_trap()) return state::ended;
        if (i + 1 == passes) break;
        now = resume(true, nudge);
        if (now != state::stepped) return now;
    }
    steps_ = best;
    return arrive();
#else
    return step(wanted, nudge);
#endif
}

/// Takes the breakpoint away. A child that has just stopped there goes on with what stood there.
bool stepper::lift_trap() {
#if defined(__x86_64__)
    const std::uint64_t at = std::exchange(trapped_at_, 0);
    if (!set_code(at, code_there_)) return false;
    if (WSTOPSIG(status_) == SIGTRAP && instruction_pointer(child_) == at + 1)
        return ::ptrace(PTRACE_POKEUSER, child_, offsetof(::user, regs.rip), at) == 0;
#endif
    return true;
}

bool stepper::set_code(std::uint64_t at, std::uint64_t code) {
    return ::ptrace(PTRACE_POKETEXT, child_, at, code) == 0;
}

/// Each iteration of `rep movsb` is a step of its own, and a large copy has many. If that is what
/// stands at `at`, runs to its end.
bool stepper::finish_repeated([[maybe_unused]] std::uint64_t at) {
#if defined(__x86_64__)
    const auto peek = [&](std::uint64_t where) {
        return static_cast<std::uint64_t>(::ptrace(PTRACE_PEEKTEXT, child_, where, nullptr));
    };
    const unsigned length = length_of_repeated(peek(at));
    if (length == 0) return true;
    const std::uint64_t after = at + length;
    const std::uint64_t code = peek(after);
    ::ptrace(PTRACE_POKETEXT, child_, after, (code & ~std::uint64_t{0xff}) | 0xcc);
    ::ptrace(PTRACE_CONT, child_, nullptr, nullptr);
    if (!wait(ticks_for_a_nudge) || gone_ || WSTOPSIG(status_) != SIGTRAP) return false;
    ::ptrace(PTRACE_POKETEXT, child_, after, code);
    ::ptrace(PTRACE_POKEUSER, child_, offsetof(::user, regs.rip), after);
#endif
    return true;
}

}  // namespace runnel::test

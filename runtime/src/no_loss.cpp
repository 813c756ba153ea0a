// SPDX-License-Identifier: MIT
#include <runnel/testing/no_loss.hpp>

#include <algorithm>
#include <iomanip>
#include <ostream>

#include <runnel/io.hpp>
#include <runnel/nursery.hpp>
#include <runnel/sleep.hpp>
#include <runnel/when_all.hpp>
#include <runnel/yield.hpp>

namespace runnel::testing {
namespace detail {

void probe::failed() noexcept {
    threw = true;
    try {
        throw;
    } catch (const std::exception& e) {
        error = e.what();
    } catch (...) {
        error = "an exception that is no std::exception";
    }
}

namespace {

using namespace std::chrono_literals;

/// How the operation stands in its task.
enum class shape : std::uint8_t {
    bare,
    nested_1,
    nested_2,
    nested_3,
    raced,
    timed,
    stoppable,
    task_raced,
    task_timed,
    task_in_when_all
};
/// What carries the request to cancel.
enum class way : std::uint8_t { none, nursery, rival, stop, timeout, loop, destroy };
/// The acts of a plan.
enum class act : std::uint8_t { none, complete, cancel };
/// What lies before an act: nothing, steps of the ready list, or round trips through the ring.
constexpr int delays[] = {0, 1, 2, -1, -2, -4};  // negative: that many round trips

struct plan {
    moment_class kind;
    shape in;
    way by;
    act at_start;  // done by the task itself, just before it awaits
    act first;
    int before_first;
    act second;
    int before_second;
};

const char* name_of(shape s) {
    static const char* const names[] = {"bare",
                                        "nested 1",
                                        "nested 2",
                                        "nested 3",
                                        "in race",
                                        "in with_timeout",
                                        "in cancel_on",
                                        "task in race",
                                        "task in with_timeout",
                                        "task in when_all"};
    return names[std::size_t(s)];
}
const char* name_of(way w) {
    static const char* const names[] = {"nobody",       "nursery.cancel",  "a rival in race",
                                        "a stop_token", "with_timeout(0)", "loop.cancel",
                                        "~loop"};
    return names[std::size_t(w)];
}
const char* name_of(act a) {
    static const char* const names[] = {"nothing", "complete", "cancel"};
    return names[std::size_t(a)];
}
std::string name_of_delay(int d) {
    if (d == 0) return "";
    return (d < 0 ? std::to_string(-d) + " turns, " : std::to_string(d) + " steps, ");
}
std::string name_of(const plan& p) {
    std::string text = std::string(name_of(p.in)) + ", cancelled by " + name_of(p.by) + ": ";
    if (p.at_start != act::none) text += std::string(name_of(p.at_start)) + " before the start, ";
    text += "start";
    if (p.first != act::none) text += ", " + name_of_delay(p.before_first) + name_of(p.first);
    if (p.second != act::none) text += ", " + name_of_delay(p.before_second) + name_of(p.second);
    return text;
}

struct end_of_turn {};
task<> leave_turn() {
    throw end_of_turn();
    co_return;
}

struct stage {
    explicit stage(loop& on, probe& of, const plan& follow) : home(on), p(of), todo(follow) {}
    loop& home;
    probe& p;
    const plan& todo;
    event rival;    // the other operand of a race
    event release;  // ends what stands beside the operation
    event ended;    // the operation's task is over
    std::stop_source stop;
    nursery* inner = nullptr;
    bool cancelled = false;
    bool destroyed = false;
    bool stuck = false;

    void perform(act what) {
        if (what == act::complete && !p.completed) p.complete();
        if (what != act::cancel || cancelled) return;
        cancelled = true;
        switch (todo.by) {
            case way::none:
            case way::timeout: break;
            case way::nursery:
                if (inner != nullptr) inner->cancel();
                break;
            case way::rival: rival.set(); break;
            case way::stop: stop.request_stop(); break;
            case way::loop: home.cancel(); break;
            case way::destroy:
                // The error of a root task comes out of run() at the end of the turn.
                destroyed = true;
                home.start(leave_turn);
                break;
        }
    }
};

task<> nest(probe& p, int depth) {
    const int below = depth - 1;
    if (below == 0)
        co_await p.bare();
    else
        co_await nest(p, below);
}

task<> victim(stage& s) {
    probe& p = s.p;
    switch (s.todo.in) {
        case shape::bare: co_await p.bare(); break;
        case shape::nested_1: co_await nest(p, 1); break;
        case shape::nested_2: co_await nest(p, 2); break;
        case shape::nested_3: co_await nest(p, 3); break;
        case shape::raced: co_await p.raced(s.rival); break;
        case shape::timed: co_await p.timed(s.todo.by == way::timeout ? 0ns : 1h); break;
        case shape::stoppable: co_await p.stoppable(s.stop.get_token()); break;
        case shape::task_raced: co_await race(p.bare(), s.rival.wait()); break;
        case shape::task_timed: co_await with_timeout(p.bare(), 1h); break;
        case shape::task_in_when_all: co_await when_all(p.bare(), s.release.wait()); break;
    }
}

task<> arena(stage& s) {
    struct at_end {
        ~at_end() {
            s.inner = nullptr;
            s.ended.set();
        }
        stage& s;
    } const guard{s};
    co_await open_nursery([&](nursery& n) -> task<> {
        s.inner = &n;
        n.start(victim, std::ref(s));
        co_return;
    });
}

task<> pass(int delay) {
    const int rounds = delay < 0 ? -delay : delay;
    for (int i = 0; i < rounds; ++i) {
        if (delay < 0)
            co_await io::nop();
        else
            co_await yield();
    }
}

task<> conduct(stage& s) {
    const plan& todo = s.todo;
    s.p.before = [&s] { s.perform(s.todo.at_start); };
    co_await open_nursery([&](nursery& n) -> task<> {
        n.start(arena, std::ref(s));
        for (int i = 0; i < 8 && s.p.begun == 0; ++i) co_await yield();
        co_await pass(todo.before_first);
        s.perform(todo.first);
        co_await pass(todo.before_second);
        s.perform(todo.second);
        if (s.destroyed) co_await s.release.wait();
        // What has not ended by now is completed, so that no moment lasts for ever.
        for (int i = 0; i < 12 && !s.p.ended; ++i) co_await io::nop();
        if (!s.p.completed) s.perform(act::complete);
        s.release.set();
        const bool done = co_await with_timeout(s.ended.wait(), 10s);
        if (!done) s.stuck = true;
    });
}

void add_plans(std::vector<plan>& all, shape in, way by, bool completes_itself) {
    const auto add = [&](moment_class kind, act at_start, act first, int before_first,
                         act second = act::none, int before_second = 0) {
        if (completes_itself && (at_start == act::complete)) return;
        all.push_back({kind, in, by, at_start, first, before_first, second, before_second});
    };
    using enum act;
    if (by == way::none) {
        add(moment_class::complete, complete, none, 0);
        for (const int d : delays) add(moment_class::complete, none, complete, d);
        return;
    }
    if (by == way::timeout) {
        add(moment_class::timeout, complete, none, 0);
        add(moment_class::timeout, none, none, 0);
        for (const int d : delays) add(moment_class::timeout, none, complete, d);
        return;
    }
    if (by == way::destroy) {
        add(moment_class::destroyed, complete, cancel, 0);
        for (const int d : delays) {
            add(moment_class::destroyed, none, cancel, d);
            add(moment_class::destroyed, none, complete, d, cancel, 0);
            add(moment_class::destroyed, none, complete, d, cancel, -1);
        }
        return;
    }
    const bool ready_rival = by == way::rival;
    const auto at_once = ready_rival ? moment_class::rival : moment_class::cancel;
    add(at_once, cancel, none, 0);
    for (const int d : delays) add(at_once, cancel, complete, d);
    add(moment_class::complete_cancel, complete, cancel, 0);
    for (const int first : {0, 1, -1, -2}) {
        add(moment_class::cancel, none, cancel, first);
        for (const int second : delays) {
            add(moment_class::complete_cancel, none, complete, first, cancel, second);
            add(moment_class::cancel_complete, none, cancel, first, complete, second);
        }
    }
}

std::vector<plan> all_plans(bool completes_itself) {
    std::vector<plan> all;
    const auto add = [&](shape in, way by) { add_plans(all, in, by, completes_itself); };
    for (const shape each : {shape::bare, shape::nested_1, shape::nested_2, shape::nested_3,
                             shape::raced, shape::timed, shape::stoppable, shape::task_raced,
                             shape::task_timed, shape::task_in_when_all}) {
        add(each, way::none);
        add(each, way::nursery);
    }
    add(shape::raced, way::rival);
    add(shape::task_raced, way::rival);
    add(shape::stoppable, way::stop);
    add(shape::timed, way::timeout);
    add(shape::bare, way::loop);
    add(shape::bare, way::destroy);
    add(shape::nested_2, way::destroy);
    add(shape::raced, way::destroy);
    return all;
}

/// Runs one plan to its end, or to the turn in which the loop is to be destroyed.
void run_plan(loop& home, stage& s) {
    home.start(conduct, std::ref(s));
    try {
        home.run();
    } catch (const end_of_turn&) {
    }
}

std::string judge(const stage& s, const probe_kind& kind) {
    probe& p = s.p;
    if (s.stuck) return "it never ended";
    if (p.threw) return "it threw: " + p.error;
    if (p.begun != p.ended) return "a frame was not destroyed";
    if (p.delivered > 1) return "it was delivered twice";
    if (s.todo.by == way::none && p.delivered == 0) return "it completed and was not delivered";
    if (p.delivered != 0 && !p.completed && !kind.completes_itself)
        return "it was delivered and has not been completed";
    if (!p.balanced())
        return p.delivered != 0 ? "it was delivered, and is still there"
                                : "it was cancelled, and something is lost";
    return "";
}

}  // namespace
}  // namespace detail

void no_loss::run(std::string name, const detail::probe_kind& kind) {
    row& mine = rows_.emplace_back();
    mine.name = std::move(name);
    const std::vector<detail::plan> plans = detail::all_plans(kind.completes_itself);
    for (int seed = 0; seed <= options_.seeds; ++seed) {
        loop_options options;
        options.entries = options_.entries;
        if (seed != 0)
            options.chaos.seed = options_.first_seed + static_cast<std::uint64_t>(seed) - 1;
        std::optional<loop> home;
        for (const detail::plan& each : plans) {
            const bool destroys = each.by == detail::way::destroy;
            // There whoever completes is cancelled, too: what only a completion ends comes first.
            const bool cancels_all = destroys || each.by == detail::way::loop;
            const bool completed_first =
                each.at_start == detail::act::complete ||
                (each.at_start == detail::act::none && each.first == detail::act::complete);
            if (!kind.cancellable && cancels_all && !completed_first) continue;
            const std::unique_ptr<detail::probe> p = kind.make();
            if (!home || destroys) home.emplace(options);
            detail::stage s(*home, *p, each);
            detail::run_plan(*home, s);
            if (destroys || s.stuck) home.reset();
            const std::string wrong = detail::judge(s, kind);
            if (!wrong.empty()) {
                problems_.push_back(
                    mine.name + ": " + detail::name_of(each) +
                    (seed != 0 ? ", chaos seed " + std::to_string(options.chaos.seed) : "") + ": " +
                    wrong);
            }
            cell& of = mine.cells[std::size_t(each.kind)];
            ++(p->delivered != 0 ? of.delivered : of.cancelled);
        }
    }
}

bool no_loss::complete() const noexcept {
    for (const row& each : rows_)
        for (const cell& c : each.cells)
            if (c.delivered + c.cancelled == 0) return false;
    return !rows_.empty();
}

std::size_t no_loss::runs() const noexcept {
    std::size_t all = 0;
    for (const row& each : rows_)
        for (const cell& c : each.cells) all += c.delivered + c.cancelled;
    return all;
}

std::ostream& operator<<(std::ostream& out, const no_loss& proof) {
    static const char* const columns[] = {"complete",        "cancel",  "complete>cancel",
                                          "cancel>complete", "timeout", "ready rival",
                                          "destroyed"};
    std::size_t width = 10;
    for (const auto& each : proof.rows_) width = std::max(width, each.name.size() + 2);
    out << std::left << std::setw(int(width)) << "awaitable";
    for (const char* each : columns) out << std::setw(17) << each;
    out << '\n';
    for (const auto& each : proof.rows_) {
        out << std::setw(int(width)) << each.name;
        for (const auto& c : each.cells)
            out << std::setw(17)
                << (c.delivered + c.cancelled == 0
                        ? std::string("-")
                        : std::to_string(c.delivered) + "d " + std::to_string(c.cancelled) + "c");
        out << '\n';
    }
    out << proof.runs() << " runs, " << proof.problems_.size() << " problems"
        << " (d delivered, c cancelled)\n";
    constexpr std::size_t most = 20;
    for (std::size_t i = 0; i < proof.problems_.size() && i < most; ++i)
        out << "  " << proof.problems_[i] << '\n';
    if (proof.problems_.size() > most) out << "  ...\n";
    return out << std::right;
}

}  // namespace runnel::testing

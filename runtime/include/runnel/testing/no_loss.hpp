// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <runnel/cancel_on.hpp>
#include <runnel/event.hpp>
#include <runnel/loop.hpp>
#include <runnel/race.hpp>
#include <runnel/task.hpp>
#include <runnel/with_timeout.hpp>

/// Proves of an awaitable that a cancellation loses nothing: *cancelled XOR delivered*, at every
/// moment at which the two can meet. What it takes is a scenario, made afresh for each moment:
///
///     // A user's own awaitable: take() waits for a ticket.
///     struct take_ticket {
///         ticket_box box;
///         auto operation() { return box.take(); }
///         // The act which lets it complete; absent if it completes by itself.
///         void complete() { box.put(); }
///         // Afterwards: is everything where it must be? The result is still alive. Optional.
///         bool balanced(bool delivered) { return box.left() + delivered == puts; }
///     };
///
///     testing::no_loss proof;
///     proof.put<take_ticket>("ticket_box.take");
///     std::cout << proof;                   // a line for each awaitable, a column for each class
///     assert(proof.problems().empty());     // what went wrong, and at which moment
///
/// Each scenario runs on the thread of the caller, on loops of the harness: plain ones, and chaos
/// loops with several seeds. Everything else that a scenario may say is in `scenario_traits`.
namespace runnel::testing {

/// Which moments there are: the completion against the cancellation.
enum class moment_class : std::uint8_t {
    complete,         ///< completed before the start or later, never cancelled: is delivered
    cancel,           ///< cancelled before the start or later, completed long afterwards if at all
    complete_cancel,  ///< completed, then cancelled: in the same turn, or some later
    cancel_complete,  ///< cancelled, then completed: in the same turn, or some later
    timeout,          ///< with_timeout of zero, completed before, at or after it
    rival,            ///< raced against an operand that is ready at once
    destroyed,        ///< the loop is destroyed while it waits, before or after the completion
    count
};

/// What a scenario may say about itself with static members of these names.
template <class S>
struct scenario_traits {
    /// False: a request to cancel does not end the wait (shield); it is completed first where
    /// nothing else would end it.
    static constexpr bool cancellable = [] {
        if constexpr (requires { S::cancellable; })
            return bool(S::cancellable);
        else
            return true;
    }();
    /// Where the scenario has no complete(), the operation completes by itself.
    static constexpr bool completes_itself = !requires(S& s) { s.complete(); };
};

struct no_loss_options {
    int seeds = 3;                 ///< how many chaos loops, besides the plain one
    std::uint64_t first_seed = 1;  ///< the others follow it
    unsigned entries = 256;        ///< of each loop's ring
};

namespace detail {

/// One run of a scenario, for the compiled part.
class probe {
public:
    probe() = default;
    probe(const probe&) = delete;
    probe& operator=(const probe&) = delete;
    virtual ~probe() = default;

    virtual task<> bare() = 0;
    virtual task<> raced(event& rival) = 0;
    virtual task<> timed(std::chrono::nanoseconds limit) = 0;
    virtual task<> stoppable(std::stop_token token) = 0;
    virtual void complete() = 0;
    virtual bool balanced() = 0;

    std::function<void()> before;  // called by the task, just before it awaits the operation
    int begun = 0;
    int ended = 0;  // destructors of a local beside the operation
    int delivered = 0;
    bool completed = false;
    bool threw = false;
    std::string error;

protected:
    struct mark {
        explicit mark(probe& of) : of_(of) {
            ++of.begun;
            if (of.before) of.before();
        }
        mark(const mark&) = delete;
        mark& operator=(const mark&) = delete;
        ~mark() { ++of_.ended; }
        probe& of_;
    };
    void failed() noexcept;
};

struct probe_kind {
    bool cancellable;
    bool completes_itself;
    std::unique_ptr<probe> (*make)();
};

template <class S>
class scenario_probe final : public probe {
    using description = decltype(std::declval<S&>().operation());
    using value = runnel::detail::await_value_t<description>;
    using stored = std::conditional_t<
        std::is_void_v<value>, bool,
        std::conditional_t<std::is_reference_v<value>, std::remove_reference_t<value>*, value>>;

    // Movable operations are handed over, pinned awaiters are named.
    static decltype(auto) pass(description& made) {
        if constexpr (std::is_move_constructible_v<description>)
            return std::move(made);
        else
            return (made);
    }
    template <class V>
    void keep(V&& got) {
        if constexpr (std::is_reference_v<value>)
            result_.emplace(&static_cast<value>(got));
        else
            result_.emplace(std::forward<V>(got));
        ++delivered;
    }

public:
    task<> bare() override {
        const mark here(*this);
        auto made = scenario_.operation();
        try {
            if constexpr (std::is_void_v<value>) {
                co_await pass(made);
                keep(true);
            } else {
                keep(co_await pass(made));
            }
        } catch (...) {
            failed();
        }
    }
    task<> raced(event& rival) override {
        const mark here(*this);
        auto made = scenario_.operation();
        try {
            auto got = co_await race(pass(made), rival.wait());
            take(std::get<0>(got));
        } catch (...) {
            failed();
        }
    }
    task<> timed(std::chrono::nanoseconds limit) override {
        const mark here(*this);
        auto made = scenario_.operation();
        try {
            auto got = co_await with_timeout(pass(made), limit);
            take(got);
        } catch (...) {
            failed();
        }
    }
    task<> stoppable(std::stop_token token) override {
        const mark here(*this);
        auto made = scenario_.operation();
        try {
            auto got = co_await cancel_on(token, pass(made));
            take(got);
        } catch (...) {
            failed();
        }
    }
    void complete() override {
        completed = true;
        if constexpr (!scenario_traits<S>::completes_itself) scenario_.complete();
    }
    bool balanced() override {
        if constexpr (requires { scenario_.balanced(true); })
            return scenario_.balanced(delivered != 0);
        else
            return true;
    }
    static std::unique_ptr<probe> make() { return std::make_unique<scenario_probe>(); }

private:
    // What a race gives is an outcome, what a timeout gives an optional, or a bool.
    template <class G>
    void take(G& got) {
        if (!got) return;
        if constexpr (std::is_void_v<value>) {
            if constexpr (!std::is_same_v<G, bool>) *got;
            keep(true);
        } else if constexpr (std::is_reference_v<value>) {
            keep(static_cast<std::remove_reference_t<value>&>(*got));
        } else {
            keep(*std::move(got));
        }
    }
    S scenario_;
    std::optional<stored> result_;
};

}  // namespace detail

/// The harness: runs scenarios, and keeps the table of what came of them.
class no_loss {
public:
    explicit no_loss(no_loss_options options = {}) : options_(options) {}

    /// Runs scenario S, which is default-constructible, at every moment.
    template <class S>
        requires std::default_initializable<S>
    void put(std::string name) {
        run(std::move(name), {scenario_traits<S>::cancellable, scenario_traits<S>::completes_itself,
                              &detail::scenario_probe<S>::make});
    }

    /// What is wrong, a line each: the awaitable, the moment, the seed, and what happened.
    [[nodiscard]] const std::vector<std::string>& problems() const noexcept { return problems_; }
    /// Each awaitable has been through each class of moments.
    [[nodiscard]] bool complete() const noexcept;
    /// How many runs there were.
    [[nodiscard]] std::size_t runs() const noexcept;
    /// The table: in each cell, how often it was delivered, and how often cancelled.
    friend std::ostream& operator<<(std::ostream& out, const no_loss& proof);

private:
    struct cell {
        std::size_t delivered = 0;
        std::size_t cancelled = 0;
    };
    struct row {
        std::string name;
        cell cells[std::size_t(moment_class::count)];
    };
    void run(std::string name, const detail::probe_kind& kind);

    no_loss_options options_;
    std::vector<row> rows_;
    std::vector<std::string> problems_;
};

}  // namespace runnel::testing

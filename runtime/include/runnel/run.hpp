// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include <runnel/loop.hpp>
#include <runnel/outcome.hpp>
#include <runnel/task.hpp>

namespace runnel {
namespace detail {

template <class T>
task<> keep_outcome(task<T> main, std::optional<outcome<T>>& into) {
    try {
        if constexpr (std::is_void_v<T>) {
            co_await std::move(main);
            into.emplace(std::in_place);
        } else {
            into.emplace(std::in_place, co_await std::move(main));
        }
    } catch (...) {
        into.emplace(std::current_exception());
    }
}

/// Runs `l` until `main` has ended and set `ended`; a SIGINT cancels it. True if one came.
bool run_main(loop& l, task<> main, bool& ended);
/// Ends the process by SIGINT, as if nothing had caught it.
[[noreturn]] void die_of_interrupt() noexcept;

}  // namespace detail

/// Makes a loop, runs `main` on it to its end, and gives its value or throws its error: the whole
/// of most programs.
///
///     int main() { return run(count_words("words.txt")); }
///
/// If SIGINT has its default disposition, the first one cancels `main`, which unwinds it; if it
/// ends cancelled, the process dies of SIGINT, as its parent expects. A second one kills at once.
/// Errors that nobody can catch are written to stderr, unless on_error is set on loop::current().
/// Throws std::runtime_error if `main` was cancelled otherwise.
template <class T>
T run(task<T> main, loop_options options = {}) {
    std::optional<outcome<T>> end;
    bool interrupted = false;
    bool ended = false;  // outlives the loop, which may cancel main
    {
        loop l(options);
        interrupted = detail::run_main(l, detail::keep_outcome(std::move(main), end), ended);
    }
    if (!end) {
        if (interrupted) detail::die_of_interrupt();
        throw std::runtime_error("run on loop: the main task was cancelled");
    }
    if constexpr (std::is_void_v<T>)
        **end;
    else
        return **std::move(end);
}

/// The same for a callable without arguments that returns a task; it is kept until the end.
template <class F>
    requires(!detail::is_task<std::remove_cvref_t<F>>)
decltype(auto) run(F&& main, loop_options options = {}) {
    using callable = std::decay_t<F>;
    if constexpr (!std::is_invocable_v<callable&>) {
        static_assert(std::is_invocable_v<callable&>,
                      "run takes a task, run(f(1, 2)), or what returns one when called without "
                      "arguments, run([&]() -> task<int> { ... })");
    } else if constexpr (!detail::is_task<std::invoke_result_t<callable&>>) {
        static_assert(detail::is_task<std::invoke_result_t<callable&>>,
                      "run: the function does not return a task: write -> task<> or -> task<T>");
    } else {
        callable kept(std::forward<F>(main));
        return run(std::invoke(kept), options);
    }
}
/// A task has one owner: write run(std::move(t)).
template <class T>
T run(task<T>& write_std_move, loop_options options = {}) = delete;

}  // namespace runnel

// SPDX-License-Identifier: MIT
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <runnel/detail/tuple_group.hpp>
#include <runnel/outcome.hpp>

namespace runnel {
namespace detail {

template <class... D>
class race_await final : public tuple_group<group::rule::first_completed, D...> {
public:
    using tuple_group<group::rule::first_completed, D...>::tuple_group;

    std::tuple<outcome<typename operand<D>::value_type>...> await_resume() {
        return std::apply(
            [](auto&... each) {
                std::tuple<outcome<typename operand<D>::value_type>...> all(take_outcome(each)...);
                std::apply([](auto&... got) { throw_if_all_failed(got...); }, all);
                return all;
            },
            this->operands_);
    }

private:
    // Nothing is kept but errors: the race as a whole has failed, with the first of them.
    template <class... O>
    static void throw_if_all_failed(const O&... outcomes) {
        if ((outcomes.has_value() || ...)) return;
        std::vector<std::exception_ptr> errors;
        ((outcomes.error() ? errors.push_back(outcomes.error()) : void()), ...);
        rethrow_first(std::move(errors));
    }
};

template <class D>
class race_range_await final : public range_group<group::rule::first_completed, D> {
public:
    using range_group<group::rule::first_completed, D>::range_group;

    std::vector<outcome<typename operand<D>::value_type>> await_resume() {
        std::vector<outcome<typename operand<D>::value_type>> all;
        all.reserve(this->operands().size());
        bool any_value = false;
        std::vector<std::exception_ptr> errors;
        for (auto& each : this->operands()) {
            all.push_back(take_outcome(each));
            any_value |= all.back().has_value();
            if (all.back().error()) errors.push_back(all.back().error());
        }
        if (!any_value) rethrow_first(std::move(errors));
        return all;
    }
};

}  // namespace detail

/// Waits until one of the operands has completed, with a value or an error, then cancels the others
/// and waits until they have ended. Operands are tasks, operations or other awaitables; temporaries
/// are taken over, named ones are referred to (and tasks used up).
///
/// Gives a tuple with an outcome for each operand, in order. *Every* result that there is is kept:
/// more than one can be there, when they completed together or while being cancelled, so look with
/// one `if` for each, not with `else if`. An outcome is empty if its operand was cancelled. If all
/// that completed have failed, the first error is thrown (see suppressed_errors for the others).
///
/// Cancellation: atomic if all operands are: cancelled means that none of them had an effect.
template <class... A>
    requires(sizeof...(A) > 0 && (detail::operable<A> && ...))
auto race(A&&... operands) {
    return detail::tuple_operation<detail::race_await, detail::described<A>...>(
        std::forward<A>(operands)...);
}

/// For everything else a reason why not.
template <class... A>
    requires(sizeof...(A) > 0 && !(detail::operable<A> && ...))
auto race(A&&...) {
    static_assert(detail::explain_operands<A...>());
    return detail::refused();
}

/// race for a number of operands that is known at run time; gives a vector of outcomes. An empty
/// range gives an empty vector at once.
template <class A>
    requires detail::operable<A>
auto race(std::vector<A> operands) {
    return detail::range_operation<detail::race_range_await, A>(std::move(operands));
}

}  // namespace runnel

// SPDX-License-Identifier: MIT
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <runnel/detail/tuple_group.hpp>
#include <runnel/outcome.hpp>

namespace runnel {
namespace detail {

template <class... D>
class when_all_await final : public tuple_group<group::rule::first_error, D...> {
public:
    using tuple_group<group::rule::first_error, D...>::tuple_group;
    static constexpr bool is_atomic = false;

    std::tuple<stored<typename operand<D>::value_type>...> await_resume() {
        return std::apply(
            [this](auto&... each) {
                this->rethrow_error();
                return std::tuple<stored<typename operand<D>::value_type>...>(take_value(each)...);
            },
            this->operands_);
    }
};

template <class D>
class when_all_range_await final : public range_group<group::rule::first_error, D> {
public:
    using range_group<group::rule::first_error, D>::range_group;
    static constexpr bool is_atomic = false;

    std::vector<stored<typename operand<D>::value_type>> await_resume() {
        this->rethrow_error();
        std::vector<stored<typename operand<D>::value_type>> all;
        all.reserve(this->operands().size());
        for (auto& each : this->operands()) all.push_back(take_value(each));
        return all;
    }
};

template <class... D>
class settled_await final : public tuple_group<group::rule::none, D...> {
public:
    using tuple_group<group::rule::none, D...>::tuple_group;
    static constexpr bool is_atomic = false;

    std::tuple<outcome<typename operand<D>::value_type>...> await_resume() {
        return std::apply(
            [](auto&... each) {
                return std::tuple<outcome<typename operand<D>::value_type>...>(
                    take_outcome(each)...);
            },
            this->operands_);
    }
};

template <class D>
class settled_range_await final : public range_group<group::rule::none, D> {
public:
    using range_group<group::rule::none, D>::range_group;
    static constexpr bool is_atomic = false;

    std::vector<outcome<typename operand<D>::value_type>> await_resume() {
        std::vector<outcome<typename operand<D>::value_type>> all;
        all.reserve(this->operands().size());
        for (auto& each : this->operands()) all.push_back(take_outcome(each));
        return all;
    }
};

}  // namespace detail

/// Runs all operands side by side and waits for all of them. Gives a tuple of their values, with
/// std::monostate for one without a value. The first error cancels the others and is thrown once
/// they have ended (see suppressed_errors for later ones).
///
/// Operands are tasks, operations or other awaitables; temporaries are taken over, named ones are
/// referred to (and tasks used up). Cancellation: composed; all operands are cancelled.
template <class... A>
    requires(detail::operable<A> && ...)
auto when_all(A&&... operands) {
    return detail::tuple_operation<detail::when_all_await, detail::described<A>...>(
        std::forward<A>(operands)...);
}

/// For everything else a reason why not.
template <class... A>
    requires(!(detail::operable<A> && ...))
auto when_all(A&&...) {
    static_assert(detail::explain_operands<A...>());
    return detail::refused();
}

/// when_all for a number of operands that is known at run time; gives a vector of values.
template <class A>
    requires detail::operable<A>
auto when_all(std::vector<A> operands) {
    return detail::range_operation<detail::when_all_range_await, A>(std::move(operands));
}

/// Runs all operands side by side and waits for all of them, whatever they end with: no error
/// cancels the others, none is thrown. Gives a tuple of outcomes, none of them empty.
/// Cancellation: composed; all operands are cancelled.
template <class... A>
    requires(detail::operable<A> && ...)
auto when_all_settled(A&&... operands) {
    return detail::tuple_operation<detail::settled_await, detail::described<A>...>(
        std::forward<A>(operands)...);
}

/// For everything else a reason why not.
template <class... A>
    requires(!(detail::operable<A> && ...))
auto when_all_settled(A&&...) {
    static_assert(detail::explain_operands<A...>());
    return detail::refused();
}

/// when_all_settled for a number of operands that is known at run time; gives a vector of outcomes.
template <class A>
    requires detail::operable<A>
auto when_all_settled(std::vector<A> operands) {
    return detail::range_operation<detail::settled_range_await, A>(std::move(operands));
}

}  // namespace runnel

// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include <runnel/detail/combine.hpp>

namespace runnel::detail {

/// The operands of a variadic combinator.
template <group::rule Rule, class... D>
class tuple_group : public group {
public:
    static constexpr bool is_atomic = sizeof...(D) > 0 && (operand<D>::is_atomic && ...);

    explicit tuple_group(std::tuple<D...>& descriptions)
        : tuple_group(descriptions, std::index_sequence_for<D...>()) {}

    bool await_ready() noexcept { return group_ready(all_); }
    bool await_suspend(waiter up) noexcept { return group_suspend(all_, up); }
    cancellation await_cancel() noexcept { return group_cancel(all_); }
    void await_dump(dump_sink& sink) const { group_dump(all_, sink); }

protected:
    std::tuple<operand<D>...> operands_;

private:
    template <std::size_t... I>
    tuple_group(std::tuple<D...>& from, std::index_sequence<I...>)
        : group(Rule), operands_(std::get<I>(from)...), all_{&std::get<I>(operands_)...} {}
    std::exception_ptr error_of(operand_base& which) noexcept final {
        std::exception_ptr found;
        auto look = [&](auto& each) {
            if (static_cast<operand_base*>(&each) == &which) found = each.error();
        };
        std::apply([&](auto&... each) { (look(each), ...); }, operands_);
        return found;
    }
    std::span<operand_base* const> members() noexcept final { return all_; }
    std::array<operand_base*, sizeof...(D)> all_;
};

/// The operands of a combinator over a range: one array, allocated once.
template <group::rule Rule, class D>
class range_group : public group {
public:
    static constexpr bool is_atomic = operand<D>::is_atomic;

    explicit range_group(std::vector<D>& descriptions)
        : group(Rule),
          count_(0),
          operands_(std::allocator<operand<D>>().allocate(descriptions.size())),
          capacity_(descriptions.size()) {
        all_.reserve(capacity_);
        try {
            for (D& each : descriptions) {
                all_.push_back(std::construct_at(operands_ + count_, each));
                ++count_;
            }
        } catch (...) {
            clear();
            throw;
        }
    }
    ~range_group() { clear(); }

    bool await_ready() noexcept { return count_ == 0 || group_ready(all_); }
    bool await_suspend(waiter up) noexcept { return group_suspend(all_, up); }
    cancellation await_cancel() noexcept { return group_cancel(all_); }
    void await_dump(dump_sink& sink) const { group_dump(all_, sink); }

protected:
    std::span<operand<D>> operands() noexcept { return {operands_, count_}; }

private:
    std::exception_ptr error_of(operand_base& which) noexcept final {
        return static_cast<operand<D>&>(which).error();
    }
    std::span<operand_base* const> members() noexcept final { return all_; }
    void clear() noexcept {
        std::destroy_n(operands_, count_);
        std::allocator<operand<D>>().deallocate(operands_, capacity_);
    }
    std::size_t count_;
    operand<D>* operands_;
    std::size_t capacity_;
    std::vector<operand_base*> all_;
};

/// What when_all and its like return: the operands, until they are awaited.
template <template <class...> class Awaiter, class... D>
class [[nodiscard]] tuple_operation {
public:
    explicit tuple_operation(D... operands) : operands_(std::forward<D>(operands)...) {}
    auto operator co_await() { return Awaiter<D...>(operands_); }

private:
    std::tuple<D...> operands_;
};

template <template <class> class Awaiter, class D>
class [[nodiscard]] range_operation {
public:
    explicit range_operation(std::vector<D> operands) : operands_(std::move(operands)) {}
    auto operator co_await() { return Awaiter<D>(operands_); }

private:
    std::vector<D> operands_;
};

}  // namespace runnel::detail

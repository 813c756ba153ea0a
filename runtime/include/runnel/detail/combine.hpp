// SPDX-License-Identifier: MIT
#pragma once

#include <exception>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <runnel/detail/operand.hpp>
#include <runnel/suppressed_errors.hpp>

// The compiled part of race and when_all: one body for all types and counts of operands.

namespace runnel::detail {

/// Waits for all operands; `decides` says which completion cancels the others.
class group : public combinator {
public:
    enum class rule : unsigned char { first_completed, first_error, none };

    explicit group(rule decides) noexcept : decides_(decides) {}
    waiter upward() const noexcept final { return up_; }
    bool side_by_side() const noexcept final { return true; }

protected:
    ~group() = default;
    bool group_ready(std::span<operand_base* const> all) noexcept;
    bool group_suspend(std::span<operand_base* const> all, waiter up) noexcept;
    cancellation group_cancel(std::span<operand_base* const> all) noexcept;
    void group_dump(std::span<operand_base* const> all, dump_sink& sink) const;

    virtual std::span<operand_base* const> members() noexcept = 0;
    /// What `which`, which is done, ended with: an error or null. Only under rule::first_error.
    virtual std::exception_ptr error_of(operand_base& which) noexcept = 0;

    /// Throws the error that came first, if there is any.
    void rethrow_error();

private:
    void settled(operand_base& which) noexcept final;
    void completed(operand_base& which) noexcept;
    void stop_all() noexcept;

    waiter up_;
    operand_base* first_failed_ = nullptr;
    std::size_t open_ = 0;
    rule decides_;
    bool decided_ = false;  // the rule has struck, or cancellation was asked for
    bool starting_ = false;
    bool asked_ = false;
};

template <class T>
using stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class D>
stored<typename operand<D>::value_type> take_value(operand<D>& from) {
    if constexpr (std::is_void_v<typename operand<D>::value_type>) {
        from.take();
        return {};
    } else {
        return from.take();
    }
}

/// Rethrows the first error in `errors`, if any, and keeps the others for suppressed_errors().
void rethrow_first(std::vector<std::exception_ptr>&& errors);

}  // namespace runnel::detail

// SPDX-License-Identifier: MIT
#pragma once

#include <exception>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <variant>

namespace runnel {

/// How an operation in a race or in when_all_settled ended: it completed with a value, it
/// completed with an error, or it is empty: it did not complete, and was cancelled.
///
///     auto got = co_await race(con.recv(), sleep_for(1s));
///     if (auto& message = std::get<0>(got)) use(*message);
template <class T>
class outcome {
    using held = std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, T>;

public:
    using value_type = T;
    /// One that did not complete.
    outcome() noexcept = default;
    /// One that completed with `value`.
    template <class U>
    explicit outcome(std::in_place_t, U&& value) : held_(std::in_place_index<1>, wrap<U>(value)) {}
    /// One that completed with an error.
    explicit outcome(std::exception_ptr error) noexcept
        : held_(std::in_place_index<2>, std::move(error)) {}

    /// It completed, with a value or an error.
    [[nodiscard]] explicit operator bool() const noexcept { return held_.index() != 0; }
    /// It completed with a value.
    [[nodiscard]] bool has_value() const noexcept { return held_.index() == 1; }
    /// What it threw; null unless it completed with an error.
    [[nodiscard]] std::exception_ptr error() const noexcept {
        return held_.index() == 2 ? *std::get_if<2>(&held_) : nullptr;
    }
    /// The value, or throws the error; std::logic_error when empty.
    std::remove_reference_t<T>& operator*() & { return get(); }
    const std::remove_reference_t<T>& operator*() const& {
        return const_cast<outcome*>(this)->get();
    }
    T&& operator*() && { return static_cast<T&&>(get()); }
    std::remove_reference_t<T>* operator->() { return &get(); }
    const std::remove_reference_t<T>* operator->() const {
        return &const_cast<outcome*>(this)->get();
    }

private:
    template <class U>
    static decltype(auto) wrap(std::remove_reference_t<U>& value) {
        if constexpr (std::is_reference_v<T>)
            return &value;
        else
            return std::forward<U>(value);
    }
    std::remove_reference_t<T>& get() {
        if (held_.index() == 2) std::rethrow_exception(*std::get_if<2>(&held_));
        if (held_.index() == 0) throw std::logic_error("outcome: the operation did not complete");
        if constexpr (std::is_reference_v<T>)
            return **std::get_if<1>(&held_);
        else
            return *std::get_if<1>(&held_);
    }
    std::variant<std::monostate, held, std::exception_ptr> held_;
};

/// The same for an operation without a value: completed, with an error or without.
template <>
class outcome<void> {
public:
    using value_type = void;
    outcome() noexcept = default;
    explicit outcome(std::in_place_t) noexcept : completed_(true) {}
    explicit outcome(std::exception_ptr error) noexcept
        : completed_(true), error_(std::move(error)) {}

    [[nodiscard]] explicit operator bool() const noexcept { return completed_; }
    [[nodiscard]] bool has_value() const noexcept { return completed_ && !error_; }
    [[nodiscard]] std::exception_ptr error() const noexcept { return error_; }
    /// Throws the error; std::logic_error if it did not complete.
    void operator*() const {
        if (error_) std::rethrow_exception(error_);
        if (!completed_) throw std::logic_error("outcome: the operation did not complete");
    }

private:
    bool completed_ = false;
    std::exception_ptr error_;
};

}  // namespace runnel

// SPDX-License-Identifier: MIT
#pragma once

#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

namespace runnel {

/// A value or the std::error_code of why there is none: what as_result gives, for code that does
/// not want exceptions. Converts to true when there is a value.
template <class T>
class [[nodiscard]] result {
public:
    using value_type = T;
    /// A success.
    result(T value) : held_(std::in_place_index<0>, std::move(value)) {}
    /// A failure.
    result(std::error_code error) noexcept : held_(std::in_place_index<1>, error) {}

    /// Is there a value?
    [[nodiscard]] explicit operator bool() const noexcept { return held_.index() == 0; }
    [[nodiscard]] bool has_value() const noexcept { return held_.index() == 0; }
    /// The error; a default error_code when there is a value.
    [[nodiscard]] std::error_code error() const noexcept {
        return has_value() ? std::error_code() : *std::get_if<1>(&held_);
    }
    /// The value, or throws std::system_error with the error.
    T& value() & { return check(), *std::get_if<0>(&held_); }
    const T& value() const& { return check(), *std::get_if<0>(&held_); }
    T&& value() && { return check(), std::move(*std::get_if<0>(&held_)); }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T&& operator*() && { return std::move(*this).value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }

private:
    void check() const {
        if (!has_value()) throw std::system_error(error());
    }
    std::variant<T, std::error_code> held_;
};

/// Success, or an error.
template <>
class [[nodiscard]] result<void> {
public:
    using value_type = void;
    result() noexcept = default;
    result(std::error_code error) noexcept : error_(error) {}

    [[nodiscard]] explicit operator bool() const noexcept { return !error_; }
    [[nodiscard]] bool has_value() const noexcept { return !error_; }
    [[nodiscard]] std::error_code error() const noexcept { return error_; }
    /// Throws std::system_error if it is an error.
    void value() const {
        if (error_) throw std::system_error(error_);
    }
    void operator*() const { value(); }

private:
    std::error_code error_;
};

}  // namespace runnel

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

// The fields of a plain aggregate, without a macro: how many there are is asked of the compiler by
// trying initialisers, and a structured binding of that many names reaches them. A wrong count can
// therefore never pass silently: the binding would not compile.
//
// The two long functions are tables, an entry for each number of fields: C++20 has neither a pack
// of `{}` nor a pack of bindings.

namespace runnel::ipc::detail {

// clang-format off

template <class... T>
struct types {};

inline constexpr std::size_t max_fields = 64;
/// What field_count gives for an aggregate that has more than max_fields, or whose fields cannot be
/// initialised one by one (a reference to a non-const object).
inline constexpr std::size_t uncountable = static_cast<std::size_t>(-1);

/// Stands for a value of any type but T; only in unevaluated initialisers.
template <class T>
struct any_value {
    constexpr explicit any_value(std::size_t) {}
    template <class U>
        requires(!std::is_same_v<U, T>)
    operator U() const;
};

/// Stands for a value of any base class of T.
template <class T>
struct any_base {
    template <class U>
        requires(std::is_base_of_v<U, T> && !std::is_same_v<U, T>)
    operator U() const;
};

struct not_convertible {};

/// Whether the aggregate T has a base class. (A first field that takes anything proves nothing.)
template <class T>
inline constexpr bool has_base =
    requires { T{any_base<T>{}}; } && !requires { T{not_convertible{}}; };

/// Whether T{ {}, {} (Braces times)..., any, any (I times)... } is well-formed. `{}` initialises an
/// array as one field, where a value of any type initialises its first element.
template <class T, std::size_t Braces, std::size_t... I>
consteval bool takes(std::index_sequence<I...>) {
    if constexpr (Braces == 0) return requires { T{any_value<T>(I)...}; };
    if constexpr (Braces == 1)
        return requires { T{{}, any_value<T>(I)...}; };
    if constexpr (Braces == 2)
        return requires { T{{}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 3)
        return requires { T{{}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 4)
        return requires { T{{}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 5)
        return requires { T{{}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 6)
        return requires { T{{}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 7)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 8)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 9)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 10)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 11)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 12)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...};
            };
    if constexpr (Braces == 13)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            any_value<T>(I)...}; };
    if constexpr (Braces == 14)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            any_value<T>(I)...}; };
    if constexpr (Braces == 15)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            any_value<T>(I)...}; };
    if constexpr (Braces == 16)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            any_value<T>(I)...}; };
    if constexpr (Braces == 17)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            any_value<T>(I)...}; };
    if constexpr (Braces == 18)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, any_value<T>(I)...}; };
    if constexpr (Braces == 19)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 20)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 21)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 22)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 23)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 24)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 25)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 26)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 27)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 28)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 29)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 30)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 31)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 32)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 33)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...};
            };
    if constexpr (Braces == 34)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            any_value<T>(I)...}; };
    if constexpr (Braces == 35)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            any_value<T>(I)...}; };
    if constexpr (Braces == 36)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            any_value<T>(I)...}; };
    if constexpr (Braces == 37)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            any_value<T>(I)...}; };
    if constexpr (Braces == 38)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            any_value<T>(I)...}; };
    if constexpr (Braces == 39)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, any_value<T>(I)...}; };
    if constexpr (Braces == 40)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 41)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 42)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 43)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 44)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 45)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 46)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 47)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 48)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 49)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 50)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 51)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 52)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 53)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 54)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, any_value<T>(I)...};
            };
    if constexpr (Braces == 55)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            any_value<T>(I)...}; };
    if constexpr (Braces == 56)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            any_value<T>(I)...}; };
    if constexpr (Braces == 57)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            any_value<T>(I)...}; };
    if constexpr (Braces == 58)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            any_value<T>(I)...}; };
    if constexpr (Braces == 59)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            any_value<T>(I)...}; };
    if constexpr (Braces == 60)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, any_value<T>(I)...}; };
    if constexpr (Braces == 61)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 62)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 63)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, any_value<T>(I)...}; };
    if constexpr (Braces == 64)
        return requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {},
            {}, {}, {}, {}, {}, any_value<T>(I)...}; };
}

/// The largest n <= max_fields for which n `{}` are accepted.
template <class T, std::size_t N = 0>
consteval std::size_t count_braces() {
    if constexpr (N == max_fields) {
        return N;
    } else if constexpr (takes<T, N + 1>(std::index_sequence<>{})) {
        return count_braces<T, N + 1>();
    } else {
        return N;
    }
}

/// After Braces times `{}`: the largest n for which n values are accepted; `uncountable` if none
/// is. Fewer than that may be refused, when a later field has no default.
template <class T, std::size_t Braces, std::size_t N = 0>
consteval std::size_t count_values() {
    if constexpr (Braces + N > max_fields) {
        return uncountable;
    } else if constexpr (takes<T, Braces>(std::make_index_sequence<N>{}) &&
                         !takes<T, Braces>(std::make_index_sequence<N + 1>{})) {
        return N;
    } else {
        return count_values<T, Braces, N + 1>();
    }
}

template <class T>
consteval std::size_t count_fields() {
    // A field without default makes T{} invalid; then arrays cannot be told from several fields.
    constexpr std::size_t braces = requires { T{}; } ? count_braces<T>() : 0;
    constexpr std::size_t values = count_values<T, braces>();
    if constexpr (values == uncountable || braces + values > max_fields) {
        return uncountable;
    } else {
        return braces + values;
    }
}

/// The number of fields of the aggregate T (which has no base class), or `uncountable`.
template <class T>
inline constexpr std::size_t field_count = count_fields<T>();

/// Calls f(field, field, ...) with a reference to each field of `value`, in order.
template <class T, class F>
constexpr decltype(auto) visit_fields(T& value, F&& f) {
    constexpr std::size_t count = field_count<std::remove_const_t<T>>;
    static_assert(count <= max_fields);
    if constexpr (count == 0) {
        return f();
    } else if constexpr (count == 1) {
        auto& [a] = value;
        return f(a);
    } else if constexpr (count == 2) {
        auto& [a, b] = value;
        return f(a, b);
    } else if constexpr (count == 3) {
        auto& [a, b, c] = value;
        return f(a, b, c);
    } else if constexpr (count == 4) {
        auto& [a, b, c, d] = value;
        return f(a, b, c, d);
    } else if constexpr (count == 5) {
        auto& [a, b, c, d, e] = value;
        return f(a, b, c, d, e);
    } else if constexpr (count == 6) {
        auto& [a, b, c, d, e, g] = value;
        return f(a, b, c, d, e, g);
    } else if constexpr (count == 7) {
        auto& [a, b, c, d, e, g, h] = value;
        return f(a, b, c, d, e, g, h);
    } else if constexpr (count == 8) {
        auto& [a, b, c, d, e, g, h, i] = value;
        return f(a, b, c, d, e, g, h, i);
    } else if constexpr (count == 9) {
        auto& [a, b, c, d, e, g, h, i, j] = value;
        return f(a, b, c, d, e, g, h, i, j);
    } else if constexpr (count == 10) {
        auto& [a, b, c, d, e, g, h, i, j, k] = value;
        return f(a, b, c, d, e, g, h, i, j, k);
    } else if constexpr (count == 11) {
        auto& [a, b, c, d, e, g, h, i, j, k, l] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l);
    } else if constexpr (count == 12) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m);
    } else if constexpr (count == 13) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n);
    } else if constexpr (count == 14) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o);
    } else if constexpr (count == 15) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p);
    } else if constexpr (count == 16) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q);
    } else if constexpr (count == 17) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r);
    } else if constexpr (count == 18) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s);
    } else if constexpr (count == 19) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u);
    } else if constexpr (count == 20) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v);
    } else if constexpr (count == 21) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w);
    } else if constexpr (count == 22) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x);
    } else if constexpr (count == 23) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y);
    } else if constexpr (count == 24) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z);
    } else if constexpr (count == 25) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A);
    } else if constexpr (count == 26) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B] =
            value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B);
    } else if constexpr (count == 27) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C] =
            value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C);
    } else if constexpr (count == 28) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D]
            = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D);
    } else if constexpr (count == 29) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E);
    } else if constexpr (count == 30) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G);
    } else if constexpr (count == 31) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H);
    } else if constexpr (count == 32) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I);
    } else if constexpr (count == 33) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J);
    } else if constexpr (count == 34) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K);
    } else if constexpr (count == 35) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L);
    } else if constexpr (count == 36) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M);
    } else if constexpr (count == 37) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N);
    } else if constexpr (count == 38) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O);
    } else if constexpr (count == 39) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P);
    } else if constexpr (count == 40) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q);
    } else if constexpr (count == 41) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R);
    } else if constexpr (count == 42) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S);
    } else if constexpr (count == 43) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U);
    } else if constexpr (count == 44) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V);
    } else if constexpr (count == 45) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W);
    } else if constexpr (count == 46) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X);
    } else if constexpr (count == 47) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y);
    } else if constexpr (count == 48) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z);
    } else if constexpr (count == 49) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa);
    } else if constexpr (count == 50) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb);
    } else if constexpr (count == 51) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc);
    } else if constexpr (count == 52) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd);
    } else if constexpr (count == 53) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee] =
            value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee);
    } else if constexpr (count == 54) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff] =
            value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee,
            ff);
    } else if constexpr (count == 55) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg);
    } else if constexpr (count == 56) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh);
    } else if constexpr (count == 57) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii);
    } else if constexpr (count == 58) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii, jj] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii, jj);
    } else if constexpr (count == 59) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii, jj, kk] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii, jj, kk);
    } else if constexpr (count == 60) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii, jj, kk, ll] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii, jj, kk, ll);
    } else if constexpr (count == 61) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii, jj, kk, ll, mm] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii, jj, kk, ll, mm);
    } else if constexpr (count == 62) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii, jj, kk, ll, mm, nn] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii, jj, kk, ll, mm, nn);
    } else if constexpr (count == 63) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii, jj, kk, ll, mm, nn, oo] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii, jj, kk, ll, mm, nn, oo);
    } else if constexpr (count == 64) {
        auto& [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C, D,
            E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii, jj, kk, ll, mm, nn, oo, pp] = value;
        return f(a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q, r, s, u, v, w, x, y, z, A, B, C,
            D, E, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z, aa, bb, cc, dd, ee, ff,
            gg, hh, ii, jj, kk, ll, mm, nn, oo, pp);
    }
}

// clang-format on

}  // namespace runnel::ipc::detail

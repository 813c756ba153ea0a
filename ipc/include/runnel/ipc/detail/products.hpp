// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <variant>

#include <runnel/ipc/detail/fields.hpp>
#include <runnel/ipc/detail/scalars.hpp>
#include <runnel/ipc/detail/shape.hpp>

// Shapes of values with a known number of parts, or one of several.

namespace runnel::ipc::detail {

// Products: arrays, pairs, tuples, aggregates.

template <class... Parts>
consteval std::optional<std::size_t> fixed_sum() {
    if constexpr ((shape<Parts>::fixed_size.has_value() && ...)) {
        return (std::size_t{0} + ... + *shape<Parts>::fixed_size);
    } else {
        return std::nullopt;
    }
}

template <class T, std::size_t N>
struct elements_shape : known_shape<T> {
    static constexpr std::uint64_t tag = make_tag(kind::array, N);
    static constexpr std::optional<std::size_t> fixed_size = [] {
        auto size = shape<T>::fixed_size;
        if (size) *size *= N;
        return size;
    }();
    static constexpr std::size_t min_size = N * shape<T>::min_size;
    static constexpr bool raw_out = N != 0 && shape<T>::raw_out;
    static constexpr bool raw_in = N != 0 && shape<T>::raw_in;
};

template <class T, std::size_t N>
struct builtin_shape<T[N]> : elements_shape<T, N> {
    static void encode(encoder& out, const T (&value)[N]) { encode_elements<T>(out, value, N); }
    static void decode_into(decoder& in, T (&value)[N]) { decode_elements<T>(in, value, N); }
};

template <class T, std::size_t N>
struct builtin_shape<std::array<T, N>> : elements_shape<T, N> {
    using array = std::array<T, N>;
    static void encode(encoder& out, const array& value) {
        encode_elements<T>(out, value.data(), N);
    }
    static void decode_into(decoder& in, array& value)
        requires std::is_move_assignable_v<T>
    {
        decode_elements<T>(in, value.data(), N);
    }
    static array decode(decoder& in) {
        if constexpr (N == 0 ||
                      (std::is_default_constructible_v<T> && std::is_move_assignable_v<T>)) {
            array value{};
            decode_elements<T>(in, value.data(), N);
            return value;
        } else {
            return [&]<std::size_t... I>(std::index_sequence<I...>) {
                return array{{(static_cast<void>(I), decode_value<T>(in))...}};
            }(std::make_index_sequence<N>{});
        }
    }
};

template <class... Parts>
struct product_shape : known_shape<Parts...> {
    static constexpr std::uint64_t tag = make_tag(kind::product);
    static constexpr std::optional<std::size_t> fixed_size = fixed_sum<Parts...>();
    static constexpr std::size_t min_size = (std::size_t{0} + ... + shape<Parts>::min_size);
};

template <class A, class B>
struct builtin_shape<std::pair<A, B>> : product_shape<A, B> {
    static void encode(encoder& out, const std::pair<A, B>& value) {
        encode_value<A>(out, value.first);
        encode_value<B>(out, value.second);
    }
    static std::pair<A, B> decode(decoder& in) {
        A first = decode_value<A>(in);
        return {std::move(first), decode_value<B>(in)};
    }
};

template <class... T>
struct builtin_shape<std::tuple<T...>> : product_shape<T...> {
    static void encode(encoder& out, const std::tuple<T...>& value) {
        std::apply([&](const T&... element) { (encode_value<T>(out, element), ...); }, value);
    }
    static std::tuple<T...> decode([[maybe_unused]] decoder& in) {
        return std::tuple<T...>{decode_value<T>(in)...};  // braces: from left to right
    }
};

template <class T>
consteval bool is_plain_aggregate() {
    if constexpr (!std::is_aggregate_v<T> || !std::is_class_v<T> ||
                  !std::same_as<T, std::remove_cv_t<T>>) {
        return false;
    } else if constexpr (has_base<T>) {
        return false;
    } else if constexpr (!std::is_move_assignable_v<T> || !std::is_move_constructible_v<T>) {
        return false;  // a const or a reference member
    } else {
        return field_count<T> != uncountable;
    }
}
template <class T>
concept plain_aggregate = is_plain_aggregate<T>();

struct collect_types {
    template <class... Fields>
    types<Fields...> operator()(Fields&...) const {
        return {};  // never called, but clang warns if it is missing for types without linkage
    }
};
template <class T>
using field_types = decltype(visit_fields(std::declval<T&>(), collect_types{}));

template <class T, class Fields>
struct aggregate_shape;

template <class T, class... Fields>
struct aggregate_shape<T, types<Fields...>> : product_shape<Fields...> {
    using base = product_shape<Fields...>;
    static constexpr bool dense = base::fixed_size == sizeof(T) && std::is_trivially_copyable_v<T>;
    static constexpr bool raw_out = dense && (shape<Fields>::raw_out && ...);
    static constexpr bool raw_in = dense && (shape<Fields>::raw_in && ...);
    static constexpr bool has_default = requires { T{}; };
    static_assert(has_default || !(std::is_array_v<Fields> || ...),
                  "codec: a C array beside a field without default; use std::array");

    static void encode([[maybe_unused]] encoder& out, const T& value) {
        visit_fields(value,
                     [&](const Fields&... field) { (encode_value<Fields>(out, field), ...); });
    }
    static void decode_into([[maybe_unused]] decoder& in, T& value) {
        visit_fields(value, [&](Fields&... field) { (ipc::detail::decode_into(in, field), ...); });
    }
    static T decode([[maybe_unused]] decoder& in) {
        if constexpr (has_default) {
            T value{};
            decode_into(in, value);
            return value;
        } else {
            return T{decode_value<Fields>(in)...};
        }
    }
};

// monostate included
template <plain_aggregate T>
    requires(!raw_class<T>)
struct builtin_shape<T> : aggregate_shape<T, field_types<T>> {};

// Choices.

template <class T>
struct builtin_shape<std::optional<T>> : known_shape<T> {
    static constexpr std::uint64_t tag = make_tag(kind::optional);
    static void encode(encoder& out, const std::optional<T>& value) {
        encode_value<bool>(out, value.has_value());
        if (value) encode_value<T>(out, *value);
    }
    static std::optional<T> decode(decoder& in) {
        if (!decode_flag(in, "an optional is neither empty nor full")) return std::nullopt;
        return std::optional<T>(std::in_place, decode_value<T>(in));
    }
};

template <class... T>
struct builtin_shape<std::variant<T...>> : known_shape<T...> {
    using variant = std::variant<T...>;
    static constexpr std::uint64_t tag = make_tag(kind::variant);
    static void encode(encoder& out, const variant& value) {
        if (value.valueless_by_exception()) {
            throw std::invalid_argument("encode: variant without value");
        }
        out.write_size(value.index());
        encode_alternative<0>(out, value);
    }
    static variant decode(decoder& in) { return decode_alternative<0>(in, in.read_size(0)); }

private:
    template <std::size_t I>
    static void encode_alternative(encoder& out, const variant& value) {
        if constexpr (I != sizeof...(T)) {
            if (const auto* alternative = std::get_if<I>(&value)) {
                encode_value<std::variant_alternative_t<I, variant>>(out, *alternative);
            } else {
                encode_alternative<I + 1>(out, value);
            }
        }
    }
    template <std::size_t I>
    static variant decode_alternative(decoder& in, std::size_t index) {
        if constexpr (I == sizeof...(T)) {
            in.fail("a variant has no such alternative");
        } else if (index == I) {
            return variant(std::in_place_index<I>,
                           decode_value<std::variant_alternative_t<I, variant>>(in));
        } else {
            return decode_alternative<I + 1>(in, index);
        }
    }
};

// Time. A time_point of steady_clock means the same in every process of a machine.

template <class Rep, class Period>
struct builtin_shape<std::chrono::duration<Rep, Period>> : product_shape<Rep> {
    using duration = std::chrono::duration<Rep, Period>;
    static constexpr std::uint64_t tag = make_tag(kind::duration, Period::num, Period::den);
    static constexpr bool dense = sizeof(duration) == sizeof(Rep);
    static constexpr bool raw_out = dense && shape<Rep>::raw_out;
    static constexpr bool raw_in = dense && shape<Rep>::raw_in;
    static void encode(encoder& out, const duration& value) {
        encode_value<Rep>(out, value.count());
    }
    static duration decode(decoder& in) { return duration(decode_value<Rep>(in)); }
};

template <class Clock, class Duration>
struct builtin_shape<std::chrono::time_point<Clock, Duration>> : product_shape<Duration> {
    using time_point = std::chrono::time_point<Clock, Duration>;
    static constexpr std::uint64_t tag =
        make_tag(kind::time_point, std::same_as<Clock, std::chrono::system_clock>   ? 1
                                   : std::same_as<Clock, std::chrono::steady_clock> ? 2
                                                                                    : 0);
    static constexpr bool dense = sizeof(time_point) == sizeof(Duration);
    static constexpr bool raw_out = dense && shape<Duration>::raw_out;
    static constexpr bool raw_in = dense && shape<Duration>::raw_in;
    static void encode(encoder& out, const time_point& value) {
        encode_value<Duration>(out, value.time_since_epoch());
    }
    static time_point decode(decoder& in) { return time_point(decode_value<Duration>(in)); }
};

}  // namespace runnel::ipc::detail

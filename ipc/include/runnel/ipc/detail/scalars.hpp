// SPDX-License-Identifier: MIT
#pragma once

#include <limits>
#include <stdexcept>

#include <runnel/ipc/detail/shape.hpp>

// Shapes of one value: custom codecs, numbers, enums, raw classes.

namespace runnel::ipc::detail {

// A class with a codec of its own.

template <class T>
concept complete_codec = requires(encoder& out, decoder& in, const T& value) {
    codec<T>::encode(out, value);
    { codec<T>::decode(in) } -> std::same_as<T>;
    { codec<T>::signature } -> std::convertible_to<std::uint64_t>;
};

template <class T>
struct custom_shape : known_shape<> {
    static constexpr bool known = complete_codec<T>;
    static constexpr std::uint64_t tag = make_tag(kind::custom, codec<T>::signature);
    static constexpr std::optional<std::size_t> fixed_size = [] {
        if constexpr (requires { codec<T>::fixed_size; }) {
            return std::optional<std::size_t>(codec<T>::fixed_size);
        } else {
            return std::optional<std::size_t>();
        }
    }();
    static constexpr std::size_t min_size = [] {
        if constexpr (requires { codec<T>::min_size; }) {
            return std::size_t{codec<T>::min_size};
        } else {
            return fixed_size.value_or(0);
        }
    }();
    static void encode(encoder& out, const T& value) {
        const nesting level(out);
        codec<T>::encode(out, value);
    }
    static T decode(decoder& in) {
        const nesting level(in);
        return codec<T>::decode(in);
    }
};

// Scalars.

template <class T>
struct scalar_shape : known_shape<> {
    static constexpr std::optional<std::size_t> fixed_size = sizeof(T);
    static constexpr std::size_t min_size = sizeof(T);
    static constexpr bool raw_out = true;
    static constexpr bool raw_in = true;
};

template <class T, class... U>
concept one_of = (std::same_as<T, U> || ...);

template <class T>
concept character = one_of<T, char, wchar_t, char8_t, char16_t, char32_t>;

template <std::integral T>
    requires(std::same_as<T, std::remove_cv_t<T>>)
struct builtin_shape<T> : scalar_shape<T> {
    static constexpr std::uint64_t tag = make_tag(character<T>          ? kind::character
                                                  : std::is_signed_v<T> ? kind::signed_integer
                                                                        : kind::unsigned_integer,
                                                  sizeof(T));
};

template <>
struct builtin_shape<bool> : scalar_shape<bool> {
    static_assert(sizeof(bool) == 1);
    static constexpr bool raw_in = false;
    static constexpr std::uint64_t tag = make_tag(kind::boolean);
    static bool decode(decoder& in) { return decode_flag(in, "a bool is neither 0 nor 1"); }
};

template <>
struct builtin_shape<std::byte> : scalar_shape<std::byte> {
    static constexpr std::uint64_t tag = make_tag(kind::byte);
};

template <std::floating_point T>
    requires(std::same_as<T, std::remove_cv_t<T>>)
struct builtin_shape<T> : scalar_shape<T> {
    // An x87 long double has 10 bytes of value and 6 of padding.
    static constexpr std::size_t bytes = std::numeric_limits<T>::digits == 64 && sizeof(T) > 10
                                             ? 10
                                             : sizeof(T);
    static constexpr std::optional<std::size_t> fixed_size = bytes;
    static constexpr std::size_t min_size = bytes;
    static constexpr bool raw_out = bytes == sizeof(T);
    static constexpr bool raw_in = raw_out;
    static constexpr std::uint64_t tag = make_tag(kind::floating, bytes);
    static void encode(encoder& out, const T& value) {
        std::memcpy(out.extend(bytes), &value, bytes);
    }
    static T decode(decoder& in) {
        T value{};
        std::memcpy(&value, in.read_bytes(bytes).data(), bytes);
        return value;
    }
};

template <class E>
concept plain_enum = std::is_enum_v<E> && std::same_as<E, std::remove_cv_t<E>>;
template <class E>
concept ranged_enum = plain_enum<E> && !std::same_as<decltype(enum_range<E>), const std::nullptr_t>;
// Only such enums may be initialised from a number in braces, and have all values of their type.
template <class E>
concept fixed_enum = plain_enum<E> && requires { E{0}; };

template <plain_enum E>
    requires(ranged_enum<E> || fixed_enum<E>)
struct builtin_shape<E> : scalar_shape<E> {
    using number = std::underlying_type_t<E>;
    static constexpr bool ranged = ranged_enum<E>;
    static constexpr bool raw_out = !ranged;
    static constexpr bool raw_in = !ranged && !std::same_as<number, bool>;
    static constexpr std::uint64_t tag = [] {
        if constexpr (ranged) {
            const auto [first, last] = enum_range<E>;
            return make_tag(kind::enumeration, sizeof(E), std::is_signed_v<number>,
                            static_cast<number>(first), static_cast<number>(last));
        } else {
            return make_tag(kind::enumeration, sizeof(E), std::is_signed_v<number>);
        }
    }();
    static bool valid(number n) {
        if constexpr (ranged) {
            return static_cast<number>(enum_range<E>.first) <= n &&
                   n <= static_cast<number>(enum_range<E>.second);
        } else {
            return true;
        }
    }
    static void encode(encoder& out, const E& value) {
        if (!valid(static_cast<number>(value))) {
            throw std::invalid_argument("encode: enumerator outside its enum_range");
        }
        store(out, static_cast<number>(value));
    }
    static E decode(decoder& in) {
        const auto n = decode_value<number>(in);
        if (!valid(n)) in.fail("an enumerator is outside its enum_range");
        return static_cast<E>(n);
    }
};

// Classes that are declared to be their bytes.

template <class T>
concept raw_class = std::is_class_v<T> && std::same_as<T, std::remove_cv_t<T>> &&
                    std::is_trivially_copyable_v<T> && enable_raw_codec<T>;

template <raw_class T>
struct builtin_shape<T> : scalar_shape<T> {
    static constexpr bool raw_out = std::has_unique_object_representations_v<T>;
    static constexpr std::uint64_t tag = make_tag(kind::raw, sizeof(T), alignof(T));
    static void encode(encoder& out, const T& value) {
        T copy = value;
#if defined(__has_builtin)
#if __has_builtin(__builtin_clear_padding)
        __builtin_clear_padding(&copy);  // should the promise be wrong
#endif
#endif
        store(out, copy);
    }
};

}  // namespace runnel::ipc::detail

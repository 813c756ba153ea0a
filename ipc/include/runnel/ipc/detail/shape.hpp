// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

#include <runnel/ipc/coder.hpp>
#include <runnel/ipc/detail/fields.hpp>

// A shape says how one family of types is made up and how it travels. Members:
//   known       whether the family travels at all
//   parts       the types it is made of; what must hold for all of a value is asked of them
//   tag         the share of the shape itself in the signature
//   fixed_size  encoded size of every value, if it is the same for all;  min_size  of the smallest
//   raw_out     the encoding is the object representation
//   raw_in      and every such pattern of bytes is a valid object
//   encode, decode; decode_into where filling in place is better
// Sizes and raw-ness of parts are asked for only where a type cannot contain itself, so that
// recursive types (through containers) are well-founded.

namespace runnel::ipc::detail {

struct unknown_shape {
    static constexpr bool known = false;
    using parts = types<>;
};

template <class T>
struct builtin_shape : unknown_shape {};
template <class T>
struct custom_shape;

template <class T>
concept customised =
    std::is_object_v<T> && !std::is_array_v<T> && std::same_as<T, std::remove_cv_t<T>> &&
    !requires { typename codec<T>::builtin; };

template <class T>
struct choose_shape : std::type_identity<builtin_shape<T>> {};
template <customised T>
struct choose_shape<T> : std::type_identity<custom_shape<T>> {};
template <class T>
using shape = typename choose_shape<T>::type;

/// The defaults of a shape whose size depends on the value.
template <class... Parts>
struct known_shape {
    static constexpr bool known = true;
    using parts = types<Parts...>;
    static constexpr std::optional<std::size_t> fixed_size = std::nullopt;
    static constexpr std::size_t min_size = 1;
    static constexpr bool raw_out = false;
    static constexpr bool raw_in = false;
};

// Signatures.

enum class kind : std::uint64_t {
    signed_integer = 1,
    unsigned_integer,
    character,
    boolean,
    byte,
    floating,
    enumeration,
    raw,
    string,
    path,
    sequence,
    set,
    multiset,
    map,
    multimap,
    array,
    product,
    optional,
    variant,
    duration,
    time_point,
    custom,
    recursion,
};

constexpr std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {  // splitmix64's finaliser
    hash = (hash ^ value) + 0x9e3779b97f4a7c15;
    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
    hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
    return hash ^ (hash >> 31);
}
template <class... Details>
constexpr std::uint64_t make_tag(kind k, Details... details) {
    std::uint64_t hash = mix(0x72756e6e656c, static_cast<std::uint64_t>(k));
    ((hash = mix(hash, static_cast<std::uint64_t>(details))), ...);
    return hash;
}

// Values in memory.

template <class T>
void store(encoder& out, const T& value) {
    std::memcpy(out.extend(sizeof(T)), static_cast<const void*>(&value), sizeof(T));
}
template <class T>
T load(decoder& in) {
    const std::byte* from = in.read_bytes(sizeof(T)).data();
    if constexpr (std::is_trivially_default_constructible_v<T>) {
        T value;
        std::memcpy(static_cast<void*>(&value), from, sizeof(T));
        return value;
    } else {
        std::array<std::byte, sizeof(T)> copy;
        std::memcpy(copy.data(), from, sizeof(T));
        return std::bit_cast<T>(copy);
    }
}

template <class T>
void encode_value(encoder& out, const T& value) {
    if constexpr (shape<T>::raw_out) {
        store(out, value);
    } else {
        shape<T>::encode(out, value);
    }
}
template <class T>
T decode_value(decoder& in) {
    if constexpr (shape<T>::raw_in) {
        return load<T>(in);
    } else {
        return shape<T>::decode(in);
    }
}
template <class T>
void decode_into(decoder& in, T& value) {
    if constexpr (shape<T>::raw_in) {
        std::memcpy(static_cast<void*>(&value), in.read_bytes(sizeof(T)).data(), sizeof(T));
    } else if constexpr (requires { shape<T>::decode_into(in, value); }) {
        shape<T>::decode_into(in, value);
    } else {
        value = decode_value<T>(in);
    }
}

template <class T>
void encode_elements(encoder& out, const T* values, std::size_t count) {
    if constexpr (shape<T>::raw_out) {
        out.write_bytes(std::as_bytes(std::span(values, count)));
    } else {
        for (std::size_t i = 0; i != count; ++i) encode_value<T>(out, values[i]);
    }
}
template <class T>
void decode_elements(decoder& in, T* values, std::size_t count) {
    if constexpr (shape<T>::raw_in) {
        const auto bytes = in.read_bytes(count * sizeof(T));  // count is bounded: no overflow
        if (count != 0) std::memcpy(static_cast<void*>(values), bytes.data(), bytes.size());
    } else {
        for (std::size_t i = 0; i != count; ++i) decode_into<T>(in, values[i]);
    }
}

inline bool decode_flag(decoder& in, const char* what) {
    const auto byte = std::to_integer<unsigned>(in.read_bytes(1).front());
    if (byte > 1) in.fail(what);
    return byte == 1;
}

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <deque>
#include <list>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <runnel/ipc/detail/scalars.hpp>
#include <runnel/ipc/detail/shape.hpp>

// Shapes of values with a count.

namespace runnel::ipc::detail {

// Strings and paths.

template <character C, class Traits, class A>
struct builtin_shape<std::basic_string<C, Traits, A>> : known_shape<C> {
    using string = std::basic_string<C, Traits, A>;
    static constexpr std::uint64_t tag = make_tag(kind::string);
    static void encode(encoder& out, const string& value) {
        out.write_size(value.size());
        encode_elements<C>(out, value.data(), value.size());
    }
    static string decode(decoder& in) {
        const std::size_t count = in.read_size(sizeof(C));
        if constexpr (std::same_as<C, char>) {
            return string(reinterpret_cast<const char*>(in.read_bytes(count).data()), count);
        } else {
            string value(count, C{});
            decode_elements<C>(in, value.data(), count);
            return value;
        }
    }
};

/// std::filesystem::path, known by its looks: its header is a heavy one.
template <class T>
concept path_like = std::is_class_v<T> && requires(const T& path) {
    T::preferred_separator;
    { path.native() } -> std::same_as<const std::string&>;
    T(std::string());
};

template <path_like T>
struct builtin_shape<T> : known_shape<> {
    static constexpr std::uint64_t tag = make_tag(kind::path);
    static void encode(encoder& out, const T& value) { encode_value(out, value.native()); }
    static T decode(decoder& in) { return T(decode_value<std::string>(in)); }
};

// Containers.

template <class Container, class T>
struct sequence_shape : known_shape<T> {
    static constexpr std::uint64_t tag = make_tag(kind::sequence);
    static constexpr std::size_t node_size =
        requires(Container c) { c.splice(c.begin(), c); } ? 2 * sizeof(void*) : 0;

    static void encode(encoder& out, const Container& value) {
        const nesting level(out);
        if constexpr (shape<T>::raw_out && requires { value.data(); }) {
            if constexpr (shape<T>::raw_in) {
                out.write_size(value.size());
            } else {
                out.write_size(value.size(), sizeof(T));
            }
            encode_elements<T>(out, value.data(), value.size());
        } else {
            out.write_size(value.size(), sizeof(T) + node_size);
            for (const T& element : value) encode_value<T>(out, element);
        }
    }
    static Container decode(decoder& in) {
        const nesting level(in);
        Container value;
        if constexpr (shape<T>::raw_in && std::is_default_constructible_v<T> &&
                      requires { value.data(); }) {
            const std::size_t count = in.read_size(sizeof(T));
            if constexpr (one_of<T, std::byte, char, unsigned char>) {
                const auto* from = reinterpret_cast<const T*>(in.read_bytes(count).data());
                value.assign(from, from + count);
            } else {
                value.resize(count);
                decode_elements<T>(in, value.data(), count);
            }
        } else {
            std::size_t count = in.read_size(shape<T>::min_size, sizeof(T) + node_size);
            if constexpr (requires { value.reserve(count); }) value.reserve(count);
            for (; count != 0; --count) value.push_back(decode_value<T>(in));
        }
        return value;
    }
};

template <class T, class A>
struct builtin_shape<std::vector<T, A>> : sequence_shape<std::vector<T, A>, T> {};
template <class T, class A>
struct builtin_shape<std::deque<T, A>> : sequence_shape<std::deque<T, A>, T> {};
template <class T, class A>
struct builtin_shape<std::list<T, A>> : sequence_shape<std::list<T, A>, T> {};

template <class A>
struct builtin_shape<std::vector<bool, A>> : known_shape<bool> {
    static constexpr std::uint64_t tag = make_tag(kind::sequence);
    static void encode(encoder& out, const std::vector<bool, A>& value) {
        out.write_size(value.size());
        for (const bool element : value) encode_value<bool>(out, element);
    }
    static std::vector<bool, A> decode(decoder& in) {
        std::size_t count = in.read_size(1);
        std::vector<bool, A> value;
        value.reserve(count);
        for (; count != 0; --count) value.push_back(decode_value<bool>(in));
        return value;
    }
};

/// What a node or a bucket of an associative container takes beside its value.
inline constexpr std::size_t node_overhead = 4 * sizeof(void*);

template <class Container>
concept multiple_keys = requires(Container c, typename Container::value_type v) {
    { c.insert(std::move(v)) } -> std::same_as<typename Container::iterator>;
};

/// Is it, or one of its parts, a NaN? No container can order that.
template <class Key>
bool is_unordered(const Key& key) {
    if constexpr (std::is_floating_point_v<Key>) {
        return std::isnan(key);
    } else if constexpr (requires { std::tuple_size<Key>::value; }) {
        return std::apply([](const auto&... each) { return (is_unordered(each) || ...); }, key);
    } else {
        return false;
    }
}
template <class Key>
void check_key(const Key& key) {
    if (is_unordered(key)) throw std::invalid_argument("encode: a key is not a number");
}
template <class Key>
void check_key(decoder& in, const Key& key) {
    if (is_unordered(key)) in.fail("a key is not a number");
}
template <class Container>
void check_inserted(decoder& in, const Container& value, std::size_t expected) {
    if (value.size() != expected) in.fail("a key occurs twice");
}

template <class Container, class Key>
struct set_shape : known_shape<Key> {
    static constexpr std::uint64_t tag =
        make_tag(multiple_keys<Container> ? kind::multiset : kind::set);
    static void encode(encoder& out, const Container& value) {
        const nesting level(out);
        out.write_size(value.size(), sizeof(Key) + node_overhead);
        for (const Key& key : value) {
            check_key(key);
            encode_value<Key>(out, key);
        }
    }
    static Container decode(decoder& in) {
        const nesting level(in);
        const std::size_t count = in.read_size(shape<Key>::min_size, sizeof(Key) + node_overhead);
        Container value;
        if constexpr (requires { value.reserve(count); }) value.reserve(count);
        for (std::size_t i = 0; i != count; ++i) {
            Key key = decode_value<Key>(in);
            check_key(in, key);
            value.emplace_hint(value.end(), std::move(key));  // sorted, so mostly the right place
            check_inserted(in, value, i + 1);
        }
        return value;
    }
};

template <class Container, class Key, class Value>
struct map_shape : known_shape<Key, Value> {
    static constexpr std::uint64_t tag =
        make_tag(multiple_keys<Container> ? kind::multimap : kind::map);
    static constexpr std::size_t memory_each() {
        return sizeof(typename Container::value_type) + node_overhead;
    }
    static void encode(encoder& out, const Container& value) {
        const nesting level(out);
        out.write_size(value.size(), memory_each());
        for (const auto& [key, mapped] : value) {
            check_key(key);
            encode_value<Key>(out, key);
            encode_value<Value>(out, mapped);
        }
    }
    static Container decode(decoder& in) {
        const nesting level(in);
        const std::size_t count =
            in.read_size(shape<Key>::min_size + shape<Value>::min_size, memory_each());
        Container value;
        if constexpr (requires { value.reserve(count); }) value.reserve(count);
        for (std::size_t i = 0; i != count; ++i) {
            Key key = decode_value<Key>(in);
            check_key(in, key);
            value.emplace_hint(value.end(), std::move(key), decode_value<Value>(in));
            check_inserted(in, value, i + 1);
        }
        return value;
    }
};

template <class K, class C, class A>
struct builtin_shape<std::set<K, C, A>> : set_shape<std::set<K, C, A>, K> {};
template <class K, class C, class A>
struct builtin_shape<std::multiset<K, C, A>> : set_shape<std::multiset<K, C, A>, K> {};
template <class K, class H, class E, class A>
struct builtin_shape<std::unordered_set<K, H, E, A>>
    : set_shape<std::unordered_set<K, H, E, A>, K> {};
template <class K, class H, class E, class A>
struct builtin_shape<std::unordered_multiset<K, H, E, A>>
    : set_shape<std::unordered_multiset<K, H, E, A>, K> {};
template <class K, class V, class C, class A>
struct builtin_shape<std::map<K, V, C, A>> : map_shape<std::map<K, V, C, A>, K, V> {};
template <class K, class V, class C, class A>
struct builtin_shape<std::multimap<K, V, C, A>> : map_shape<std::multimap<K, V, C, A>, K, V> {};
template <class K, class V, class H, class E, class A>
struct builtin_shape<std::unordered_map<K, V, H, E, A>>
    : map_shape<std::unordered_map<K, V, H, E, A>, K, V> {};
template <class K, class V, class H, class E, class A>
struct builtin_shape<std::unordered_multimap<K, V, H, E, A>>
    : map_shape<std::unordered_multimap<K, V, H, E, A>, K, V> {};

}  // namespace runnel::ipc::detail

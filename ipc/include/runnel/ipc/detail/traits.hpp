// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>
#include <type_traits>

#include <runnel/ipc/detail/containers.hpp>
#include <runnel/ipc/detail/products.hpp>
#include <runnel/ipc/detail/scalars.hpp>

// What codec.hpp asks about a whole type, and why a type is refused.

namespace runnel::ipc::detail {

// Questions about a whole type. `Above` are the types that contain it: meeting one of them again
// ends the recursion.

template <class T, class... Above>
consteval std::size_t index_in(types<Above...>) {
    std::size_t index = 0;
    static_cast<void>(((std::same_as<T, Above> || (++index, false)) || ...));
    return index;
}
template <class T, class... Above>
consteval bool is_in(types<Above...> above) {
    return index_in<T>(above) != sizeof...(Above);
}

template <class T, class... Above>
consteval bool is_encodable_in(types<Above...>);
template <class... Parts, class Above>
consteval bool are_encodable(types<Parts...>, [[maybe_unused]] Above above) {
    return (is_encodable_in<Parts>(above) && ...);
}
template <class T, class... Above>
consteval bool is_encodable_in([[maybe_unused]] types<Above...> above) {
    if constexpr (is_in<T>(above)) {
        return true;
    } else if constexpr (!shape<T>::known) {
        return false;
    } else {
        return are_encodable(typename shape<T>::parts{}, types<T, Above...>{});
    }
}
template <class T>
consteval bool is_encodable() {
    if constexpr (std::is_array_v<T>) {
        return false;  // a function cannot return it
    } else {
        return is_encodable_in<T>(types<>{});
    }
}

template <class T, class... Above>
consteval bool has_handles_in(types<Above...>);
template <class... Parts, class Above>
consteval bool have_handles(types<Parts...>, [[maybe_unused]] Above above) {
    return (has_handles_in<Parts>(above) || ...);
}
template <class T, class... Above>
consteval bool has_handles_in([[maybe_unused]] types<Above...> above) {
    if constexpr (is_in<T>(above)) {
        return false;
    } else if constexpr (customised<T>) {
        if constexpr (requires { codec<T>::carries_handles; }) {
            return codec<T>::carries_handles;
        } else {
            return false;
        }
    } else {
        return have_handles(typename shape<T>::parts{}, types<T, Above...>{});
    }
}
template <class T>
consteval bool has_handles() {
    return has_handles_in<T>(types<>{});
}

template <class T>
struct signature_parts_of : std::type_identity<typename shape<T>::parts> {};
template <customised T>
    requires requires { typename codec<T>::parts; }
struct signature_parts_of<T> : std::type_identity<typename codec<T>::parts> {};

template <class T, class... Above>
consteval std::uint64_t signature_in(types<Above...>);
template <class... Parts, class Above>
consteval std::uint64_t mix_parts(std::uint64_t hash, types<Parts...>,
                                  [[maybe_unused]] Above above) {
    hash = mix(hash, sizeof...(Parts));
    ((hash = mix(hash, signature_in<Parts>(above))), ...);
    return hash;
}
template <class T, class... Above>
consteval std::uint64_t signature_in([[maybe_unused]] types<Above...> above) {
    using parts = typename signature_parts_of<T>::type;
    // Only classes with fields or parts of their own can contain themselves; leaving out the rest
    // lets one instantiation serve for many places.
    if constexpr (is_in<T>(above)) {
        return make_tag(kind::recursion, index_in<T>(above));
    } else if constexpr (std::is_aggregate_v<T> || customised<T>) {
        return mix_parts(shape<T>::tag, parts{}, types<T, Above...>{});
    } else {
        return mix_parts(shape<T>::tag, parts{}, above);
    }
}
template <class T>
consteval std::uint64_t signature() {
    static_assert(explain<T>());
    return signature_in<T>(types<>{});
}

template <class T>
consteval std::optional<std::size_t> fixed_size() {
    return shape<T>::fixed_size;
}

// Reasons.

template <class T>
concept view_like = std::ranges::enable_view<T> || std::ranges::enable_borrowed_range<T>;
template <class T>
concept function_like = requires(const T& f) { f.target_type(); };

template <class T>
inline constexpr bool never = false;

/// Fails to compile, with a reason, for a T whose shape is unknown.
template <class T>
consteval void refuse() {
    if constexpr (std::is_reference_v<T>) {
        static_assert(never<T>, "codec: references do not travel; send the value");
    } else if constexpr (!std::same_as<T, std::remove_cv_t<T>>) {
        static_assert(never<T>, "codec: const and volatile types do not travel");
    } else if constexpr (std::is_function_v<std::remove_pointer_t<T>>) {
        static_assert(never<T>, "codec: a function has no meaning in another process");
    } else if constexpr (std::is_pointer_v<T> || std::is_null_pointer_v<T>) {
        static_assert(never<T>, "codec: a pointer has no meaning in another process");
    } else if constexpr (std::is_member_pointer_v<T>) {
        static_assert(never<T>, "codec: a pointer to member has no meaning in another process");
    } else if constexpr (std::is_void_v<T>) {
        static_assert(never<T>, "codec: there is no value of type void");
    } else if constexpr (std::is_enum_v<T>) {
        static_assert(never<T>,
                      "codec: an enum needs an underlying type (enum e : int) or enum_range");
    } else if constexpr (std::is_union_v<T>) {
        static_assert(never<T>, "codec: a union does not say which member is meant");
    } else if constexpr (customised<T>) {
        static_assert(never<T>,
                      "codec<T> needs signature, encode(encoder&, const T&), T decode(decoder&)");
    } else if constexpr (view_like<T>) {
        static_assert(never<T>, "codec: a view owns nothing; send a string, vector or array");
    } else if constexpr (function_like<T>) {
        static_assert(never<T>, "codec: a function has no meaning in another process");
    } else if constexpr (std::is_aggregate_v<T>) {
        if constexpr (has_base<T>) {
            static_assert(never<T>, "codec: an aggregate with a base class; make it a member");
        } else if constexpr (!std::is_move_assignable_v<T> || !std::is_move_constructible_v<T>) {
            static_assert(never<T>, "codec: a const, reference or immovable member");
        } else {
            static_assert(never<T>,
                          "codec: an aggregate of more than 64 fields, or with a reference member");
        }
    } else {
        static_assert(
            never<T>,
            "codec: a class with constructors or private members; specialise codec<T>, or "
            "enable_raw_codec<T> if it is trivially copyable");
    }
}

template <class T, class... Above>
consteval void explain_in(types<Above...>);
template <class... Parts, class Above>
consteval void explain_all(types<Parts...>, [[maybe_unused]] Above above) {
    (explain_in<Parts>(above), ...);
}
template <class T, class... Above>
consteval void explain_in([[maybe_unused]] types<Above...> above) {
    if constexpr (!is_in<T>(above)) {
        if constexpr (shape<T>::known) {
            explain_all(typename shape<T>::parts{}, types<T, Above...>{});
        } else {
            refuse<T>();
        }
    }
}
template <class T>
consteval bool explain() {
    if constexpr (std::is_array_v<T>) {
        static_assert(never<T>, "codec: a C array travels inside an aggregate; use std::array");
    } else if constexpr (!is_encodable<T>()) {
        explain_in<T>(types<>{});
    }
    return true;
}

}  // namespace runnel::ipc::detail

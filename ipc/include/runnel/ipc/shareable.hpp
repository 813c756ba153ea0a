// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <type_traits>

#include <runnel/ipc/codec.hpp>

namespace runnel::ipc {

/// What can stand in shared memory as it is: trivially copyable, and of a structure that codec
/// knows, so without pointers, references and handles; its signature is compared when it is
/// attached.
template <class T>
concept shareable =
    std::is_trivially_copyable_v<T> && !std::is_const_v<T> && encodable<T> && !carries_handles<T>;

namespace detail {

/// What the header of its memory says about T.
template <class T>
inline constexpr std::uint64_t memory_type =
    (signature_of<T> ^ sizeof(T)) * 0x9e3779b97f4a7c15 + alignof(T);

/// Bits may be compared instead of values.
template <class T>
inline constexpr bool compared_by_bits =
    std::has_unique_object_representations_v<T> || std::is_floating_point_v<T>;

}  // namespace detail
}  // namespace runnel::ipc

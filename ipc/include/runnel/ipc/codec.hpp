// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <runnel/ipc/coder.hpp>
#include <runnel/ipc/detail/traits.hpp>
#include <runnel/unique_fd.hpp>

/// Values as bytes and descriptors, for peers on the same machine.
///
///     struct job { int id; std::string name; std::vector<double> samples; };  // no registration
///
///     ipc::encoder out;                       // keeps its storage: reuse it, with clear()
///     ipc::encode(out, job{1, "fft", {0.5}});
///     job same = ipc::decode<job>(out.bytes());
///
/// What travels: arithmetic types, enums, std::byte, strings, std::filesystem::path, vector, deque,
/// list, array, pair, tuple, optional, variant, (multi)map and (multi)set, ordered or not, chrono
/// durations and time points, `unique_fd` and the handles of this library, and plain aggregates of
/// these: at most 64 fields, no base class, no bit-field, no const or reference member, C arrays
/// allowed (if every field has a default). Containers come back with a default allocator and
/// comparator. Anything else does not compile, and the error names the reason; `codec<T>`,
/// `enable_raw_codec<T>` and `enum_range<E>` teach the library a new type.
///
/// Numbers are sent in memory order and width, fields without their padding, counts as varints.
/// Decoding trusts nothing: every failure is a std::system_error with `errc::protocol` that says
/// what was wrong and where, and no memory is allocated on the word of a count (see max_nesting).
namespace runnel::ipc {

/// How a T travels. Specialise it for a class of your own:
///
///     template <> struct runnel::ipc::codec<date> {
///         static constexpr std::uint64_t signature = 0x64617465;      // change it with the format
///         static void encode(encoder& out, const date& d) { out.write(d.days_since_epoch()); }
///         static date decode(decoder& in) {
///             auto days = in.read<std::int32_t>();
///             if (days < 0) in.fail("a date is never negative");
///             return date(days);
///         }
///     };
///
/// Optional members: `fixed_size` (std::size_t: every value takes so many bytes), `min_size` (no
/// value takes fewer; with it counts are checked more strictly), `carries_handles` (bool, must be
/// true if write_handle is used), `using parts = signature_parts<U...>` (types whose structure
/// belongs to the signature, as U does for a sender of U; they may contain T).
template <class T>
struct codec {
    using builtin = void;

    /// A hash of the structure: kinds, sizes, order and elements; not of names.
    static constexpr std::uint64_t signature = detail::signature<T>();
    /// The number of bytes of every T, if it is the same for all.
    static constexpr std::optional<std::size_t> fixed_size = detail::fixed_size<T>();

    static void encode(encoder& out, const T& value) {
        static_assert(detail::explain<T>());
        detail::encode_value<T>(out, value);
    }
    static T decode(decoder& in) {
        static_assert(detail::explain<T>());
        return detail::decode_value<T>(in);
    }
};

/// For a codec of your own: the types that its signature depends on (`using parts = ...`).
template <class... T>
using signature_parts = detail::types<T...>;

/// Whether T can be encoded and decoded. T must be complete.
template <class T>
concept encodable = detail::is_encodable<T>();

/// Whether a T may hold descriptors, which shared memory cannot carry.
template <class T>
inline constexpr bool carries_handles = detail::has_handles<T>();

/// A hash of the structure of T; two processes compare it before they exchange a T.
template <class T>
inline constexpr std::uint64_t signature_of = detail::signature<T>();

/// The encoded size of every T, or empty if it depends on the value.
template <class T>
inline constexpr std::optional<std::size_t> fixed_size_of = detail::fixed_size<T>();

/// Appends `value` to `out`, and the numbers of its descriptors, which are borrowed from it. Throws
/// std::invalid_argument for what cannot be decoded again: nested deeper than max_nesting, a
/// variant without value, an enumerator outside its enum_range, a NaN in the key of a set or map,
/// too large in memory.
template <class T>
void encode(encoder& out, const T& value) {
    out.write(value);
    out.check_limits();
}

/// The one value that `from` and `handles` are. Takes every descriptor out of `handles`: those
/// that are not part of the result are closed. Throws std::system_error (errc::protocol) if there
/// is anything wrong, too little or too much.
template <class T>
[[nodiscard]] T decode(std::span<const std::byte> from, std::span<unique_fd> handles = {}) {
    struct closer {
        std::span<unique_fd> all;
        ~closer() {
            for (unique_fd& one : all) one.reset();
        }
    } const rest{handles};
    decoder in(from, handles);
    T value = in.read<T>();
    in.finish();
    return value;
}

/// A descriptor travels as a duplicate; an empty unique_fd as "none".
template <>
struct codec<unique_fd> {
    static constexpr std::uint64_t signature = 0x6664;
    static constexpr std::size_t min_size = 1;
    static constexpr bool carries_handles = true;
    static void encode(encoder& out, const unique_fd& fd) { out.write_handle(fd.get()); }
    static unique_fd decode(decoder& in) { return in.read_handle(); }
};

}  // namespace runnel::ipc

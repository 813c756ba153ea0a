// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <runnel/ipc/codec.hpp>

namespace runnel::ipc {

namespace detail {
class list_state;
}

/// A number of values of various kinds that processes share, each of which can be replaced.
///
///     ipc::list settings({std::int64_t{8}, 0.5, "verbose", true});
///     auto child = ipc::spawn(work, settings.share());
///     settings.set(2, "quiet");
///
/// Each slot is read and replaced as a whole. Readers wait for nobody, and a process that is killed
/// while it writes leaves the old value or the new one. A slot holds any kind of item, and text or
/// bytes up to the length that it was made for, rounded up to a multiple of 8; lengths are exact.
///
/// set() can hold up the loop for 5 s, and throw std::errc::timed_out then, if a process is stopped
/// in the middle of one; it throws errc::protocol if the memory of the list's lock was overwritten.
///
/// A handle of an object without a name; it travels as an argument and through pipes. Any number of
/// threads may use it at a time.
class list {
public:
    /// An item of bytes.
    using bytes = std::vector<std::byte>;
    /// What a slot can hold.
    using item = std::variant<std::monostate, bool, std::int64_t, double, std::string, bytes>;

    /// Makes a new one of these. Throws std::invalid_argument if it is too large, std::system_error
    /// (EMFILE, ...).
    explicit list(std::span<const item> items);
    list(std::initializer_list<item> items)
        : list(std::span<const item>(items.begin(), items.size())) {}
    list(list&&) noexcept = default;
    list& operator=(list&&) noexcept = default;
    /// Another handle of the same list. Throws std::invalid_argument, as all others do, if this one
    /// has been moved from.
    [[nodiscard]] list share() const;

    /// How many slots there are; always the same.
    [[nodiscard]] std::size_t size() const;
    /// What slot i holds. Throws std::out_of_range if there is none, std::system_error
    /// (errc::protocol) if its memory holds no item.
    [[nodiscard]] item get(std::size_t i) const;
    /// Replaces it. Throws std::out_of_range, std::length_error if the text or bytes are longer
    /// than capacity(i).
    void set(std::size_t i, const item& to) const;
    /// How long text or bytes in slot i may be.
    [[nodiscard]] std::size_t capacity(std::size_t i) const;
    /// In how many slots it is. Kinds are compared first: 1 is not 1.0.
    [[nodiscard]] std::size_t count(const item& what) const;
    /// The first slot that it is in, if there is one.
    [[nodiscard]] std::optional<std::size_t> index(const item& what) const;

private:
    friend struct codec<list>;
    explicit list(std::shared_ptr<detail::list_state> of) noexcept : state_(std::move(of)) {}
    [[nodiscard]] const std::shared_ptr<detail::list_state>& state(const char* operation) const;
    std::shared_ptr<detail::list_state> state_;
};

template <>
struct codec<list> {
    static constexpr std::uint64_t signature = 0x6970636c697374;
    static constexpr std::size_t min_size = 3;
    static constexpr bool carries_handles = true;
    static void encode(encoder& out, const list& l);
    static list decode(decoder& in);
};

}  // namespace runnel::ipc

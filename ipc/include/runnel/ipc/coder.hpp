// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <runnel/error.hpp>
#include <runnel/unique_fd.hpp>

/// The two ends that a codec works with: an encoder collects bytes and descriptors, a decoder takes
/// them apart again and checks what it reads. See <runnel/ipc/codec.hpp>, which is needed to write
/// or read values.
namespace runnel::ipc {

class encoder;
class decoder;

template <class T>
struct codec;  // in <runnel/ipc/codec.hpp>

/// Whether a trivially copyable class that is no aggregate travels as its bytes. Specialise it to
/// true to promise that T has no padding, that its bytes mean the same in every process (no
/// pointers) and that all of them are harmless.
template <class T>
inline constexpr bool enable_raw_codec = false;

/// The values of an enum that decode accepts, from first to last:
///
///     template <>
///     inline constexpr auto runnel::ipc::enum_range<color> = std::pair(color::red, color::blue);
///
/// Without it, every value of the underlying type passes. An enum that does not name its
/// underlying type must have a range: other values would be undefined behaviour.
template <class E>
inline constexpr auto enum_range = nullptr;

/// Containers and custom codecs may be nested this deep. Elements of containers may take 1 MiB plus
/// 256 times the encoded size, which only large and nearly empty elements exceed. Beyond either,
/// encode throws std::invalid_argument, decode a protocol error.
inline constexpr std::size_t max_nesting = 100;

namespace detail {

template <class T>
consteval bool explain();  // does not compile when T does not travel; the error says why
template <class T>
void encode_value(encoder& out, const T& value);
template <class T>
T decode_value(decoder& in);
class nesting;

}  // namespace detail

/// Collects the bytes of values, and the numbers of the descriptors that go with them. The
/// descriptors are borrowed: they must stay open until the message is sent. After an exception,
/// what was written is incomplete: clear() it.
class encoder {
public:
    /// Writes to storage of its own, which grows and is kept by clear().
    encoder() noexcept = default;
    /// Writes to `place` as long as it suffices, then moves all to storage of its own.
    explicit encoder(std::span<std::byte> place) noexcept
        : begin_(place.data()), next_(begin_), end_(begin_ + place.size()) {}
    encoder(const encoder&) = delete;
    encoder& operator=(const encoder&) = delete;

    /// Appends a value, as codec<T> says. For use inside codecs; `encode` checks the limits too.
    template <class T>
    void write(const T& value) {
        static_assert(detail::explain<T>());
        detail::encode_value<T>(*this, value);
    }
    /// Appends bytes as they are, without a count.
    void write_bytes(std::span<const std::byte> from) {
        if (!from.empty()) std::memcpy(extend(from.size()), from.data(), from.size());
    }
    /// Appends the count of a container as a varint. `memory_each` is what an element takes in
    /// memory, if that may be much more than its bytes.
    void write_size(std::size_t count, std::size_t memory_each = 0);
    /// Appends a reference to the descriptor `number`; a negative number is "none".
    void write_handle(int number);
    /// Appends n bytes of unspecified value for the caller to fill in.
    [[nodiscard]] std::byte* extend(std::size_t n) {
        if (static_cast<std::size_t>(end_ - next_) < n) grow(n);
        return std::exchange(next_, next_ + n);
    }

    /// What was written.
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {begin_, next_}; }
    /// The descriptors that go with it, in their order.
    [[nodiscard]] std::span<const int> handles() const noexcept { return handles_; }
    /// Whether the bytes are still where the constructor said.
    [[nodiscard]] bool in_place() const noexcept { return !owned_; }
    /// How many bytes the storage holds before it has to grow.
    [[nodiscard]] std::size_t capacity() const noexcept {
        return static_cast<std::size_t>(end_ - begin_);
    }
    /// Forgets what was written and keeps the storage.
    void clear() noexcept {
        next_ = begin_;
        handles_.clear();
        memory_ = 0;
    }
    /// Throws std::invalid_argument if a decoder would refuse what was written as too large in
    /// memory.
    void check_limits() const;

private:
    friend class detail::nesting;
    [[gnu::cold]] void grow(std::size_t n);

    std::byte* begin_ = nullptr;
    std::byte* next_ = nullptr;
    std::byte* end_ = nullptr;
    std::unique_ptr<std::byte[]> owned_;
    std::vector<int> handles_;
    std::size_t memory_ = 0;
    std::size_t depth_ = 0;
};

/// Takes values out of a message. Everything throws std::system_error (errc::protocol) when the
/// message does not hold what is asked for. The bytes must not change meanwhile: copy them first
/// if an untrusted peer can still write them.
class decoder {
public:
    /// Reads `from`; moves descriptors out of `handles`.
    explicit decoder(std::span<const std::byte> from, std::span<unique_fd> handles = {}) noexcept;
    decoder(const decoder&) = delete;
    decoder& operator=(const decoder&) = delete;

    /// The next value.
    template <class T>
    [[nodiscard]] T read() {
        static_assert(detail::explain<T>());
        return detail::decode_value<T>(*this);
    }
    /// The next n bytes; they belong to the message.
    [[nodiscard]] std::span<const std::byte> read_bytes(std::size_t n) {
        if (remaining() < n) fail("the message ends inside a value");
        return {std::exchange(next_, next_ + n), n};
    }
    /// The count of a container, checked against the bytes that are left (an element takes at least
    /// `bytes_each`) and, if `memory_each` is given as in write_size, against the memory limit.
    [[nodiscard]] std::size_t read_size(std::size_t bytes_each, std::size_t memory_each = 0);
    /// The next descriptor; empty if "none" was written. Each can be taken once.
    [[nodiscard]] unique_fd read_handle();

    /// How many bytes are left to be read.
    [[nodiscard]] std::size_t remaining() const noexcept {
        return static_cast<std::size_t>(end_ - next_);
    }
    /// Throws unless all bytes and all descriptors were used.
    void finish() const;
    /// Throws the protocol error "decode at byte <n> of <size>: <what>".
    [[noreturn, gnu::cold]] void fail(std::string_view what) const;

private:
    friend class detail::nesting;

    const std::byte* begin_;
    const std::byte* next_;
    const std::byte* end_;
    std::span<unique_fd> handles_;
    std::size_t memory_;  // what elements may still take
    std::size_t depth_ = 0;
};

// implementation

namespace detail {

inline constexpr std::size_t free_memory = std::size_t{1} << 20;
inline constexpr std::size_t memory_per_byte = 256;

/// What the elements of containers may take in memory when the message has `size` bytes.
constexpr std::size_t memory_limit(std::size_t size) noexcept {
    constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
    if (size > (most - free_memory) / memory_per_byte) return most;
    return free_memory + size * memory_per_byte;
}

/// One level of nesting while it lives.
class nesting {
public:
    explicit nesting(encoder& out) : depth_(out.depth_) {
        if (depth_ == max_nesting) throw std::invalid_argument("encode: value nested too deeply");
        ++depth_;
    }
    explicit nesting(decoder& in) : depth_(in.depth_) {
        if (depth_ == max_nesting) in.fail("value nested too deeply");
        ++depth_;
    }
    nesting(const nesting&) = delete;
    nesting& operator=(const nesting&) = delete;
    ~nesting() { --depth_; }

private:
    std::size_t& depth_;
};

}  // namespace detail

inline void encoder::write_size(std::size_t count, std::size_t memory_each) {
    if (memory_each != 0) {
        if (count > (std::numeric_limits<std::size_t>::max() - memory_) / memory_each) {
            throw std::invalid_argument("encode: value too large in memory");
        }
        memory_ += count * memory_each;
    }
    while (count >= 0x80) {
        *extend(1) = static_cast<std::byte>(count | 0x80);
        count >>= 7;
    }
    *extend(1) = static_cast<std::byte>(count);
}

inline void encoder::write_handle(int number) {
    if (number >= 0) handles_.push_back(number);
    write_size(number >= 0 ? handles_.size() : 0);
}

inline void encoder::check_limits() const {
    if (memory_ > detail::memory_limit(bytes().size())) {
        throw std::invalid_argument(
            "encode: elements of containers take more than 256 times their encoded size");
    }
}

inline void encoder::grow(std::size_t n) {
    const std::size_t size = bytes().size();
    const auto capacity = static_cast<std::size_t>(end_ - begin_);
    if (n > std::numeric_limits<std::size_t>::max() / 4 - size) {
        throw std::length_error("encode: message too long");
    }
    const std::size_t larger = std::max({std::size_t{256}, 2 * capacity, size + n});
    auto storage = std::make_unique_for_overwrite<std::byte[]>(larger);
    if (size != 0) std::memcpy(storage.get(), begin_, size);
    owned_ = std::move(storage);
    begin_ = owned_.get();
    next_ = begin_ + size;
    end_ = begin_ + larger;
}

inline decoder::decoder(std::span<const std::byte> from, std::span<unique_fd> handles) noexcept
    : begin_(from.data()),
      next_(begin_),
      end_(begin_ + from.size()),
      handles_(handles),
      memory_(detail::memory_limit(from.size())) {}

inline std::size_t decoder::read_size(std::size_t bytes_each, std::size_t memory_each) {
    std::uint64_t count = 0;
    for (unsigned shift = 0;; shift += 7) {
        const auto byte = std::to_integer<std::uint64_t>(read_bytes(1).front());
        if (shift == 63 && byte > 1) fail("a count has more than 64 bits");
        if (shift != 0 && byte == 0) fail("a count is longer than it needs to be");
        count |= (byte & 0x7f) << shift;
        if (byte < 0x80) break;
    }
    if (bytes_each != 0 && count > remaining() / bytes_each) {
        fail("a count is larger than the rest of the message can hold");
    }
    if (memory_each != 0) {
        if (count > memory_ / memory_each) fail("the elements would take too much memory");
        memory_ -= count * memory_each;
    }
    return count;
}

inline unique_fd decoder::read_handle() {
    const std::size_t index = read_size(0);
    if (index == 0) return {};
    if (index > handles_.size()) fail("a descriptor is named that did not come along");
    unique_fd& handle = handles_[index - 1];
    if (!handle) fail("a descriptor is named twice");
    return std::move(handle);
}

inline void decoder::finish() const {
    if (next_ != end_) fail("bytes follow the value");
    for (const unique_fd& handle : handles_) {
        if (handle) fail("a descriptor came along that the value does not name");
    }
}

inline void decoder::fail(std::string_view what) const {
    std::string text = "decode at byte " + std::to_string(next_ - begin_) + " of " +
                       std::to_string(end_ - begin_) + ": ";
    throw std::system_error(make_error_code(errc::protocol), text.append(what));
}

}  // namespace runnel::ipc

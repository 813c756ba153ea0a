// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <runnel/unique_fd.hpp>

namespace runnel::ipc::detail {

/// What one side of a channel says to the other: in a segment that only that side can write.
struct side_words {
    /// How far it is, in bytes since the beginning: what has been published, or released. The low
    /// half is what the other side sleeps on.
    alignas(128) std::atomic<std::uint64_t> position{0};
    /// How the other side wakes this one: see channel_side. Apart from what changes all the time.
    alignas(128) std::atomic<std::uint64_t> asleep{0};
    /// How many handles there have been for this side, one after the other.
    std::atomic<std::uint32_t> claims{0};
    /// How often this side has slept.
    std::atomic<std::uint32_t> sleeps{0};
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// What a segment is; compared when it is attached.
struct segment_type {
    const char* name;          // "channel", for errors
    std::uint32_t kind;        // which segment of which object
    std::uint64_t type;        // signature_of its elements
    std::uint64_t ring = 0;    // bytes, a power of two of at least a page, or none
    std::uint64_t limit = 0;   // bytes of the ring that may be in use
    std::uint32_t step = 0;    // records begin at multiples of it
    std::uint32_t length = 0;  // of every record; 0: each has its own
};

/// Memory that one side writes and the other maps read-only: a sealed memfd with a typed header, a
/// page of words, and perhaps a ring of bytes, which is mapped twice, one copy behind the other, so
/// that every record in it is contiguous.
class ring_segment {
public:
    static constexpr std::size_t page_size = 4096;
    enum class access : bool { read, write };

    ring_segment() noexcept = default;
    /// A new one, all zero but for the header, sparse. `one_writer`: nobody but this object is ever
    /// going to be able to write it, not even with its descriptor.
    ring_segment(const segment_type& what, bool one_writer);
    /// One that came from elsewhere; of `what` the name, kind, type and length have to be right, and
    /// the step if it is not 0. Throws std::system_error: errc::protocol if it is none, and why.
    ring_segment(unique_fd memory, const segment_type& what, bool has_ring, access how);
    ring_segment(ring_segment&& other) noexcept { swap(other); }
    ring_segment& operator=(ring_segment&& other) noexcept {
        swap(other);
        return *this;
    }
    ~ring_segment();

    [[nodiscard]] int fd() const noexcept { return memory_.get(); }
    [[nodiscard]] unique_fd duplicate() const { return memory_.duplicate(); }
    /// A descriptor of the same memory with which it cannot be mapped for writing.
    [[nodiscard]] unique_fd read_only() const;
    [[nodiscard]] std::byte* page() const noexcept { return at_; }
    [[nodiscard]] side_words& words() const noexcept {
        return *reinterpret_cast<side_words*>(at_ + header_size);
    }
    [[nodiscard]] std::byte* ring() const noexcept { return at_ + page_size; }
    [[nodiscard]] const segment_type& type() const noexcept { return type_; }
    [[nodiscard]] bool has_one_writer() const noexcept { return one_writer_; }

private:
    static constexpr std::size_t header_size = 128;
    void map(access how);
    void swap(ring_segment& other) noexcept;

    unique_fd memory_;
    segment_type type_{};
    std::byte* at_ = nullptr;
    bool one_writer_ = false;
};

}  // namespace runnel::ipc::detail

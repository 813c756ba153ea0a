// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <runnel/ipc/detail/robust_lock.hpp>
#include <runnel/unique_fd.hpp>

namespace runnel::ipc::detail {

/// What an object in shared memory is; compared when it is attached.
struct object_type {
    const char* name;           // "queue", for errors
    std::uint32_t kind;         // which object
    std::uint64_t type = 0;     // signature_of its elements
    std::uint32_t guarded = 1;  // how many guarded pages
    std::size_t body = 0;       // bytes behind them; attaching takes what is there if it is 0
    bool mirrored = false;      // the body is mapped twice, one behind the other
};

/// The memory of a shared object: a sealed memfd, mapped. First come its guarded pages, each of
/// which may have one robust lock at its end; then the body, which starts at a page. The first page
/// begins with a header that carries magic, version, the hash of the type and the sizes.
///
///     page 0 | private | page 1 | private | ... | body
class object_memory {
public:
    static constexpr std::size_t page_size = 4096;
    /// Where what belongs to the object begins in page 0; the other pages are free from the start.
    static constexpr std::size_t header_size = 64;
    /// What a guarded page holds besides its last cache line, where its lock is.
    static constexpr std::size_t page_room = page_size - 64;
    /// What the line of the lock has room for besides: what is changed under it.
    static constexpr std::size_t line_room = 48;

    object_memory() noexcept = default;
    /// A new object, all zero but for the header. Not one to be attached before publish().
    explicit object_memory(const object_type& what);
    /// One that came from elsewhere. Throws std::system_error: errc::protocol if it is none, or one
    /// of another type, version or size, and says which.
    object_memory(unique_fd memory, const object_type& what);
    object_memory(object_memory&& other) noexcept { swap(other); }
    object_memory& operator=(object_memory&& other) noexcept {
        swap(other);
        return *this;
    }
    ~object_memory();

    /// The object is complete.
    void publish() noexcept;
    [[nodiscard]] int fd() const noexcept { return memory_.get(); }
    [[nodiscard]] std::byte* page(std::size_t i) const noexcept { return at_ + 2 * i * page_size; }
    [[nodiscard]] std::byte* line(std::size_t i) const noexcept { return page(i) + page_room; }
    [[nodiscard]] std::byte* body() const noexcept { return at_ + 2 * guarded_ * page_size; }
    [[nodiscard]] std::size_t body_size() const noexcept { return body_; }
    /// Where the body begins in the file.
    [[nodiscard]] std::size_t body_offset() const noexcept { return guarded_ * page_size; }
    /// The lock of guarded page i.
    [[nodiscard]] robust_lock lock(std::size_t i) const noexcept {
        return robust_lock(
            *reinterpret_cast<robust_lock::word*>(page(i) + page_size - lock_from_end));
    }

private:
    static constexpr std::size_t lock_from_end = 16;
    void map(const object_type& what);
    void swap(object_memory& other) noexcept;

    unique_fd memory_;
    std::byte* at_ = nullptr;
    std::size_t guarded_ = 0;
    std::size_t body_ = 0;
    std::size_t mapped_ = 0;
};

}  // namespace runnel::ipc::detail

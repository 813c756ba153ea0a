// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <runnel/ipc/codec.hpp>
#include <runnel/unique_fd.hpp>

namespace runnel::ipc {

/// What becomes of the name of named memory when the handle that made it is dropped.
enum class shared_name : unsigned char {
    unlink,  ///< it is taken away; the memory stays for those who have it
    keep     ///< it stays, until unlink(), or the next start of the system
};

/// Bytes that processes share.
///
///     ipc::shared_memory frame(1920 * 1080 * 4);       // all zero
///     auto child = ipc::spawn(draw, frame.share());    // writes to frame.bytes()
///
/// Memory without a name travels as an argument and through pipes, and is gone with its last
/// handle. Named memory is for others, a stock Python's multiprocessing.shared_memory among them;
/// a name stays when the process that made it is killed, as names do. What is written is seen by
/// all, with no order: use an ipc::mutex, event or barrier beside it.
///
/// Every handle maps the memory for itself, as large as it was then: see refresh(). Its memory is
/// taken from the system when it is first written, that of named memory at once.
class shared_memory {
public:
    /// Makes new memory without a name. Throws std::invalid_argument for no bytes,
    /// std::system_error (EMFILE, ENOMEM, ...).
    explicit shared_memory(std::size_t size);
    /// Makes new memory under a name that nobody has, or, if `name` is empty, under one of its own;
    /// readable for this user alone. A leading '/' is allowed, as shm_open(3) has it. Throws
    /// std::invalid_argument for no bytes or a name with '/' or NUL, std::system_error (EEXIST,
    /// ENOSPC, ...).
    [[nodiscard]] static shared_memory create_named(std::string_view name, std::size_t size,
                                                    shared_name after = shared_name::unlink);
    /// Memory that somebody has named; never unlinked by this handle. Throws
    /// std::invalid_argument, std::system_error (ENOENT; errc::protocol if it is empty, ...).
    [[nodiscard]] static shared_memory open_named(std::string_view name);
    /// Takes a name away; the memory stays for those who have it. Throws std::invalid_argument,
    /// std::system_error (ENOENT, ...).
    static void unlink(std::string_view name);

    shared_memory(shared_memory&& other) noexcept { swap(other); }
    shared_memory& operator=(shared_memory&& other) noexcept {
        shared_memory(std::move(other)).swap(*this);
        return *this;
    }
    ~shared_memory();
    /// Another handle of the same memory. Throws std::invalid_argument, as all others do, if this
    /// one has been moved from.
    [[nodiscard]] shared_memory share() const;

    /// The bytes, to be written. Throws std::system_error (EPERM) if they are frozen.
    [[nodiscard]] std::span<std::byte> bytes() const;
    /// The bytes, to be read.
    [[nodiscard]] std::span<const std::byte> view() const noexcept { return {at_, size_}; }
    /// How many are mapped here.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    /// The name without a leading '/', or nothing.
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    /// The descriptor; it stays the handle's.
    [[nodiscard]] int native_handle() const noexcept { return memory_.get(); }

    /// Makes it larger or smaller; what is added is zero. Earlier spans of this handle are no more.
    /// Whoever else has it mapped sees what is added after refresh(), and is killed by SIGBUS when
    /// it touches what is gone. Throws std::invalid_argument for no bytes, std::system_error
    /// (EPERM after fix_size()).
    void resize(std::size_t size);
    /// Maps what is there now; gives the size. Earlier spans of this handle are no more.
    std::size_t refresh();
    /// Nobody can change the size any more. Throws std::system_error (EPERM: named memory).
    void fix_size();
    /// Nobody can write it any more, here or elsewhere, nor change its size. Earlier spans of this
    /// handle are no more. Throws std::system_error (EBUSY, and nothing has changed, while somebody
    /// else, another handle of this process as well, has it mapped to be written; EPERM: named
    /// memory).
    void freeze();
    /// Has it been frozen, as far as this handle has seen?
    [[nodiscard]] bool frozen() const noexcept { return frozen_; }

private:
    friend struct codec<shared_memory>;
    shared_memory() noexcept = default;
    void swap(shared_memory& other) noexcept;
    void require(const char* operation) const;
    void map(const char* operation, std::size_t size);
    void unmap() noexcept;

    unique_fd memory_;
    std::byte* at_ = nullptr;
    std::size_t size_ = 0;
    bool frozen_ = false;
    bool unlinks_ = false;
    unsigned forks_ = 0;
    std::string name_;
};

template <>
struct codec<shared_memory> {
    static constexpr std::uint64_t signature = 0x69706373686d;
    static constexpr std::size_t min_size = 1;
    static constexpr bool carries_handles = true;
    static void encode(encoder& out, const shared_memory& m);
    static shared_memory decode(decoder& in);
};

}  // namespace runnel::ipc

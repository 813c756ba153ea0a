// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include <runnel/io.hpp>
#include <runnel/ipc/coder.hpp>
#include <runnel/unique_fd.hpp>

namespace runnel::ipc::detail {

class segment_pool;
struct handle_access;  // makes handles, in connection.hpp

/// What a handle owns: the descriptor, which stays known under one address when the handle moves,
/// and the segments that it sends large bodies in. Operations under way share it with the handle,
/// so that closing or dropping the handle ends them with errc::closed. Not for several threads at a
/// time.
class endpoint {
public:
    endpoint(unique_fd fd, std::size_t most, bool reuse) noexcept;
    endpoint(const endpoint&) = delete;
    endpoint& operator=(const endpoint&) = delete;

    [[nodiscard]] int number() const noexcept { return fd_.get(); }
    [[nodiscard]] bool closed() const noexcept { return !fd_; }
    void close() noexcept;
    [[nodiscard]] endpoint* share() const;

    /// Closes it over malformed bytes that were found behind good messages; what is tried next
    /// throws them. `why` is a literal.
    void spoil(const char* why) noexcept {
        close();
        flaw_ = why;
    }
    /// Throws that it is closed, or why it was spoiled.
    [[noreturn]] void throw_closed(std::string_view operation) const;

    /// Made when it is first asked for.
    [[nodiscard]] segment_pool& segments();
    /// A message went without a segment: after many of those the pool's memory is given back.
    void sent_without_segment() noexcept {
        if (pool_ != nullptr) count_without_segment();
    }
    /// Whether a datagram with a part of a large body was too much for the send buffer.
    bool narrow = false;

    /// An operation begins: until its end_operation() the loop is there.
    void begin_on(loop& home) noexcept {
        home_ = &home;
        ++pending_;
        ++users_;
    }
    void end_operation() noexcept {
        --pending_;
        release();
    }
    /// What knows it without waiting, such as a handle.
    void hold() noexcept { ++users_; }
    void release() noexcept {
        if (--users_ == 0) destroy();
    }

    const std::size_t max_message;
    /// Whether large bodies are sent in memory that receivers have had before.
    const bool reuse_memory;

private:
    /// Not inline: g++ 12 takes two owners in one function for a use after free.
    void destroy() noexcept;
    ~endpoint();
    void count_without_segment() noexcept;

    unique_fd fd_;
    loop* home_ = nullptr;
    std::size_t users_ = 1;
    std::size_t pending_ = 0;
    const char* flaw_ = nullptr;
    std::unique_ptr<segment_pool> pool_;
};

/// The untyped part of connection, sender and receiver.
class message_handle {
public:
    /// Ends what is pending on this handle, in this loop, with errc::closed; idempotent. Other
    /// handles on the same end stay open.
    void close() noexcept {
        if (end_ != nullptr) end_->close();
    }
    [[nodiscard]] bool closed() const noexcept { return end_ == nullptr || end_->closed(); }
    /// The descriptor of a SEQPACKET socket, or -1; it stays the handle's.
    [[nodiscard]] int native_handle() const noexcept { return closed() ? -1 : end_->number(); }

protected:
    message_handle() noexcept = default;
    explicit message_handle(endpoint* end) noexcept : end_(end) {}
    message_handle(message_handle&& other) noexcept : end_(std::exchange(other.end_, nullptr)) {}
    message_handle& operator=(message_handle&& other) noexcept {
        if (this != &other) {
            drop();
            end_ = std::exchange(other.end_, nullptr);
        }
        return *this;
    }
    ~message_handle() { drop(); }

    [[nodiscard]] endpoint* end() const noexcept { return end_; }
    [[nodiscard]] endpoint* share_end() const;

private:
    friend struct end_access;
    friend void write_end(encoder& out, const message_handle& handle, std::uint64_t signature);
    void drop() noexcept {
        if (end_ == nullptr) return;
        end_->close();
        std::exchange(end_, nullptr)->release();
    }
    endpoint* end_ = nullptr;
};

/// For what waits on ends without being their handle.
struct end_access {
    static endpoint* of(const message_handle& handle) noexcept { return handle.end_; }
};

/// A socket pair of two fresh ends.
std::pair<endpoint*, endpoint*> make_ends(std::size_t max_message, bool reuse_memory);
/// How a handle travels: its descriptor, the signature of what it carries, its options.
void write_end(encoder& out, const message_handle& handle, std::uint64_t signature);
/// Null for a handle that was closed when it was sent.
endpoint* read_end(decoder& in, std::uint64_t signature);

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <sys/socket.h>
#include <sys/uio.h>

#include <runnel/io.hpp>
#include <runnel/ipc/coder.hpp>
#include <runnel/unique_fd.hpp>

// Messages over a SEQPACKET socket, for those who know nothing of their types: framing, segments
// for large bodies, descriptors. A message is one datagram: a header, and the body or the
// descriptor of a memfd that holds it. The datagram is sent last, so there is no half a message.

namespace runnel::ipc::detail {

/// What a datagram begins with. Peers are of the same machine: native order, no padding.
struct frame_header {
    static constexpr std::uint16_t expected_magic = 0x6e72;  // "rn"
    static constexpr std::uint8_t expected_version = 1;
    enum : std::uint8_t { whole = 0, in_segment = 1 };

    std::uint16_t magic = expected_magic;
    std::uint8_t version = expected_version;
    std::uint8_t kind = whole;  // where the body is
    std::uint32_t handles = 0;  // descriptors that belong to the value; a segment comes after them
    std::uint64_t length = 0;   // of the body
    std::uint64_t serial = 0;   // tells messages with descriptors apart
};
static_assert(sizeof(frame_header) == 24);

/// Larger bodies travel in a segment; one that is made for a single message costs ten times as much
/// as a datagram of the same size. A socket's default send buffer (212992 bytes) takes two
/// datagrams of this size before the sender waits; where an administrator made it smaller, segments
/// serve.
inline constexpr std::size_t largest_datagram_body = std::size_t{128} << 10;
/// SCM_MAX_FD of the kernel.
inline constexpr std::size_t most_descriptors = 253;

/// What a handle owns: the descriptor, which stays known under one address when the handle moves.
/// Operations under way share it with the handle, so that closing or dropping the handle ends them
/// with errc::closed. Not for several threads at a time.
class endpoint {
public:
    endpoint(unique_fd fd, std::size_t most) noexcept : max_message(most), fd_(std::move(fd)) {}
    endpoint(const endpoint&) = delete;
    endpoint& operator=(const endpoint&) = delete;

    [[nodiscard]] int number() const noexcept { return fd_.get(); }
    [[nodiscard]] bool closed() const noexcept { return !fd_; }
    void close() noexcept;
    [[nodiscard]] endpoint* share() const;

    void begin_on(loop& home) noexcept {
        home_ = &home;
        ++users_;
    }
    void release() noexcept {
        if (--users_ == 0) delete this;
    }

    const std::size_t max_message;

private:
    ~endpoint() = default;
    unique_fd fd_;
    loop* home_ = nullptr;
    std::size_t users_ = 1;
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
    friend void write_end(encoder& out, const message_handle& handle, std::uint64_t signature);
    void drop() noexcept {
        if (end_ == nullptr) return;
        end_->close();
        std::exchange(end_, nullptr)->release();
    }
    endpoint* end_ = nullptr;
};

/// A socket pair of two fresh ends.
std::pair<endpoint*, endpoint*> make_ends(std::size_t max_message);
/// How a handle travels: its descriptor, the signature of what it carries, its limit.
void write_end(encoder& out, const message_handle& handle, std::uint64_t signature);
/// Null for a handle that was closed when it was sent.
endpoint* read_end(decoder& in, std::uint64_t signature);

// Buffers that are reused by all messages of a thread.
struct outgoing;
struct incoming;
struct give_back {
    void operator()(outgoing* used) const noexcept;
    void operator()(incoming* used) const noexcept;
};

/// The sending of one message; the value is encoded by the derived class.
class send_core : private io::stepwise {
public:
    static constexpr bool is_atomic = true;
    using io::stepwise::await_cancel;
    using io::stepwise::await_ready;
    void await_describe(std::string& text) const;

protected:
    explicit send_core(endpoint* end) noexcept;
    ~send_core();
    /// Where the value is to be written. Throws if the handle is closed.
    encoder& prepare();
    /// Sends what was written; false: it is done. Throws if it is more than can be sent.
    bool submit(waiter who);
    /// Throws if it failed.
    void finish();

private:
    bool step(int result) noexcept override;
    void move_to_segment();
    void compose() noexcept;
    endpoint* end_;
    bool begun_ = false;
    int error_ = 0;
    std::unique_ptr<outgoing, give_back> out_;
    frame_header header_;
    ::iovec parts_[2]{};
    ::msghdr message_{};
};

/// The receiving of one message, or, without a place for one, the waiting for it.
class receive_core : private io::stepwise {
public:
    static constexpr bool is_atomic = true;
    using io::stepwise::await_cancel;
    using io::stepwise::await_ready;
    void await_describe(std::string& text) const;
    bool await_suspend(waiter who);

protected:
    enum class way : std::uint8_t {
        look,    // the message stays where it is
        direct,  // to `place`, which suffices for every right message, without descriptors
        peek     // look first, so that it is taken only when its descriptors can be held
    };
    receive_core(endpoint* end, way how, std::span<std::byte> place) noexcept;
    ~receive_core();

    struct contents {
        std::span<const std::byte> body;
        std::span<unique_fd> handles;
    };
    /// Throws if waiting failed.
    void finish();
    /// The message, which belongs to this object; empty at the end.
    std::optional<contents> take();
    /// A message that cannot be decoded: closes the handle if it is malformed, and rethrows.
    [[noreturn]] void refuse(const std::system_error& why);

private:
    bool step(int result) noexcept override;
    bool consume() noexcept;
    void map_segment(unique_fd segment, contents& into);
    [[noreturn]] void malformed(std::string_view what);

    endpoint* end_;
    way how_;
    bool begun_ = false;
    bool stale_ = false;  // the handle was closed between the look and the taking
    bool lost_ = false;   // the message is gone, for want of room for its descriptors
    int error_ = 0;
    std::span<std::byte> place_;
    std::unique_ptr<incoming, give_back> in_;
    frame_header header_;
    ::iovec part_{};
    ::msghdr message_{};
};

}  // namespace runnel::ipc::detail

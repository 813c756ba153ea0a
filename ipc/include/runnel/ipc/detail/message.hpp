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
#include <runnel/ipc/bytes.hpp>
#include <runnel/ipc/coder.hpp>
#include <runnel/ipc/detail/endpoint.hpp>
#include <runnel/unique_fd.hpp>

// Messages over a SEQPACKET socket, for those who know nothing of their types: framing, segments
// for large bodies, descriptors. A message is one datagram: a header, and the body, or its
// beginning and the descriptor of a memfd with the rest. The datagram is sent last, so there is no
// half a message.

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

/// Larger bodies travel in a segment, all but their beginning. A socket's default send buffer
/// (212992 bytes) takes two datagrams of this size before the sender waits; where an administrator
/// made it smaller, segments serve.
inline constexpr std::size_t largest_datagram_body = std::size_t{128} << 10;
/// The beginning of a large body goes with the datagram, so that the send buffer's limit holds for
/// large messages as well: about four of them are under way at a time, two of the very large.
inline constexpr std::size_t large_beginning = std::size_t{48} << 10;
inline constexpr std::size_t very_large = std::size_t{4} << 20;
inline constexpr std::size_t very_large_beginning = std::size_t{100} << 10;
/// SCM_MAX_FD of the kernel.
inline constexpr std::size_t most_descriptors = 253;

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
    /// Throws if the handle is closed.
    void check_open(const char* verb = "send") const;
    /// Where a value can be written that has no other place. Throws if the handle is closed.
    encoder& prepare();
    /// Sends what was written there; false: it is done. Throws if it is more than can be sent.
    bool submit(waiter who);
    /// Sends a small message as it is: room for a header, and the body. With one plain send(2),
    /// which costs a tenth less than sendmsg(2).
    bool submit_frame(waiter who, std::span<std::byte> frame);
    /// Sends a body that stays where it is until the end.
    bool submit(waiter who, std::span<const std::byte> body);
    /// Throws if it failed.
    void finish();

private:
    bool begin() noexcept override;
    bool step(int result) noexcept override;
    [[noreturn]] void too_long(std::size_t size, std::size_t accepted) const;
    bool move_to_segment() noexcept;
    void compose(std::size_t beginning) noexcept;
    endpoint* end_;
    bool begun_ = false;
    int error_ = 0;
    std::unique_ptr<outgoing, give_back> out_;  // if there are descriptors, or no other place
    std::span<const std::byte> body_;
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
        direct,  // to `place`, which suffices for every right message; descriptors are dropped
        plain,   // look first, so that it is taken only when its segment can be held
        peek     // the same with the descriptors of a value
    };
    receive_core(endpoint* end, way how, std::span<std::byte> place) noexcept;
    ~receive_core();

    struct contents {
        std::span<const std::byte> body;  // or its beginning, if there is a rest
        std::span<unique_fd> handles;
        std::size_t rest = 0;  // of the body, in the segment
        [[nodiscard]] std::size_t size() const noexcept { return body.size() + rest; }
    };
    /// Throws if the handle is closed.
    void check_open(const char* verb) const;
    /// Throws if waiting failed.
    void finish();
    /// The message, which belongs to this object; empty at the end.
    std::optional<contents> take();
    /// All of the body, in one piece.
    std::span<const std::byte> whole(contents& from);
    bytes whole_bytes(contents& from);
    void whole_into(contents& from, std::span<std::byte> into);
    /// A message that cannot be decoded: closes the handle if it is malformed, and rethrows.
    [[noreturn]] void refuse(const std::system_error& why);
    /// Throws errc::message_too_long.
    [[noreturn]] void too_long(std::size_t size, std::size_t accepted);

private:
    bool step(int result) noexcept override;
    bool consume() noexcept;
    [[nodiscard]] std::size_t needed(const frame_header& head) const noexcept;
    void read_rest(std::span<std::byte> into, std::size_t at);
    [[noreturn]] void malformed(std::string_view what);

    endpoint* end_;
    way how_;
    bool begun_ = false;
    bool stale_ = false;  // the handle was closed between the look and the taking
    bool lost_ = false;   // the message is gone, for want of room for its descriptors
    int error_ = 0;
    std::span<std::byte> place_;
    std::unique_ptr<incoming, give_back> in_;
    unique_fd segment_;
    frame_header header_;
    ::iovec part_{};
    ::msghdr message_{};
};

/// Why what was received is no message with a body of this size; null if it is one. The body
/// itself, and descriptors, are not looked at.
const char* frame_flaw(const frame_header& head, std::size_t size, int flags) noexcept;

}  // namespace runnel::ipc::detail

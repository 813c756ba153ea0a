// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include <runnel/ipc/detail/message.hpp>

// Several messages with one or two system calls: the first is sent or received as any message is,
// and takes with it, in its turn, what can go at once. Nothing is received that was not asked for.

namespace runnel::ipc::detail {

inline constexpr std::size_t most_in_batch = 64;

/// The sending of at least one message.
class send_batch_core : private io::stepwise {
public:
    static constexpr bool is_atomic = true;
    using io::stepwise::await_cancel;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_describe(std::string& text) const;

protected:
    explicit send_batch_core(endpoint* end) noexcept;
    ~send_batch_core();
    /// Prepares frames of `size` bytes; how many of `wanted` it will be. Throws if the handle is
    /// closed.
    std::size_t prepare(std::size_t size, std::size_t wanted);
    /// Where frame i is.
    [[nodiscard]] std::span<std::byte> place(std::size_t i) noexcept {
        return {frames_ + i * size_, size_};
    }
    /// False: it is done.
    bool submit(waiter who);
    /// How many were sent. Throws if none could be.
    std::size_t finish();

private:
    bool step(int result) noexcept override;

    endpoint* end_;
    bool begun_ = false;
    std::size_t size_ = 0;
    std::size_t count_ = 0;
    std::size_t sent_ = 0;
    std::byte* frames_ = nullptr;
    std::unique_ptr<outgoing, give_back> out_;
    ::iovec part_{};
    ::msghdr message_{};
};

/// The receiving of at least one message.
class recv_batch_core : private io::stepwise {
public:
    static constexpr bool is_atomic = true;
    using io::stepwise::await_cancel;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_describe(std::string& text) const;
    bool await_suspend(waiter who);

protected:
    recv_batch_core(endpoint* end, std::size_t size, std::size_t most) noexcept;
    ~recv_batch_core();
    [[nodiscard]] std::size_t most() const noexcept { return most_; }
    /// Throws if waiting failed.
    void finish();
    /// The body of message i; empty behind the last. Throws errc::protocol.
    std::optional<std::span<const std::byte>> next(std::size_t i);
    /// A message that cannot be decoded, for whatever reason: those behind it are gone as well, so
    /// the handle is closed. True if it is to be thrown now, not by what is tried next.
    bool spoiled(bool first) noexcept;

private:
    bool step(int result) noexcept override;

    endpoint* end_;
    bool begun_ = false;
    std::size_t size_;
    std::size_t most_;
    std::size_t count_ = 0;
    std::unique_ptr<incoming, give_back> in_;
    struct datagram {
        std::uint16_t size = 0;
        std::uint16_t flags = 0;
    };
    std::array<datagram, most_in_batch> got_;
    ::iovec part_{};
    ::msghdr message_{};
};

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <runnel/error.hpp>

/// Messages that are bytes. A pipe of them sends a body as it is, without a count and without
/// copying it first, and its ends have send_bytes, recv_bytes and recv_bytes_into as well: see
/// <runnel/ipc/connection.hpp>.
///
///     auto ends = ipc::pipe<ipc::bytes>();
///     co_await ends.first.send_bytes(std::as_bytes(std::span(text)));
///     auto got = co_await ends.second.recv_bytes();                // std::optional<ipc::bytes>
namespace runnel::ipc {

/// A message of bytes.
using bytes = std::vector<std::byte>;

/// As a size: all that there is; as a limit: none.
inline constexpr std::size_t npos = static_cast<std::size_t>(-1);

/// What recv_bytes_into throws when a message is larger than its buffer. The message is not lost:
/// it is here. The code is errc::message_too_long.
class buffer_too_short : public std::system_error {
public:
    buffer_too_short(const std::string& text, bytes message)
        : std::system_error(errc::message_too_long, text),
          message_(std::make_shared<bytes>(std::move(message))) {}
    /// All of the message.
    [[nodiscard]] const bytes& message() const noexcept { return *message_; }
    /// Moves it out.
    [[nodiscard]] bytes take_message() noexcept { return std::move(*message_); }

private:
    std::shared_ptr<bytes> message_;  // exceptions are copied
};

}  // namespace runnel::ipc

// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>
#include <system_error>
#include <type_traits>

namespace runnel {

/// Failures that the system has no number for. They compare and travel as std::error_code.
enum class errc {
    protocol = 1,      ///< malformed bytes from a peer, or in memory that others can write
    message_too_long,  ///< larger than the receiver, the queue or the given limit accepts
    truncated,         ///< the stream ended inside a message
    closed,            ///< the handle was closed, here, while or before it was used
    wrong_thread,      ///< a loop used from a second thread, or a handle on a second loop
};

/// The category of `errc`; its name is "runnel".
[[nodiscard]] const std::error_category& error_category() noexcept;
[[nodiscard]] inline std::error_code make_error_code(errc e) noexcept {
    return {static_cast<int>(e), error_category()};
}

/// Throws std::system_error whose text reads "<operation> on <object>: <reason>", for instance
/// "recv on pipe 7: Bad file descriptor". `object_number` is appended to `object` unless negative.
[[noreturn]] void throw_error(std::error_code why, std::string_view operation,
                              std::string_view object, int object_number = -1);
/// The same for an errno value, which may be negative as the kernel returns it.
[[noreturn]] void throw_errno(int number, std::string_view operation, std::string_view object,
                              int object_number = -1);

}  // namespace runnel

template <>
struct std::is_error_code_enum<runnel::errc> : std::true_type {};

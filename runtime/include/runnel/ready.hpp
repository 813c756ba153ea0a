// SPDX-License-Identifier: MIT
#pragma once

#include <poll.h>

#include <runnel/io.hpp>

namespace runnel {

/// Waits until a read of `fd` would not block: there is something, or the end, or an error.
///
///     co_await readable(foreign_library_fd(h));
///     foreign_library_step(h);
///
/// For libraries that do their own reading and writing; streams need none of this. Gives the POLL*
/// events that are there, hang-up and error included, so never 0. The descriptor is borrowed, and
/// may be of any kind; regular files are always ready. Throws std::system_error that names it when
/// it is not open, errc::closed when io::cancel_pending is called for it. It is a moment's truth:
/// whoever else reads from it may be faster. Cancellation: atomic.
inline io::int_operation readable(int fd) noexcept { return io::poll(fd, POLLIN); }

/// Waits until a write to `fd` would not block, or would fail; the rest is as for readable.
inline io::int_operation writable(int fd) noexcept { return io::poll(fd, POLLOUT); }

}  // namespace runnel

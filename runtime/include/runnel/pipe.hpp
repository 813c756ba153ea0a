// SPDX-License-Identifier: MIT
#pragma once

#include <utility>

#include <runnel/stream.hpp>

namespace runnel {

/// The two ends of a pipe; see make_pipe.
struct pipe_ends {
    byte_reader reader;
    byte_writer writer;
};

/// A pipe of the kernel, close-on-exec, for bytes within this process or to a child that inherits
/// an end. The reader sees the end when every copy of the writing end is closed; a write throws
/// broken_pipe when no reader is left. Throws std::system_error (EMFILE, ...).
///
///     auto ends = make_pipe();
///     co_await ends.writer.write_all("hello\n");
[[nodiscard]] pipe_ends make_pipe();

/// Two streams, each of which reads what the other writes: a Unix socket pair, close-on-exec.
/// Throws std::system_error (EMFILE, ...).
[[nodiscard]] std::pair<byte_stream, byte_stream> make_socket_pair();

}  // namespace runnel

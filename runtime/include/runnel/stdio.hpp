// SPDX-License-Identifier: MIT
#pragma once

#include <runnel/stream.hpp>

namespace runnel {

/// Standard input as a stream: a terminal, a pipe, a file or /dev/null.
///
///     auto in = standard_input();
///     auto out = standard_output();
///     while (auto line = co_await in.read_until('\n')) co_await out.write_all(*line);
///
/// Descriptor 0 is borrowed: it is never closed, and never made non-blocking, which would strike
/// every process that shares the terminal. Make one and keep it: what was read ahead goes with it.
/// close() ends what is pending on descriptor 0; a pending read keeps no program from ending.
[[nodiscard]] byte_reader standard_input();

/// Standard output and standard error: descriptors 1 and 2, borrowed as above. They know nothing of
/// the buffers of stdio and iostreams: flush those before. Writes of one loop keep their order,
/// whichever handle they were made by, and those by write_all are not torn.
[[nodiscard]] byte_writer standard_output();
[[nodiscard]] byte_writer standard_error();

}  // namespace runnel

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <utility>

#include <runnel/ipc/connection.hpp>

/// Messages of one type, between tasks or processes, carried by the kernel.
///
///     auto ends = ipc::pipe<int>(ipc::simplex);
///     co_await ends.sender.send(1);
///     auto i = co_await ends.receiver.recv();                      // std::optional<int>
///
/// Messages of any size are whole or not there: a sender that is cancelled, or killed, at whatever
/// point leaves nothing behind. Up to 128 KiB they lie in the socket's buffer; of larger ones the
/// rest lies in memory of the sender's, which is used again and again, and about four of them are
/// under way at a time. What was sent before an end was closed is received before the end is seen.
/// See <runnel/ipc/connection.hpp> for the ends.
namespace runnel::ipc {

/// How a pipe is made.
struct pipe_options {
    /// The largest message, encoded, that an end sends or accepts.
    std::size_t max_message = std::size_t{1} << 30;
    /// Large bodies are sent in memory that earlier ones were received from, for half the price.
    /// False if a receiver may be hostile: one that writes to what it was sent can make a sender
    /// stand still, and all of its loop with it, when it writes there again. A hostile sender has one
    /// such means left, whatever is said here: a descriptor on a file system that it serves itself,
    /// which is closed on arrival where it does not belong, and to close it can take long.
    bool reuse_memory = true;
};

/// The type of simplex.
struct simplex_t {
    explicit simplex_t() = default;
};
/// pipe<T>(simplex): one direction.
inline constexpr simplex_t simplex{};

/// Two ends that both send and receive: `auto [here, there] = ipc::pipe<int>();`
template <class T>
struct duplex_pipe {
    duplex_pipe(connection<T> one, connection<T> other) noexcept
        : first(std::move(one)), second(std::move(other)) {}
    connection<T> first;
    connection<T> second;
};

/// One end for each direction.
template <class T>
struct simplex_pipe {
    simplex_pipe(ipc::receiver<T> in, ipc::sender<T> out) noexcept
        : receiver(std::move(in)), sender(std::move(out)) {}
    ipc::receiver<T> receiver;
    ipc::sender<T> sender;
};

/// Makes a pipe. Throws std::system_error (EMFILE, ...).
template <class T>
[[nodiscard]] duplex_pipe<T> pipe(pipe_options options = {}) {
    const auto [one, other] = detail::make_ends(options.max_message, options.reuse_memory);
    return {detail::handle_access::make<connection<T>>(one),
            detail::handle_access::make<connection<T>>(other)};
}
/// The same, of one direction.
template <class T>
[[nodiscard]] simplex_pipe<T> pipe(simplex_t, pipe_options options = {}) {
    const auto [in, out] = detail::make_ends(options.max_message, options.reuse_memory);
    return {detail::handle_access::make<receiver<T>>(in),
            detail::handle_access::make<sender<T>>(out)};
}

}  // namespace runnel::ipc

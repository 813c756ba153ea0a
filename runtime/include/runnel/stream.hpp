// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <runnel/detail/stream_op.hpp>
#include <runnel/io.hpp>
#include <runnel/unique_fd.hpp>

namespace runnel {

/// Bytes in and out of a descriptor of any kind: a pipe, a socket, a terminal, a file.
///
///     while (auto line = co_await peer.read_until('\n')) {
///         co_await peer.write_all(*line);
///     }
///
/// It owns the descriptor and closes it when it is dropped. It moves, but neither moves nor ends
/// while operations of it are awaited: that aborts. Tasks of one loop may share it: in each
/// direction operations are done one by one, in the order in which they were awaited. Buffers and
/// delimiters are borrowed until the co_await is over.
///
/// Reads ahead into a buffer of its own; all reading operations take from there first. Errors name
/// the operation and the stream ("read on pipe 7: ..."); a closed stream throws errc::closed.
class byte_stream {
    template <class Op>
    using operation = detail::stream_operation<Op>;

public:
    /// What read_until takes at most, in bytes, if it is not told otherwise.
    static constexpr std::size_t default_line = 64 * 1024;

    /// An already closed one.
    byte_stream() noexcept : byte_stream(unique_fd()) {}
    /// Takes the descriptor over. `kind` names it in errors and dumps; it is referred to.
    explicit byte_stream(unique_fd fd, std::string_view kind = "stream") noexcept
        : state_(std::move(fd), kind) {}

    /// Waits until there is something, and gives how many bytes it is: 0 at the end, and for an
    /// empty span. Cancellation: atomic.
    operation<detail::stream_read> read(std::span<std::byte> into) noexcept {
        return {state_, {into}};
    }
    /// Fills `into`. Throws errc::truncated if the end comes before that. In that case, and when
    /// cancelled, what came stays to be read. Cancellation: atomic.
    operation<detail::stream_exactly> read_exactly(std::span<std::byte> into) noexcept {
        return {state_, {into}};
    }
    /// Gives std::optional<std::string> of what comes before the delimiter, which is dropped, or
    /// before the end; empty when nothing is left. Throws errc::message_too_long, and takes
    /// nothing, if that is longer than `max` bytes. Cancellation: atomic.
    operation<detail::stream_until> read_until(char delimiter,
                                               std::size_t max = default_line) noexcept {
        return {state_, {{}, delimiter, max}};
    }
    /// The same up to a delimiter of several bytes. Throws std::invalid_argument if it is empty.
    operation<detail::stream_until> read_until(std::string_view delimiter,
                                               std::size_t max = default_line) {
        if (delimiter.empty())
            throw std::invalid_argument("read_until on stream: the delimiter is empty");
        return {state_, {delimiter, '\0', max}};
    }
    /// Gives, as a std::string, all that comes up to the end. Throws errc::message_too_long, and
    /// takes nothing, if that is more than `max` bytes. Cancellation: atomic.
    operation<detail::stream_all> read_all(std::size_t max) noexcept { return {state_, {max}}; }
    /// What was read ahead and not taken yet.
    [[nodiscard]] std::span<const std::byte> buffered() const noexcept {
        return state_.buffer.bytes();
    }

    /// Waits until something can be written, and gives how many bytes were. Throws broken_pipe
    /// (std::errc) when nobody can read them any more. Cancellation: atomic.
    operation<detail::stream_write> write(std::span<const std::byte> from) noexcept {
        return {state_, {from}};
    }
    /// The same for text.
    operation<detail::stream_write> write(std::string_view from) noexcept {
        return write(std::as_bytes(std::span(from)));
    }
    /// Writes all of `from`; nothing else gets between its bytes. `*written`, which must outlive
    /// the co_await, tells at any time how much has been: that is what stands after an error or a
    /// cancellation. Cancellation: composed.
    operation<detail::stream_write_all> write_all(std::span<const std::byte> from,
                                                  std::size_t* written = nullptr) noexcept {
        return {state_, {from, written}};
    }
    /// The same for text.
    operation<detail::stream_write_all> write_all(std::string_view from,
                                                  std::size_t* written = nullptr) noexcept {
        return write_all(std::as_bytes(std::span(from)), written);
    }

    /// Closes the descriptor; what is pending throws errc::closed. Idempotent.
    void close() noexcept { state_.close(); }
    /// Is it closed, or was its descriptor given away?
    [[nodiscard]] bool closed() const noexcept { return !state_.fd; }
    /// The descriptor, still owned by the stream; -1 when closed.
    [[nodiscard]] int native_handle() const noexcept { return state_.fd.get(); }
    /// Gives the descriptor away, as if by close(); see buffered() for what was read ahead.
    [[nodiscard]] unique_fd release() { return state_.release(); }

protected:
    /// A descriptor that somebody else closes, known by its name alone.
    struct borrowed_t {};
    byte_stream(borrowed_t, int fd, std::string_view kind) noexcept : state_(unique_fd(fd), kind) {
        state_.borrowed = true;
        state_.shown = -1;
    }

private:
    detail::stream_state state_;
};

/// The reading side of a byte_stream, for descriptors that are read only.
class byte_reader : private byte_stream {
public:
    using byte_stream::buffered;
    using byte_stream::byte_stream;
    using byte_stream::close;
    using byte_stream::closed;
    using byte_stream::native_handle;
    using byte_stream::read;
    using byte_stream::read_all;
    using byte_stream::read_exactly;
    using byte_stream::read_until;
    using byte_stream::release;

private:
    friend byte_reader standard_input();
};

/// The writing side of a byte_stream, for descriptors that are written only.
class byte_writer : private byte_stream {
public:
    using byte_stream::byte_stream;
    using byte_stream::close;
    using byte_stream::closed;
    using byte_stream::native_handle;
    using byte_stream::release;
    using byte_stream::write;
    using byte_stream::write_all;

private:
    friend byte_writer standard_output();
    friend byte_writer standard_error();
};

}  // namespace runnel

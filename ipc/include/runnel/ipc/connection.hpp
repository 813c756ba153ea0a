// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <runnel/ipc/bytes.hpp>
#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/exchange.hpp>
#include <runnel/with_timeout.hpp>

/// The ends of pipes: what sends messages of type T, what receives them, and what does both.
///
/// A handle moves and does not copy; share() makes another one on the same end. An end is closed
/// when its last handle is gone, in whatever process. Any number of handles, tasks and processes
/// may send to and receive from one end: each message goes to exactly one receiver, whole. What
/// waits on one handle has its turn in the order of waiting.
///
/// All operations are atomic: a send that was cancelled, or timed out, has sent nothing, and a recv
/// has taken nothing. They borrow the handle until their co_await begins, and the value until it is
/// over. close(), or dropping the handle, ends what waits on it with errc::closed.
///
/// Where T is ipc::bytes a message is bytes and no more, however it is sent and received: send,
/// recv, send_bytes, recv_bytes and recv_bytes_into can be mixed.
///
/// A sender keeps the memory in which large bodies travel for the next ones, at most 32 MiB, until
/// it is closed or has sent many small messages.
namespace runnel::ipc {

template <class T>
class sender;
template <class T>
class receiver;
template <class T>
class connection;

/// Whether messages of type T can be sent and received several at a time: small ones, always of the
/// same size, without descriptors.
template <class T>
concept batchable = (detail::place_size<T>() != 0);

/// The end that sends.
///
///     co_await out.send(42);
template <class T>
class sender : public detail::message_handle {
public:
    /// A handle on nothing: closed.
    sender() noexcept = default;

    /// Suspends while the receivers are too slow. Throws std::system_error: std::errc::broken_pipe
    /// when nobody can receive any more, errc::message_too_long beyond max_message, errc::closed;
    /// beyond 128 KiB also EMFILE, ENOMEM, ENOSPC or EFBIG (a limit for the size of files), and for
    /// descriptors that are under way in too many messages ETOOMANYREFS, when nothing was sent;
    /// std::invalid_argument for a value that cannot be encoded, or with more than 253 descriptors.
    auto send(const T& value) { return detail::send_operation<T>(end(), value, nullptr); }
    /// The same; the handles in `value` leave it when they have been sent, and only then.
    auto send(T&& value)
        requires(!detail::must_be_named<T>)
    {
        return detail::send_operation<T>(end(), value, &value);
    }
    /// With g++ 12, give the value a name on the line before, since it would be destroyed twice, and
    /// send the name, without std::move: send(value). Then drop it, if it has handles in it.
    void send(T&& send_a_named_lvalue)
        requires detail::must_be_named<T>
    = delete;

    /// Sends `size` bytes of `buffer` from `offset` on, by default all, as one message; none are an
    /// empty message. Throws as send does; std::invalid_argument for an offset or size beyond the
    /// buffer, if the handle is not closed.
    auto send_bytes(std::span<const std::byte> buffer, std::size_t offset = 0,
                    std::size_t size = npos)
        requires std::same_as<T, bytes>
    {
        return detail::send_bytes_operation(end(), buffer, offset, size);
    }
    /// Sends at least the first of `values`, and with it as many, up to 64, as there is room for
    /// now, for the price of two messages. Gives how many were sent: 0 for none only. Throws as
    /// send does, and then nothing was sent.
    ///
    ///     while (!values.empty()) values = values.subspan(co_await out.send_batch(values));
    auto send_batch(std::span<const T> values)
        requires batchable<T>
    {
        return detail::send_batch_operation<T>(end(), values);
    }
    /// Never: it only sends.
    [[nodiscard]] static constexpr bool readable() noexcept { return false; }
    /// Whether it is open: nobody may be left to receive.
    [[nodiscard]] bool writable() const noexcept { return !closed(); }

    /// Another handle on the same end. Throws std::system_error (EMFILE, ...).
    [[nodiscard]] sender share() const { return sender(share_end()); }

private:
    friend detail::handle_access;
    explicit sender(detail::endpoint* end) noexcept : message_handle(end) {}
};

/// The end that receives.
///
///     while (auto i = co_await in.recv()) use(*i);       // empty once every sender is gone
template <class T>
class receiver : public detail::message_handle {
public:
    /// A handle on nothing: closed.
    receiver() noexcept = default;

    /// Gives std::optional<T>: the next message, or empty at the end, when every sender is gone and
    /// every message has been received. Throws std::system_error:
    /// - errc::protocol for malformed bytes; the handle is closed by then;
    /// - errc::message_too_long for a message beyond max_message, which is lost: the next recv has
    ///   the next one;
    /// - EMFILE when there is no room for the descriptors of a message, which stays where it is.
    ///   One case apart, where the text says "descriptors of a message were lost" and the next recv
    ///   has the next one: no room, and another process or thread took, at that moment, the message
    ///   which had been found to fit;
    /// - errc::closed.
    auto recv() { return detail::recv_operation<T>(end()); }
    /// Gives std::optional<bytes>, as recv does. A message longer than `max` is lost, and throws
    /// errc::message_too_long; the next recv has the next one.
    auto recv_bytes(std::size_t max = npos)
        requires std::same_as<T, bytes>
    {
        return detail::recv_bytes_operation(end(), max);
    }
    /// Receives to `buffer`, from `offset` on: gives std::optional<std::size_t>, the number of
    /// bytes, empty at the end. Throws as recv does; buffer_too_short, which has all of the
    /// message, and nothing was written then; std::invalid_argument for an offset beyond the
    /// buffer. The buffer is written when co_await gives the value, not before.
    auto recv_bytes_into(std::span<std::byte> buffer, std::size_t offset = 0)
        requires std::same_as<T, bytes>
    {
        return detail::recv_bytes_into_operation(end(), buffer, offset);
    }
    /// Waits for a message and takes with it those that are there already: gives std::vector<T> of
    /// up to `most` messages, or 64 if that is less; empty at the end. For the price of two
    /// messages. Throws as recv does. A message behind good ones that is malformed, or that a codec
    /// throws for, closes the handle, and errc::protocol is thrown by what is tried next.
    auto recv_batch(std::size_t most = 64)
        requires batchable<T>
    {
        return detail::recv_batch_operation<T>(end(), most);
    }
    /// Gives a bool: whether, within `limit`, there was a whole message, or the end. Takes nothing,
    /// so another receiver may be faster. Waits behind what already waits to receive on this
    /// handle.
    template <class Rep = long, class Period = std::ratio<1>>
    auto poll(std::chrono::duration<Rep, Period> limit = {}) {
        return with_timeout(detail::look_operation(end()), limit);
    }
    /// Whether it is open: there may be nothing to receive.
    [[nodiscard]] bool readable() const noexcept { return !closed(); }
    /// Never: it only receives.
    [[nodiscard]] static constexpr bool writable() noexcept { return false; }

    /// Another handle on the same end. Throws std::system_error (EMFILE, ...).
    [[nodiscard]] receiver share() const { return receiver(share_end()); }

private:
    friend detail::handle_access;
    explicit receiver(detail::endpoint* end) noexcept : message_handle(end) {}
};

/// An end that does both: what it sends, the other end receives. See sender and receiver.
template <class T>
class connection : public detail::message_handle {
public:
    /// A handle on nothing: closed.
    connection() noexcept = default;

    /// Sends a message: see sender::send.
    auto send(const T& value) { return detail::send_operation<T>(end(), value, nullptr); }
    /// The same; the handles in `value` leave it when they have been sent.
    auto send(T&& value)
        requires(!detail::must_be_named<T>)
    {
        return detail::send_operation<T>(end(), value, &value);
    }
    /// With g++ 12, give the value a name first: see sender::send.
    void send(T&& send_a_named_lvalue)
        requires detail::must_be_named<T>
    = delete;
    /// Sends bytes as one message: see sender::send_bytes.
    auto send_bytes(std::span<const std::byte> buffer, std::size_t offset = 0,
                    std::size_t size = npos)
        requires std::same_as<T, bytes>
    {
        return detail::send_bytes_operation(end(), buffer, offset, size);
    }
    /// Sends as many as there is room for, at least one: see sender::send_batch.
    auto send_batch(std::span<const T> values)
        requires batchable<T>
    {
        return detail::send_batch_operation<T>(end(), values);
    }

    /// Gives the next message, or nothing at the end: see receiver::recv.
    auto recv() { return detail::recv_operation<T>(end()); }
    /// The same, of bytes, up to `max`: see receiver::recv_bytes.
    auto recv_bytes(std::size_t max = npos)
        requires std::same_as<T, bytes>
    {
        return detail::recv_bytes_operation(end(), max);
    }
    /// Receives bytes to a buffer: see receiver::recv_bytes_into.
    auto recv_bytes_into(std::span<std::byte> buffer, std::size_t offset = 0)
        requires std::same_as<T, bytes>
    {
        return detail::recv_bytes_into_operation(end(), buffer, offset);
    }
    /// Takes what is there, at least one message: see receiver::recv_batch.
    auto recv_batch(std::size_t most = 64)
        requires batchable<T>
    {
        return detail::recv_batch_operation<T>(end(), most);
    }
    /// Whether there is a message, or the end, within `limit`: see receiver::poll.
    template <class Rep = long, class Period = std::ratio<1>>
    auto poll(std::chrono::duration<Rep, Period> limit = {}) {
        return with_timeout(detail::look_operation(end()), limit);
    }
    /// Whether it is open.
    [[nodiscard]] bool readable() const noexcept { return !closed(); }
    /// Whether it is open.
    [[nodiscard]] bool writable() const noexcept { return !closed(); }

    /// Another handle on the same end. Throws std::system_error (EMFILE, ...).
    [[nodiscard]] connection share() const { return connection(share_end()); }

private:
    friend detail::handle_access;
    explicit connection(detail::endpoint* end) noexcept : message_handle(end) {}
};

// implementation

namespace detail {

struct handle_access {
    template <class Handle, class End>
    static Handle make(End* end) noexcept {
        return Handle(end);
    }
};

/// Ends travel in messages and to processes, with the signature of T, which is compared on arrival.
template <class Handle, class T, std::uint64_t Kind>
struct handle_codec {
    static constexpr std::uint64_t signature = Kind;
    using parts = signature_parts<T>;
    static constexpr bool carries_handles = true;
    static constexpr std::size_t min_size = 18;
    static void encode(encoder& out, const Handle& handle) {
        write_end(out, handle, signature_of<Handle>);
    }
    static Handle decode(decoder& in) {
        return handle_access::make<Handle>(read_end(in, signature_of<Handle>));
    }
};

}  // namespace detail

template <class T>
struct codec<sender<T>> : detail::handle_codec<sender<T>, T, 0x73656e646572> {};
template <class T>
struct codec<receiver<T>> : detail::handle_codec<receiver<T>, T, 0x7265636569766572> {};
template <class T>
struct codec<connection<T>> : detail::handle_codec<connection<T>, T, 0x636f6e6e656374> {};

}  // namespace runnel::ipc

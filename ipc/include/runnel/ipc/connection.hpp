// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/message.hpp>
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
namespace runnel::ipc {

template <class T>
class sender;
template <class T>
class receiver;
template <class T>
class connection;

namespace detail {

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
/// g++ 12 destroys such a temporary twice when it stands in one expression with co_await
/// (PR107288).
template <class T>
inline constexpr bool must_be_named =
    std::is_aggregate_v<T> && !std::is_trivially_destructible_v<T>;
#else
template <class T>
inline constexpr bool must_be_named = false;
#endif

template <class T>
class send_await final : public send_core {
public:
    send_await(endpoint* end, const T& value, T* leaving) noexcept
        : send_core(end), value_(value), leaving_(leaving) {}
    bool await_suspend(waiter who) {
        ipc::encode(prepare(), value_);
        return submit(who);
    }
    void await_resume() {
        finish();
        if constexpr (carries_handles<T>)
            if (leaving_ != nullptr) static_cast<void>(T(std::move(*leaving_)));
    }

private:
    const T& value_;
    T* leaving_;
};

/// A recv that has not begun; the same with a place for a message of a small fixed size.
template <class T>
class recv_await final : public receive_core {
    static constexpr std::size_t largest_place = 1024;
    static constexpr bool is_direct = [] {
        if constexpr (carries_handles<T>)
            return false;
        else
            return fixed_size_of<T>.has_value() && *fixed_size_of<T> <= largest_place;
    }();
    static constexpr std::size_t place_size = [] {
        if constexpr (is_direct)
            return sizeof(frame_header) + *fixed_size_of<T>;
        else
            return std::size_t{0};
    }();

public:
    explicit recv_await(endpoint* end) noexcept
        : receive_core(end, is_direct ? way::direct : way::peek, place_) {}
    std::optional<T> await_resume() {
        const std::optional<contents> got = take();
        if (!got) return std::nullopt;
        try {
            return ipc::decode<T>(got->body, got->handles);
        } catch (const std::system_error& e) {
            refuse(e);
        }
    }

private:
    std::array<std::byte, place_size> place_;
};

class look_await final : public receive_core {
public:
    explicit look_await(endpoint* end) noexcept : receive_core(end, way::look, {}) {}
    void await_resume() { finish(); }
};

template <class T>
class [[nodiscard]] send_operation {
public:
    send_operation(endpoint* end, const T& value, T* leaving) noexcept
        : end_(end), value_(&value), leaving_(leaving) {}
    send_await<T> operator co_await() const noexcept {
        return send_await<T>(end_, *value_, leaving_);
    }

private:
    endpoint* end_;
    const T* value_;
    T* leaving_;
};

template <class Awaiter>
class [[nodiscard]] receive_operation {
public:
    explicit receive_operation(endpoint* end) noexcept : end_(end) {}
    Awaiter operator co_await() const noexcept { return Awaiter(end_); }

private:
    endpoint* end_;
};

struct handle_access;

}  // namespace detail

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
    /// std::invalid_argument for a value that cannot be encoded, or with more than 253 descriptors.
    auto send(const T& value) { return detail::send_operation<T>(end(), value, nullptr); }
    /// The same; the handles in `value` leave it when they have been sent, and only then.
    auto send(T&& value)
        requires(!detail::must_be_named<T>)
    {
        return detail::send_operation<T>(end(), value, &value);
    }
    /// With g++ 12, give the value a name on the line before: it would be destroyed twice.
    void send(T&& name_it_first)
        requires detail::must_be_named<T>
    = delete;

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
    auto recv() { return detail::receive_operation<detail::recv_await<T>>(end()); }
    /// Gives a bool: whether, within `limit`, there was a whole message, or the end. Takes nothing,
    /// so another receiver may be faster. Waits behind what already waits to receive on this
    /// handle.
    template <class Rep = long, class Period = std::ratio<1>>
    auto poll(std::chrono::duration<Rep, Period> limit = {}) {
        return with_timeout(detail::receive_operation<detail::look_await>(end()), limit);
    }

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
    connection() noexcept = default;
    auto send(const T& value) { return detail::send_operation<T>(end(), value, nullptr); }
    auto send(T&& value)
        requires(!detail::must_be_named<T>)
    {
        return detail::send_operation<T>(end(), value, &value);
    }
    void send(T&& name_it_first)
        requires detail::must_be_named<T>
    = delete;
    auto recv() { return detail::receive_operation<detail::recv_await<T>>(end()); }
    template <class Rep = long, class Period = std::ratio<1>>
    auto poll(std::chrono::duration<Rep, Period> limit = {}) {
        return with_timeout(detail::receive_operation<detail::look_await>(end()), limit);
    }
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
    static constexpr std::size_t min_size = 17;
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

// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <runnel/ipc/bytes.hpp>
#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/batch.hpp>
#include <runnel/ipc/detail/message.hpp>

// What is awaited when messages of type T are sent and received.

namespace runnel::ipc::detail {

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

/// The size of a datagram with a T, if T is small, always of that size and without descriptors: it
/// has its place in the awaiter. 0 for other types.
template <class T>
consteval std::size_t place_size() {
    constexpr std::size_t largest = 1024;
    if constexpr (!carries_handles<T>)
        if constexpr (fixed_size_of<T>.has_value())
            if constexpr (*fixed_size_of<T> <= largest)
                return sizeof(frame_header) + *fixed_size_of<T>;
    return 0;
}

template <class T>
class send_await final : public send_core {
    static constexpr std::size_t size = place_size<T>();

public:
    send_await(endpoint* end, const T& value, T* leaving) noexcept
        : send_core(end), value_(value), leaving_(leaving) {}
    bool await_suspend(waiter who) {
        if constexpr (std::is_same_v<T, bytes>) {
            check_open();
            return submit(who, value_);
        } else if constexpr (size != 0) {
            check_open();
            encoder out(std::span<std::byte>(place_).subspan(sizeof(frame_header)));
            ipc::encode(out, value_);
            return submit_frame(who, place_);
        } else {
            ipc::encode(prepare(), value_);
            return submit(who);
        }
    }
    void await_resume() {
        finish();
        if constexpr (carries_handles<T>)
            if (leaving_ != nullptr) static_cast<void>(T(std::move(*leaving_)));
    }

private:
    const T& value_;
    T* leaving_;
    std::array<std::byte, size> place_;
};

/// Bytes that are a part of something.
class send_bytes_await final : public send_core {
public:
    send_bytes_await(endpoint* end, std::span<const std::byte> buffer, std::size_t offset,
                     std::size_t size) noexcept
        : send_core(end), buffer_(buffer), offset_(offset), size_(size) {}
    bool await_suspend(waiter who);
    void await_resume() { finish(); }

private:
    std::span<const std::byte> buffer_;
    std::size_t offset_;
    std::size_t size_;
};

template <class T>
class recv_await final : public receive_core {
    static constexpr std::size_t size = place_size<T>();

public:
    explicit recv_await(endpoint* end) noexcept
        : receive_core(end,
                       size != 0            ? way::direct
                       : carries_handles<T> ? way::peek
                                            : way::plain,
                       place_) {}
    std::optional<T> await_resume() {
        std::optional<contents> got = take();
        if (!got) return std::nullopt;
        if constexpr (std::is_same_v<T, bytes>) {
            return whole_bytes(*got);
        } else {
            try {
                return ipc::decode<T>(whole(*got), got->handles);
            } catch (const std::system_error& e) {
                refuse(e);
            }
        }
    }

private:
    std::array<std::byte, size> place_;
};

class recv_bytes_await final : public receive_core {
public:
    recv_bytes_await(endpoint* end, std::size_t most) noexcept
        : receive_core(end, way::plain, {}), most_(most) {}
    std::optional<bytes> await_resume();

private:
    std::size_t most_;
};

class recv_bytes_into_await final : public receive_core {
public:
    recv_bytes_into_await(endpoint* end, std::span<std::byte> buffer, std::size_t offset) noexcept
        : receive_core(end, way::plain, {}), buffer_(buffer), offset_(offset) {}
    bool await_suspend(waiter who);
    std::optional<std::size_t> await_resume();

private:
    std::span<std::byte> buffer_;
    std::size_t offset_;
};

class look_await final : public receive_core {
public:
    explicit look_await(endpoint* end) noexcept : receive_core(end, way::look, {}) {}
    void await_resume() { finish(); }
};

/// Several values of a type with a place.
template <class T>
class send_batch_await final : public send_batch_core {
    static constexpr std::size_t size = place_size<T>();

public:
    send_batch_await(endpoint* end, std::span<const T> values) noexcept
        : send_batch_core(end), values_(values) {}
    bool await_suspend(waiter who) {
        const std::size_t count = prepare(size, values_.size());
        for (std::size_t i = 0; i != count; ++i) {
            encoder out(place(i).subspan(sizeof(frame_header)));
            ipc::encode(out, values_[i]);
        }
        return submit(who);
    }
    std::size_t await_resume() { return finish(); }

private:
    std::span<const T> values_;
};

template <class T>
class recv_batch_await final : public recv_batch_core {
    static constexpr std::size_t size = place_size<T>();

public:
    recv_batch_await(endpoint* end, std::size_t most) noexcept : recv_batch_core(end, size, most) {}
    bool await_suspend(waiter who) {
        // Not when they have been taken already: they would be lost with the exception.
        all_.reserve(most());
        return recv_batch_core::await_suspend(who);
    }
    std::vector<T> await_resume() {
        finish();
        try {
            for (std::size_t i = 0; const auto body = next(i); ++i)
                all_.push_back(ipc::decode<T>(*body));
        } catch (...) {
            if (spoiled(all_.empty())) throw;
        }
        return std::move(all_);
    }

private:
    std::vector<T> all_;
};

/// An operation that has not begun: what it is made of, until co_await.
template <class Awaiter, class... Arguments>
class [[nodiscard]] end_operation {
public:
    explicit end_operation(endpoint* end, Arguments... rest) noexcept : end_(end), rest_(rest...) {}
    Awaiter operator co_await() const noexcept {
        return std::apply([this](const auto&... each) { return Awaiter(end_, each...); }, rest_);
    }

private:
    endpoint* end_;
    [[no_unique_address]] std::tuple<Arguments...> rest_;
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

using send_bytes_operation =
    end_operation<send_bytes_await, std::span<const std::byte>, std::size_t, std::size_t>;
using recv_bytes_operation = end_operation<recv_bytes_await, std::size_t>;
using recv_bytes_into_operation =
    end_operation<recv_bytes_into_await, std::span<std::byte>, std::size_t>;
using look_operation = end_operation<look_await>;
template <class T>
using recv_operation = end_operation<recv_await<T>>;
template <class T>
using send_batch_operation = end_operation<send_batch_await<T>, std::span<const T>>;
template <class T>
using recv_batch_operation = end_operation<recv_batch_await<T>, std::size_t>;

}  // namespace runnel::ipc::detail

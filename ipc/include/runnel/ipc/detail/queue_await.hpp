// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/queue_core.hpp>
#include <runnel/ipc/lease.hpp>

namespace runnel::ipc::detail {

template <class T>
inline constexpr std::size_t place_of_item = [] {
    constexpr std::size_t largest_place = 1024;
    if constexpr (fixed_size_of<T>.has_value())
        return *fixed_size_of<T> <= largest_place ? *fixed_size_of<T> : 0;
    else
        return std::size_t{0};
}();

template <class T>
class put_await final : public put_core {
public:
    put_await(queue_end* end, const T& value) noexcept : put_core(end), value_(value) {}
    bool await_ready() {
        if constexpr (place_of_item<T> != 0) {
            encoder out(place_);
            ipc::encode(out, value_);
            set_item(place_);
        } else {
            encoder& out = storage();
            ipc::encode(out, value_);
            set_item(out.bytes());
        }
        return ready();
    }

private:
    const T& value_;
    std::array<std::byte, place_of_item<T>> place_;
};

/// What a get gives: the item, or a lease on it.
template <class T, bool Leased>
class get_await final : public get_core {
    using value = std::conditional_t<Leased, lease<T>, T>;

public:
    explicit get_await(queue_end* end) noexcept : get_core(end, place_) { leases = Leased; }
    bool await_ready() { return ready(); }
    std::optional<value> await_resume() {
        if (!taken()) return std::nullopt;
        if (error_) {
            if constexpr (Leased) {
                if (is_malformed(error_)) held_.end(true);
            } else {
                if (is_malformed(error_)) discard(end(), known());
            }
            std::rethrow_exception(error_);
        }
        if constexpr (Leased)
            return lease<T>(std::move(held_), std::move(*value_));
        else
            return std::move(*value_);
    }

private:
    void accept() noexcept override {
        if constexpr (Leased) held_ = lease_core(end(), known());
        try {
            value_.emplace(ipc::decode<T>(item()));
        } catch (...) {
            error_ = std::current_exception();
        }
    }
    std::array<std::byte, place_of_item<T>> place_;
    std::optional<T> value_;
    std::exception_ptr error_;
    std::conditional_t<Leased, lease_core, std::tuple<>> held_;
};

template <class T>
class [[nodiscard]] put_operation {
public:
    put_operation(queue_end* end, const T& value) noexcept : end_(end), value_(&value) {}
    put_await<T> operator co_await() const noexcept { return put_await<T>(end_, *value_); }

private:
    queue_end* end_;
    const T* value_;
};

template <class Await>
class [[nodiscard]] queue_operation {
public:
    explicit queue_operation(queue_end* end) noexcept : end_(end) {}
    Await operator co_await() const noexcept { return Await(end_); }

private:
    queue_end* end_;
};

template <class T>
bool try_put(queue_end* end, const T& item) {
    std::array<std::byte, place_of_item<T>> place;
    encoder out(place);
    ipc::encode(out, item);
    return put_now(end, out.bytes());
}

struct taker_now final : copying_taker {
    taker_now(std::span<std::byte> place, bool leased) noexcept : copying_taker(place) {
        leases = leased;
    }
};

template <class T>
std::optional<T> try_get(queue_end* end) {
    std::array<std::byte, place_of_item<T>> place;
    taker_now one(place, false);
    if (!get_now(end, one)) return std::nullopt;
    try {
        return ipc::decode<T>(one.item());
    } catch (...) {
        if (is_malformed(std::current_exception())) discard(end, one.known());
        throw;
    }
}

template <class T>
std::optional<lease<T>> try_get_leased(queue_end* end) {
    std::array<std::byte, place_of_item<T>> place;
    taker_now one(place, true);
    if (!get_now(end, one)) return std::nullopt;
    lease_core held(end, one.known());
    try {
        T item = ipc::decode<T>(one.item());
        return lease<T>(std::move(held), std::move(item));
    } catch (...) {
        if (is_malformed(std::current_exception())) held.end(true);
        throw;
    }
}

}  // namespace runnel::ipc::detail

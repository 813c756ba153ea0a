// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <runnel/awaiter.hpp>
#include <runnel/ipc/detail/object_memory.hpp>
#include <runnel/ipc/mutex.hpp>
#include <runnel/ipc/shareable.hpp>

namespace runnel::ipc {

namespace detail {

/// The memory of an array, untyped, and the mutex of its guards.
class array_memory {
public:
    /// All zero. Throws std::invalid_argument if it is too large.
    array_memory(std::uint64_t type, std::size_t count, std::size_t each);
    array_memory(std::uint64_t type, std::size_t each, decoder& in);
    void write(encoder& out) const;

    [[nodiscard]] std::byte* begin() const noexcept { return memory_.body(); }
    [[nodiscard]] std::size_t count() const noexcept { return count_; }
    [[nodiscard]] const mutex& lock() const noexcept { return lock_; }
    [[noreturn]] static void out_of_range(const char* operation, std::size_t i, std::size_t count);

private:
    [[nodiscard]] std::atomic<std::uint64_t>& stored_count() const noexcept;
    object_memory memory_;
    std::size_t count_;
    mutex lock_;
};

}  // namespace detail

/// A number of T's that processes share.
///
///     ipc::array<std::uint64_t> bins(256);             // all zero
///     auto child = ipc::spawn(count, bins.share());    // bins.fetch_add(i, 1)
///     auto all = co_await bins.lock();                 // across awaits, until `all` is dropped
///     std::ranges::sort(all);
///
/// Single elements are atomic, without a lock, if the machine can (T of 1, 2, 4 or 8 bytes). They are
/// not waited for: for that there is ipc::value. For everything else there is a guard, which is an
/// ipc::mutex held, so it is for processes that trust each other: when the process of one dies, the
/// next one is told so. The guard excludes other guards only, not operations on single elements.
///
/// A handle of an object without a name; it travels as an argument and through pipes, as an array
/// of the same T: what was made for another type is refused with errc::protocol. Its memory is
/// taken from the system when it is first written. Any number of threads may use a handle at a time;
/// a guard is dropped on the thread that locked.
template <shareable T>
class array {
public:
    class guard;
    class lock_operation;
    using value_type = T;

    /// Makes a new one of `count` elements, all zero. Throws std::invalid_argument if that is too
    /// much for memory, std::system_error (EMFILE, ...).
    explicit array(std::size_t count)
        : memory_(
              std::make_shared<detail::array_memory>(detail::memory_type<T>, count, sizeof(T))) {}
    /// Makes a new one of these.
    explicit array(std::span<const T> initial) : array(initial.size()) {
        for (std::size_t i = 0; i < initial.size(); ++i) data()[i] = initial[i];
    }
    array(array&&) noexcept = default;
    array& operator=(array&&) noexcept = default;
    /// Another handle of the same array. Throws std::invalid_argument, as all others do, if this
    /// one has been moved from.
    [[nodiscard]] array share() const { return array(memory("share")); }

    /// How many elements there are; always the same.
    [[nodiscard]] std::size_t size() const { return memory("size")->count(); }

    /// Element i, atomically. All of these throw std::out_of_range if there is none.
    [[nodiscard]] T load(std::size_t i) const
        requires std::atomic_ref<T>::is_always_lock_free
    {
        return at("load", i).load(std::memory_order_acquire);
    }
    /// Changes element i.
    void store(std::size_t i, T to) const
        requires std::atomic_ref<T>::is_always_lock_free
    {
        at("store", i).store(to, std::memory_order_release);
    }
    /// Changes it, and gives what it was.
    T exchange(std::size_t i, T to) const
        requires std::atomic_ref<T>::is_always_lock_free
    {
        return at("exchange", i).exchange(to);
    }
    /// Changes it to `to` if it is `expected`; otherwise says in `expected` what it is.
    bool compare_exchange(std::size_t i, T& expected, T to) const
        requires std::atomic_ref<T>::is_always_lock_free
    {
        return at("compare_exchange", i).compare_exchange_strong(expected, to);
    }
    /// Adds, and gives what it was. Integers wrap.
    T fetch_add(std::size_t i, T n) const
        requires(std::atomic_ref<T>::is_always_lock_free && std::is_arithmetic_v<T> &&
                 !std::is_same_v<T, bool>)
    {
        return at("fetch_add", i).fetch_add(n);
    }

    /// Waits for the array's mutex; gives a guard with all elements. Throws and is cancelled as
    /// mutex::lock: atomic.
    [[nodiscard]] lock_operation lock() const { return lock_operation(memory("lock")); }
    /// The guard, or nothing if another one is held. Never suspends.
    [[nodiscard]] std::optional<guard> try_lock() const {
        const auto& of = memory("try_lock");
        auto held = of->lock().try_lock();
        if (!held) return std::nullopt;
        return guard(of, std::move(*held));
    }

private:
    friend struct codec<array>;
    class lock_await;
    using memory_pointer = std::shared_ptr<detail::array_memory>;
    explicit array(memory_pointer of) noexcept : memory_(std::move(of)) {}
    [[nodiscard]] const memory_pointer& memory(const char* operation) const {
        if (!memory_)
            throw std::invalid_argument(std::string(operation) +
                                        " on ipc array: it was moved from");
        return memory_;
    }
    [[nodiscard]] T* data() const noexcept { return reinterpret_cast<T*>(memory_->begin()); }
    [[nodiscard]] std::atomic_ref<T> at(const char* operation, std::size_t i) const {
        const std::size_t count = memory(operation)->count();
        if (i >= count) detail::array_memory::out_of_range(operation, i, count);
        return std::atomic_ref<T>(data()[i]);
    }
    memory_pointer memory_;
};

/// All elements, while it is held: a range. Given up when it is dropped, on the thread that locked
/// it. Moves.
template <shareable T>
class [[nodiscard]] array<T>::guard {
public:
    /// Holds nothing.
    guard() noexcept = default;
    guard(guard&&) noexcept = default;
    guard& operator=(guard&&) noexcept = default;

    /// The owner before died while it held a guard: the elements may be half changed.
    [[nodiscard]] bool owner_died() const noexcept { return held_.owner_died(); }
    /// Gives it up early; it has no elements then.
    void unlock() noexcept {
        held_.unlock();
        memory_.reset();
    }
    /// Does it hold the array's mutex?
    [[nodiscard]] explicit operator bool() const noexcept { return bool(held_); }

    // As of any contiguous range; empty when it is not held.
    [[nodiscard]] std::size_t size() const noexcept { return memory_ ? memory_->count() : 0; }
    [[nodiscard]] T* data() const noexcept {
        return memory_ ? reinterpret_cast<T*>(memory_->begin()) : nullptr;
    }
    [[nodiscard]] T* begin() const noexcept { return data(); }
    [[nodiscard]] T* end() const noexcept { return data() + size(); }
    /// The elements as a span, good as long as it is held.
    [[nodiscard]] std::span<T> all() const noexcept { return {data(), size()}; }
    /// Throws std::out_of_range if there is none.
    [[nodiscard]] T& operator[](std::size_t i) const {
        if (i >= size()) detail::array_memory::out_of_range("operator[]", i, size());
        return data()[i];
    }

private:
    friend class array;
    guard(memory_pointer of, mutex::guard held) noexcept
        : memory_(std::move(of)), held_(std::move(held)) {}
    memory_pointer memory_;
    mutex::guard held_;  // dropped first
};

// implementation

template <shareable T>
class array<T>::lock_await final {
public:
    static constexpr bool is_atomic = true;
    explicit lock_await(memory_pointer of)
        : memory_(std::move(of)), lock_(memory_->lock().lock().operator co_await()) {}
    bool await_ready() const noexcept { return lock_.await_ready(); }
    bool await_suspend(waiter who) { return lock_.await_suspend(who); }
    guard await_resume() { return guard(memory_, lock_.await_resume()); }
    cancellation await_cancel() noexcept { return lock_.await_cancel(); }
    void await_describe(std::string& text) const { text += "ipc array"; }

private:
    memory_pointer memory_;
    runnel::detail::awaiter_of<mutex::lock_operation> lock_;
};

template <shareable T>
class [[nodiscard]] array<T>::lock_operation {
public:
    explicit lock_operation(memory_pointer of) noexcept : memory_(std::move(of)) {}
    lock_await operator co_await() const { return lock_await(memory_); }

private:
    memory_pointer memory_;
};

template <class T>
struct codec<array<T>> {
    static constexpr std::uint64_t signature = 0x6970636172726179;
    using parts = signature_parts<T>;
    static constexpr std::size_t min_size = 4;
    static constexpr bool carries_handles = true;
    static void encode(encoder& out, const array<T>& a) { a.memory("encode")->write(out); }
    static array<T> decode(decoder& in) {
        return array<T>(
            std::make_shared<detail::array_memory>(detail::memory_type<T>, sizeof(T), in));
    }
};

}  // namespace runnel::ipc

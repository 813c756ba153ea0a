// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include <runnel/ipc/detail/value_state.hpp>
#include <runnel/ipc/shareable.hpp>

namespace runnel::ipc {

/// A T that processes share, and wait for.
///
///     ipc::value<int> done(0);
///     auto child = ipc::spawn(work, done.share());     // done.fetch_add(1), each time
///     co_await done.until([](int n) { return n == 10; });
///
/// Every operation is atomic, whatever the size of T. Readers wait for nobody; writers take turns,
/// for a few instructions, by a lock that survives its owner. They do for a T that the machine could
/// change without one, too (an ipc::array does without): so a process that is killed while it writes
/// leaves the old value or the new one, and a change and the waking of those who wait for it are one
/// step.
///
/// A change can hold up the loop for 5 s, and throw std::errc::timed_out then, if a process is
/// stopped in the middle of one; it throws errc::protocol if the memory of the lock was overwritten.
/// Any number of threads may use a handle at a time; until() waits on the loop where it is awaited.
///
/// A handle of an object without a name, in shared memory; it travels as an argument and through
/// pipes, as a value of the same T: what was made for another type is refused with errc::protocol.
/// All throw std::invalid_argument on a handle that has been moved from.
template <shareable T>
class value {
public:
    template <class Predicate>
    class until_operation;

    /// Makes a new one. Throws std::system_error (EMFILE, ...).
    value() : value(T()) {}
    /// The same, with another value than T().
    explicit value(const T& initial)
        : use_(std::make_shared<detail::object_use>(std::make_shared<detail::value_state>(
              detail::memory_type<T>, std::span<const std::uint64_t>(image(initial).words)))) {}
    value(value&&) noexcept = default;
    value& operator=(value&&) noexcept = default;
    /// Another handle of the same value.
    [[nodiscard]] value share() const { return value(use("share")); }

    /// The value, whole.
    [[nodiscard]] T load() const {
        image seen;
        state("load").read(seen.words);
        return seen.get();
    }
    /// Changes it; wakes those whose predicate may be true now.
    void store(const T& to) const { exchange(to); }
    /// Changes it, and gives what it was.
    T exchange(const T& to) const {
        detail::value_state& of = state("store");
        const image next(to);
        image seen;
        detail::object_section inside(of);
        of.read(seen.words);
        of.write(inside, next.words);
        return seen.get();
    }
    /// Changes it to `to` if it is `expected`; otherwise says in `expected` what it is. Bits are
    /// compared, so there is none for a T with padding.
    bool compare_exchange(T& expected, const T& to) const
        requires detail::compared_by_bits<T>
    {
        detail::value_state& of = state("compare_exchange");
        const image wanted(expected);
        const image next(to);
        image seen;
        detail::object_section inside(of);
        of.read(seen.words);
        if (std::memcmp(seen.words, wanted.words, sizeof seen.words) != 0) {
            expected = seen.get();
            return false;
        }
        of.write(inside, next.words);
        return true;
    }
    /// Adds, and gives what it was. Integers wrap.
    T fetch_add(T n) const
        requires(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>)
    {
        detail::value_state& of = state("fetch_add");
        image seen;
        detail::object_section inside(of);
        of.read(seen.words);
        const T before = seen.get();
        of.write(inside, image(sum(before, n)).words);
        return before;
    }
    /// Changes it to fn(value), and gives that. No other change comes in between: if one does, fn
    /// is called again, with the new value. What fn throws is thrown, and nothing has changed.
    template <class F>
        requires std::is_invocable_r_v<T, F&, const T&>
    T update(F&& fn) const {
        detail::value_state& of = state("update");
        for (;;) {
            image seen;
            const std::uint64_t stamp = of.read(seen.words);
            const T before = seen.get();
            const T result = fn(before);
            const image next(result);
            detail::object_section inside(of);
            if (of.stamp() != stamp) continue;
            of.write(inside, next.words);
            return result;
        }
    }

    /// Waits until predicate(value) gives true, and gives that value. It is called at once, and
    /// when the value has changed; values that come and go quickly may be missed. It must not await
    /// or block; what it throws is thrown. Cancellation: atomic.
    template <class Predicate>
        requires std::is_invocable_r_v<bool, Predicate&, const T&>
    [[nodiscard]] until_operation<Predicate> until(Predicate predicate) const {
        return until_operation<Predicate>(use("until"), std::move(predicate));
    }

private:
    friend struct codec<value>;
    template <class Predicate>
    class until_await;

    /// A T as it stands in memory: words, the last one filled up with zeros.
    struct image {
        image() noexcept = default;
        explicit image(const T& of) noexcept { std::memcpy(words, std::addressof(of), sizeof(T)); }
        [[nodiscard]] T get() const noexcept {
            std::array<std::byte, sizeof(T)> raw;
            std::memcpy(raw.data(), words, sizeof(T));
            return std::bit_cast<T>(raw);
        }
        std::uint64_t words[(sizeof(T) + 7) / 8]{};
    };
    static T sum(T a, T b) noexcept {
        if constexpr (std::is_integral_v<T>) {
            using wraps = std::make_unsigned_t<T>;
            return static_cast<T>(static_cast<wraps>(a) + static_cast<wraps>(b));
        } else {
            return a + b;
        }
    }

    explicit value(detail::object_pointer use) noexcept : use_(std::move(use)) {}
    [[nodiscard]] const detail::object_pointer& use(const char* operation) const {
        detail::require_use(use_, operation, "value");
        return use_;
    }
    [[nodiscard]] detail::value_state& state(const char* operation) const {
        return use(operation)->template as<detail::value_state>();
    }
    detail::object_pointer use_;
};

// implementation

template <shareable T>
template <class Predicate>
class value<T>::until_await final : public detail::value_waiter {
public:
    until_await(detail::object_pointer use, Predicate& predicate) noexcept
        : value_waiter(std::move(use)), predicate_(predicate) {}
    [[nodiscard]] T await_resume() const {
        if (error_) std::rethrow_exception(error_);
        return seen_.get();
    }

private:
    bool serve() noexcept override {
        state().read(seen_.words);
        try {
            const T now = seen_.get();
            return predicate_(now);
        } catch (...) {
            error_ = std::current_exception();
            return true;
        }
    }
    Predicate& predicate_;
    image seen_;
    std::exception_ptr error_;
};

template <shareable T>
template <class Predicate>
class [[nodiscard]] value<T>::until_operation {
public:
    until_operation(detail::object_pointer use, Predicate predicate)
        : use_(std::move(use)), predicate_(std::move(predicate)) {}
    until_await<Predicate> operator co_await() { return until_await<Predicate>(use_, predicate_); }

private:
    detail::object_pointer use_;
    Predicate predicate_;
};

template <class T>
struct codec<value<T>> {
    static constexpr std::uint64_t signature = 0x69706376616c7565;
    using parts = signature_parts<T>;
    static constexpr std::size_t min_size = 3;
    static constexpr bool carries_handles = true;
    static void encode(encoder& out, const value<T>& v) { v.use("encode")->shared()->write(out); }
    static value<T> decode(decoder& in) {
        constexpr std::size_t words = (sizeof(T) + 7) / 8;
        return value<T>(std::make_shared<detail::object_use>(
            std::make_shared<detail::value_state>(detail::memory_type<T>, words, in)));
    }
};

}  // namespace runnel::ipc

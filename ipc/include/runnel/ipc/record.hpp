// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>

#include <runnel/ipc/detail/record_core.hpp>

/// Records of channels and broadcasts, where they lie: what a writer fills, and what a reader looks
/// at; and what the handles of both have in common. Loans and views move, and keep the memory mapped
/// while they live.
namespace runnel::ipc {

/// A place for one record, to be written and published. It holds whatever was there before (a T
/// with a default constructor of its own is constructed). Loans become visible in the order in
/// which they were taken: one that was published waits for those before it. Dropped, it is given
/// back.
template <record_value T, class Core>
class [[nodiscard]] record_loan {
public:
    /// Holds nothing.
    record_loan() noexcept = default;

    /// The record, to be written; only of a loan that holds one. It is in memory that is shared.
    [[nodiscard]] T& operator*() const noexcept
        requires(!detail::of_bytes<T>)
    {
        return *data();
    }
    [[nodiscard]] T* operator->() const noexcept
        requires(!detail::of_bytes<T>)
    {
        return data();
    }
    /// All of it: its bytes, or one T.
    [[nodiscard]] std::span<T> span() const noexcept { return {data(), size()}; }
    [[nodiscard]] T* data() const noexcept {
        return std::launder(reinterpret_cast<T*>(lent_.record.at));
    }
    /// Of a record of bytes its length; else 1.
    [[nodiscard]] std::size_t size() const noexcept {
        return detail::of_bytes<T> ? lent_.record.length : 1;
    }
    /// Does it hold a place?
    [[nodiscard]] explicit operator bool() const noexcept { return lent_.core != nullptr; }

    /// Readers get it, and are woken if they sleep. Throws std::system_error (errc::closed).
    void publish() { publish_as(lent_.record.length, true); }
    /// The same, of the first `n` bytes alone. Throws std::invalid_argument if it has fewer.
    void publish(std::size_t n)
        requires(detail::of_bytes<T>)
    {
        publish_as(checked(n), true);
    }
    /// Complete, but readers get it together with the next one that is published, at the next
    /// flush, or when the writer has to wait or is dropped: many records for one wake. Throws as
    /// publish does.
    void stage() { publish_as(lent_.record.length, false); }
    /// The same, of the first `n` bytes alone. Throws std::invalid_argument if it has fewer.
    void stage(std::size_t n)
        requires(detail::of_bytes<T>)
    {
        publish_as(checked(n), false);
    }
    /// Gives it back unpublished; nothing happens if it holds nothing.
    void drop() noexcept { lent_.drop(); }

private:
    friend detail::record_access;
    record_loan(Core* of, const detail::channel_record& what) : lent_(of, what) {
        if constexpr (!detail::of_bytes<T>) ::new (static_cast<void*>(what.at)) T;
    }
    [[nodiscard]] std::uint32_t checked(std::size_t n) const {
        if (n > lent_.record.length)
            throw std::invalid_argument(std::string("publish on ") + Core::object +
                                        ": longer than the loan");
        return static_cast<std::uint32_t>(n);
    }
    void publish_as(std::uint32_t length, bool now) {
        if (lent_.core == nullptr)
            throw std::invalid_argument(std::string("publish on ") + Core::object +
                                        ": the loan holds nothing");
        lent_.core->publish(lent_.record, length, now);
        lent_.forget();
    }
    detail::lent<Core> lent_;
};

/// A record that was received. Views are dropped in any order; room is given back up to the oldest
/// that is held.
template <record_value T, class Core>
class [[nodiscard]] record_view {
public:
    /// Holds nothing.
    record_view() noexcept = default;

    /// The record; only of a view that holds one.
    [[nodiscard]] const T& operator*() const noexcept
        requires(!detail::of_bytes<T>)
    {
        return *data();
    }
    [[nodiscard]] const T* operator->() const noexcept
        requires(!detail::of_bytes<T>)
    {
        return data();
    }
    /// All of it: its bytes, or one T.
    [[nodiscard]] std::span<const T> span() const noexcept { return {data(), size()}; }
    [[nodiscard]] const T* data() const noexcept {
        return std::launder(reinterpret_cast<const T*>(lent_.record.at));
    }
    /// Of a record of bytes its length; else 1.
    [[nodiscard]] std::size_t size() const noexcept {
        return detail::of_bytes<T> ? lent_.record.length : 1;
    }
    /// How many records of a broadcast, just before this one, this reader did not get.
    [[nodiscard]] std::uint64_t missed() const noexcept
        requires(Core::may_miss)
    {
        return lent_.record.missed;
    }
    /// Does it hold a record?
    [[nodiscard]] explicit operator bool() const noexcept { return lent_.core != nullptr; }
    /// Gives the room back to the writer; nothing happens if it holds nothing. A writer that sleeps
    /// learns it when the loop turns.
    void drop() noexcept { lent_.drop(); }

private:
    friend detail::record_access;
    record_view(Core* of, const detail::channel_record& what) noexcept : lent_(of, what) {}
    detail::lent<Core> lent_;
};

/// The handle that writes, of a channel or a broadcast. Several tasks of one loop may wait for it;
/// they have their turn in order.
template <record_value T, class Core>
class record_writer : public detail::record_end<Core> {
public:
    /// Waits for room; gives a loan. Throws std::system_error: std::errc::broken_pipe when no reader
    /// is left (seen at the latest when there is no room), errc::closed, errc::protocol for a reader
    /// that does not keep to the rules, with which it closes, errc::wrong_thread on another loop
    /// than the one that waited before and still lives. Cancellation: atomic.
    auto loan()
        requires(!detail::of_bytes<T>)
    {
        return detail::loan_operation<T, Core>(this->core("loan"), sizeof(T));
    }
    /// The same, of a record of `n` bytes. Throws std::invalid_argument beyond max_record.
    auto loan(std::size_t n)
        requires(detail::of_bytes<T>)
    {
        return detail::loan_operation<T, Core>(this->core("loan"), checked(n));
    }
    /// A loan, or nothing if there is no room or somebody waits for it. Throws as loan does. Asks
    /// the kernel for the readers when there is no room.
    [[nodiscard]] std::optional<record_loan<T, Core>> try_loan()
        requires(!detail::of_bytes<T>)
    {
        return try_to(sizeof(T));
    }
    /// The same, of a record of `n` bytes. Throws std::invalid_argument beyond max_record.
    [[nodiscard]] std::optional<record_loan<T, Core>> try_loan(std::size_t n)
        requires(detail::of_bytes<T>)
    {
        return try_to(checked(n));
    }
    /// Readers get what was staged. Throws std::system_error (errc::closed) on a handle on nothing.
    void flush() { this->core("flush").flush(); }
    /// How many bytes a record may have at most. Throws as flush does.
    [[nodiscard]] std::size_t max_record() const { return this->core("max_record").largest(); }

protected:
    using detail::record_end<Core>::record_end;

private:
    [[nodiscard]] std::uint32_t checked(std::size_t n) const {
        if (n > this->core("loan").largest())
            throw std::invalid_argument(std::string("loan on ") + Core::object +
                                        ": a record larger than the ring");
        return static_cast<std::uint32_t>(n);
    }
    std::optional<record_loan<T, Core>> try_to(std::uint32_t length) {
        Core& from = this->core("loan");
        detail::channel_record got;
        if (from.crowded()) return std::nullopt;
        if (!from.reserve(length, got) && !from.ask_gone()) return std::nullopt;
        if (got.at == nullptr) from.refuse("loan");
        return detail::record_access::make<record_loan<T, Core>>(&from, got);
    }
};

/// The handle that reads, of a channel or a broadcast. Several tasks of one loop may wait for it;
/// they have their turn in order.
template <record_value T, class Core>
class record_reader : public detail::record_end<Core> {
public:
    /// Waits for the next record; gives an optional view, empty at the end, when the writer is gone
    /// and all it published has been received. Throws std::system_error: errc::protocol for a writer
    /// that does not keep to the rules, with which it closes; errc::closed; errc::wrong_thread as
    /// loan does. Cancellation: atomic.
    auto receive() { return detail::view_operation<T, Core>(this->core("receive")); }
    /// A view of the next record if there is one and nobody waits for it. Throws as receive does.
    [[nodiscard]] std::optional<record_view<T, Core>> try_receive() {
        Core& from = this->core("receive");
        detail::channel_record got;
        if (from.crowded() || !from.take(got)) return std::nullopt;
        if (got.at != nullptr) return detail::record_access::make<record_view<T, Core>>(&from, got);
        from.refuse("receive");
        return std::nullopt;
    }
    /// Nothing is left to be received, and nothing comes any more; also when it is closed. Asks the
    /// kernel whether the writer lives. Throws std::system_error (errc::closed) on a handle on
    /// nothing.
    [[nodiscard]] bool ended() { return this->core("ended").ended(); }

protected:
    using detail::record_end<Core>::record_end;
};

}  // namespace runnel::ipc

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>

#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/connection.hpp>
#include <runnel/ipc/detail/queue_await.hpp>

/// A queue of items of one type, between any number of tasks and processes on both sides.
///
///     auto jobs = ipc::queue<job>({.max_items = 1024});
///     auto worker = ipc::spawn(consume, std::move(jobs.getter));
///     co_await jobs.putter.put(next);                           // waits while it is full
///     jobs.putter.close();                                      // no more: lets the worker end
///
///     while (auto j = co_await in.get()) work(*j);              // empty when nobody is left to put
///
/// It lies in shared memory: FIFO, each item to exactly one, and no system call while both sides
/// are awake. Handles move and do not copy; share() makes another one; they travel as arguments and
/// through pipes, and the queue is gone with the last of them. Getters see no end as long as a putter
/// is open in any process, the one that made the queue included. What waits has its turn in the
/// order of waiting, in each loop. A handle waits on one loop: put, get and join throw
/// errc::wrong_thread where it is awaited on another one as well; share() gives one for that loop.
///
/// A loop on which something has waited for a queue holds on to its side of it until it has seen to
/// the closing of the handle, which it does while it runs, or when it is destroyed: handles are
/// better closed before run() is over. They may be dropped on any thread.
///
/// A process that is killed, at whatever instruction, takes nothing with it but the items that it
/// had in its hands; with leases (queue_options::lease) not even those. For processes that trust
/// each other: everybody can write all of the queue's memory. And for processes of one pid
/// namespace, with /proc, since it is by their pids that the dead are known: an end that arrives
/// elsewhere is refused with std::errc::operation_not_supported.
namespace runnel::ipc {

/// How a queue is made.
struct queue_options {
    std::size_t max_items = 1024;  ///< put waits while there are so many; 0: bounded by bytes alone
    /// Put waits while the items take so many bytes, encoded, each with a header of 8 and rounded up
    /// to 8; itself rounded up to a power of two. 0: enough for max_items if all items have one
    /// size, else 64 MiB. Memory is taken as it is needed. It is given back when the
    /// queue is empty and a getter sleeps, and, beyond 16 MiB, as items are got.
    std::size_t max_bytes = 0;
    /// What a process took and did not finish before it ended, or gave back, is delivered again,
    /// before all others. At most 252 items are in hands at a time, what a plain get() gave until
    /// task_done(); get waits for one of them to be finished then.
    bool lease = false;
    /// With leases: an item that was delivered so often and not finished is dropped; 0: never.
    std::uint32_t max_deliveries = 0;
};

/// What a shutdown does with the items that are in the queue.
enum class shutdown_mode : unsigned char {
    drain,     ///< nothing more is put; what is there can be taken
    immediate  ///< what is there is dropped, too, and counts as done
};
/// As arguments of shutdown: `q.shutdown(ipc::immediate)`.
inline constexpr shutdown_mode drain = shutdown_mode::drain;
inline constexpr shutdown_mode immediate = shutdown_mode::immediate;

template <class T>
class putter;
template <class T>
class getter;

namespace detail {

/// The part of both ends that does not depend on the direction. Both have as well
///
///     void close() noexcept;       // ends what waits on this handle with errc::closed; idempotent
///     bool closed() const noexcept;
///     std::size_t size() const;    // items that nobody has taken: exact, at some moment of the call
///     bool empty() const;          // size() == 0
///     bool full() const;           // no item would be taken now, not even a small one
///
/// of which the last three throw errc::closed on a closed handle. Other handles on the same side
/// stay open.
class queue_user : public queue_handle {
public:
    /// Waits until every item that was ever put is done with: taken, and task_done() called for it
    /// (or its lease done). What a dead process had in its hands counts as done, unless it is
    /// leased. From the putters' side it throws std::errc::broken_pipe when nobody is left to get
    /// what there is; from both errc::closed, errc::wrong_thread. Cancellation: atomic.
    auto join() { return queue_operation<join_core>(end()); }
    /// Nothing more can be put, in any process: put throws errc::closed; get gives what is left, or,
    /// if `immediate`, nothing more. All who wait are told. Idempotent; immediate stays. Throws
    /// errc::closed; std::errc::timed_out when another process was stopped in the middle of a put or
    /// get, and has not gone on for a second; errc::protocol as put does.
    void shutdown(shutdown_mode how = drain) { shut_down(how == immediate); }

protected:
    using queue_handle::queue_handle;
};

}  // namespace detail

/// The end that puts: what follows, and what a queue_user has.
template <class T>
class putter : public detail::queue_user {
public:
    static_assert(!carries_handles<T>,
                  "shared memory carries no handles: send those through a pipe");
    /// A handle on nothing: closed.
    putter() noexcept = default;

    /// Waits while the queue is full; when it is over, everybody can see the item. `item` is
    /// borrowed until then. Throws std::system_error: std::errc::broken_pipe when nobody is left to
    /// get, errc::message_too_long for an item larger than the queue, errc::closed for a closed
    /// handle or after a shutdown, errc::wrong_thread, ENOMEM, errc::protocol when the memory of the
    /// queue was overwritten, which closes the handle; std::invalid_argument for what cannot be
    /// encoded. Cancellation: atomic.
    auto put(const T& item) { return detail::put_operation<T>(end(), item); }
    auto put(T&& item)
        requires(!detail::must_be_named<T>)
    {
        return detail::put_operation<T>(end(), item);
    }
    /// With g++ 12, give the item a name on the line before, since it would be destroyed twice, and
    /// put the name, without std::move: put(item).
    void put(T&& put_a_named_lvalue)
        requires detail::must_be_named<T>
    = delete;
    /// The same without waiting: false if the queue is full, or while another process is in the
    /// middle of a change. Throws as put does. Needs no loop.
    [[nodiscard]] bool try_put(const T& item) { return detail::try_put<T>(end(), item); }

    /// Another handle on this side. Throws std::system_error (errc::closed).
    [[nodiscard]] putter share() const { return putter(share_end()); }

private:
    friend detail::handle_access;
    explicit putter(detail::queue_end* end) noexcept : queue_user(end) {}
};

/// The end that gets: what follows, and what a queue_user has.
template <class T>
class getter : public detail::queue_user {
public:
    /// A handle on nothing: closed.
    getter() noexcept = default;

    /// Waits for an item; gives std::optional<T>, empty at the end: when nobody is left to put, in
    /// whatever way, or after a shutdown, and everything has been taken. Throws std::system_error:
    /// errc::protocol for what is no T, which counts as done and never comes again, and when the
    /// memory of the queue was overwritten, which closes the handle; errc::closed,
    /// errc::wrong_thread, ENOMEM, EUSERS when 252 other processes get. Cancellation: atomic.
    auto get() { return detail::queue_operation<detail::get_await<T, false>>(end()); }
    /// The same, for a queue with leases: gives std::optional<lease<T>>. The call itself throws
    /// errc::closed, and std::invalid_argument for a queue that was made without them.
    auto get_leased() {
        require_leases("get_leased");
        return detail::queue_operation<detail::get_await<T, true>>(end());
    }
    /// An item if there is one now; none while another process is in the middle of a change. Throws
    /// as get does. Needs no loop.
    [[nodiscard]] std::optional<T> try_get() { return detail::try_get<T>(end()); }
    /// The same, leased, as get_leased() gives it. Needs no loop.
    [[nodiscard]] std::optional<lease<T>> try_get_leased() {
        require_leases("try_get_leased");
        return detail::try_get_leased<T>(end());
    }
    /// It is the end, at which get() gives nothing without waiting. Needs no loop.
    /// Throws errc::closed.
    [[nodiscard]] bool ended() const { return at_end(); }
    /// The process is done with the oldest item that get or try_get gave it (see join): who works on
    /// more than one at a time had better use get_leased, and done() of each. Throws
    /// std::invalid_argument if there is none, and as shutdown does.
    void task_done() {
        if (!finish_one())
            throw std::invalid_argument("task_done on ipc queue: called too many times");
    }

    /// Another handle on this side. Throws std::system_error (errc::closed).
    [[nodiscard]] getter share() const { return getter(share_end()); }

private:
    friend detail::handle_access;
    explicit getter(detail::queue_end* end) noexcept : queue_user(end) {}
};

/// Both ends.
template <class T>
struct queue_ends {
    queue_ends(ipc::putter<T> out, ipc::getter<T> in) noexcept
        : putter(std::move(out)), getter(std::move(in)) {}
    ipc::putter<T> putter;
    ipc::getter<T> getter;
};

/// Makes a queue. Throws std::system_error (EMFILE, ...), std::invalid_argument for bounds that
/// cannot be.
template <class T>
[[nodiscard]] queue_ends<T> queue(queue_options options = {}) {
    const auto settings =
        detail::settings_for(options.max_items, options.max_bytes, fixed_size_of<T>, options.lease,
                             options.max_deliveries);
    const auto [out, in] = detail::make_queue(settings, signature_of<T>);
    return {detail::handle_access::make<putter<T>>(out),
            detail::handle_access::make<getter<T>>(in)};
}

// implementation

namespace detail {

template <class Handle, class T, std::uint64_t Kind, bool Getting>
struct queue_codec {
    static constexpr std::uint64_t signature = Kind;
    using parts = signature_parts<T>;
    static constexpr bool carries_handles = true;
    static constexpr std::size_t min_size = 9;
    static void encode(encoder& out, const Handle& handle) {
        write_queue_end(out, handle, signature_of<Handle>);
    }
    static Handle decode(decoder& in) {
        return handle_access::make<Handle>(
            read_queue_end(in, Getting, signature_of<Handle>, signature_of<T>));
    }
};

}  // namespace detail

template <class T>
struct codec<putter<T>> : detail::queue_codec<putter<T>, T, 0x707574746572, false> {};
template <class T>
struct codec<getter<T>> : detail::queue_codec<getter<T>, T, 0x676574746572, true> {};

}  // namespace runnel::ipc

// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <runnel/ipc/detail/bell.hpp>
#include <runnel/ipc/detail/object_memory.hpp>
#include <runnel/ipc/detail/queue_core.hpp>
#include <runnel/ipc/detail/robust_lock.hpp>

#include "queue_leases.hpp"
#include "queue_members.hpp"

namespace runnel::ipc::detail {

/// The ring of a queue, in shared memory, and what is done with it: two locks, one for those who put
/// and one for those who get (Michael and Scott, PODC 1996), each change committed by one store.
///
/// A position is a count of 8-byte units; together with the count of items it is one 64-bit word, so
/// that they change together. All wrap around, and only differences are looked at.
class queue_memory {
public:
    using outcome = queue_outcome;
    static constexpr std::size_t record_header = 8;
    static constexpr std::size_t unit = 8;
    /// What a ring that is in use may keep; one that nobody waits for but in vain gives back all.
    static constexpr std::size_t kept = std::size_t{16} << 20;

    queue_memory(const queue_settings& settings, std::uint64_t type);
    queue_memory(unique_fd memory, unique_fd leased, bell_register sleepers, std::uint64_t type);
    queue_memory(const queue_memory&) = delete;
    queue_memory& operator=(const queue_memory&) = delete;

    /// The largest item, in bytes.
    [[nodiscard]] std::size_t largest_item() const noexcept {
        return std::size_t{settings_.units} * unit - record_header;
    }
    outcome put(std::span<const std::byte> item) noexcept;
    /// Takes the next item, which this process has in its hands from then on.
    outcome get(queue_taker& into) noexcept;
    /// The process is done with the oldest that it has in its hands; not_now if there is none. Busy
    /// if somebody who is in a section does not go on, as all the others that say so.
    outcome task_done() noexcept;
    /// Done with a lease; or, if not `done`, it is to be delivered again. If somebody is in a section
    /// and does not go on, this process does it later.
    void end_lease(std::uint32_t ticket, bool done) noexcept;
    /// All that was ever put is done with, or in the hands of the dead; as all are if nobody is left
    /// who gets.
    [[nodiscard]] bool all_done(bool nobody_gets) noexcept;
    /// A process has died: what it had is in nobody's hands now. False: not now, try again.
    bool bury(std::size_t member, std::uint64_t who) noexcept;
    /// Looks for those who have died; true if there were any.
    bool bury_dead() noexcept;
    /// What this process has in its hands goes back, and its place is free.
    void leave() noexcept;
    outcome shut_down(bool immediate) noexcept;
    /// One who gets is going to sleep: if the queue is empty, gives its memory back.
    void rest() noexcept;
    /// Something that another process has leased could come back.
    [[nodiscard]] bool others_lease() noexcept;

    /// There is an item, and none can be taken before one that was taken is done with.
    [[nodiscard]] bool hands_full() noexcept;

    [[nodiscard]] std::size_t size() noexcept;
    [[nodiscard]] bool full() noexcept;
    [[nodiscard]] bool might_get() noexcept;
    [[nodiscard]] bool might_put() noexcept { return shut() != 0 || !full(); }
    /// How many have been put, and got, modulo 2^32.
    [[nodiscard]] std::uint32_t put_count() const noexcept { return count_of(put_->state.load()); }
    [[nodiscard]] std::uint32_t get_count() const noexcept { return count_of(get_->state.load()); }
    [[nodiscard]] std::uint32_t shut() const noexcept { return common_->shut.load(); }
    [[nodiscard]] bool putters_settled() noexcept { return !put_lock_.held(); }
    [[nodiscard]] bool getters_settled() noexcept { return !get_lock_.held(); }

    [[nodiscard]] bell& items_bell() noexcept { return common_->items; }
    [[nodiscard]] bell& space_bell() noexcept { return common_->space; }
    [[nodiscard]] bell& done_bell() noexcept { return common_->done; }
    [[nodiscard]] const bell_register& sleepers() const noexcept { return sleepers_; }
    [[nodiscard]] queue_members& members() noexcept { return members_; }
    [[nodiscard]] std::uint32_t membership() const noexcept { return common_->membership.load(); }
    [[nodiscard]] const queue_settings& settings() const noexcept { return settings_; }
    [[nodiscard]] int fd() const noexcept { return memory_.fd(); }
    /// Of the items that are leased; -1 if there are no leases.
    [[nodiscard]] int leased_fd() const noexcept { return leases_.fd(); }

private:
    struct common {  // in page 0
        queue_settings settings;
        std::uint64_t pid_space;  // of those who made it: elsewhere pids mean nothing
        alignas(64) std::atomic<std::uint32_t> shut;  // 0, drain, immediate
        std::atomic<std::uint32_t> membership;        // counts changes among those who get
        alignas(64) bell items;
        alignas(64) bell space;
        alignas(64) bell done;
    };
    struct put_line {  // changed under the putters' lock
        std::atomic<std::uint64_t> state;
        std::atomic<std::uint64_t> seen_get;  // the getters' state, when it was last looked at
        // Up to here there is memory ahead; in a small ring everywhere if that is all around it.
        std::uint32_t backed;
        std::uint32_t backed_from;
    };
    struct get_line {  // changed under the getters' lock
        std::atomic<std::uint64_t> state;
        std::atomic<std::uint64_t> seen_put;
        std::atomic<std::uint64_t> taking;  // into a lease: the state after it
        std::atomic<std::uint32_t> again;   // leases that wait to be delivered again
        // Up to here memory has been given back, and putters may write in a large ring.
        std::atomic<std::uint32_t> released;
    };
    static_assert(sizeof(put_line) <= object_memory::line_room);
    static_assert(sizeof(get_line) <= object_memory::line_room);

    static constexpr std::uint64_t pack(std::uint32_t count, std::uint32_t position) noexcept {
        return std::uint64_t{count} << 32 | position;
    }
    static constexpr std::uint32_t count_of(std::uint64_t state) noexcept {
        return static_cast<std::uint32_t>(state >> 32);
    }
    static constexpr std::uint32_t position_of(std::uint64_t state) noexcept {
        return static_cast<std::uint32_t>(state);
    }
    void find_places();
    [[nodiscard]] outcome why_not(const robust_lock& of) const noexcept;
    /// A large ring gives back what has been read.
    [[nodiscard]] bool returns_memory() const noexcept { return memory_.body_size() > kept; }
    [[nodiscard]] std::uint64_t room_from() const noexcept;
    [[nodiscard]] bool fits(std::uint64_t put, std::uint64_t got,
                            std::uint32_t need) const noexcept;
    [[nodiscard]] bool sane(std::uint64_t put, std::uint64_t got) const noexcept;
    bool back(std::uint32_t position, std::uint32_t need) noexcept;
    void give_back(std::uint32_t to) noexcept;
    outcome demand_room() noexcept;
    bool rest_a_step() noexcept;
    void ring_all() noexcept;
    void recover_putters() noexcept;
    void recover_getters() noexcept;
    std::size_t own_place() noexcept;
    void bury_under_lock(std::size_t member) noexcept;
    outcome get_again(queue_taker& into, std::size_t me) noexcept;
    void end_under_lock(std::size_t lease, bool done) noexcept;
    bool end_owed() noexcept;

    std::byte* at(std::uint32_t position) const noexcept {
        return ring_ + std::size_t{position & (settings_.units - 1)} * unit;
    }

    bell_register sleepers_;
    object_memory memory_;
    queue_settings settings_{};
    common* common_ = nullptr;
    put_line* put_ = nullptr;
    get_line* get_ = nullptr;
    std::byte* ring_ = nullptr;
    robust_lock put_lock_;
    robust_lock get_lock_;
    queue_members members_;
    queue_leases leases_;
    // Leases that have ended while somebody was in the way.
    enum class owed : unsigned char { nothing, done, again };
    std::array<std::atomic<owed>, queue_leases::most> owed_{};
    std::atomic<bool> owes_{false};
};

}  // namespace runnel::ipc::detail

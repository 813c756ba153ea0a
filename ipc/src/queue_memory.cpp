// SPDX-License-Identifier: MIT
#include "queue_memory.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <runnel/error.hpp>

// How death at any instruction is survived: a change is prepared where nobody looks, those who sleep
// are woken, and then one store makes it. Who dies before the store has done nothing, who dies after
// it has done all. See bell.hpp for why nobody sleeps over it.

namespace runnel::ipc::detail {
namespace {

constexpr std::size_t first_member_page = 2;
constexpr std::size_t first_lease_page = first_member_page + queue_members::pages;
// How long somebody in a section is waited for who may have lost his CPU, by one who cannot come
// again: one who was stopped there is not waited for for ever.
constexpr std::chrono::milliseconds patience{1000};
constexpr std::size_t guarded = first_lease_page + queue_leases::pages;

std::uint64_t pid_space() noexcept {
    struct ::stat space{};
    return ::stat("/proc/self/ns/pid", &space) == 0 ? space.st_ino : 0;
}

object_type type_of(std::uint64_t type, std::size_t ring) {
    return {.name = "queue",
            .kind = 0x65756575,
            .type = type,
            .guarded = guarded,
            .body = ring,
            .mirrored = true};
}

constexpr std::uint32_t units_of(std::size_t bytes) noexcept {
    return static_cast<std::uint32_t>(
        (queue_memory::record_header + bytes + queue_memory::unit - 1) / queue_memory::unit);
}

}  // namespace

queue_memory::queue_memory(const queue_settings& settings, std::uint64_t type)
    : sleepers_(bell_register::make()), memory_(type_of(type, settings.units * unit)) {
    find_places();
    common_->settings = settings;
    settings_ = settings;
    common_->pid_space = pid_space();
    if (settings.lease != 0) leases_.make(largest_item());
    memory_.publish();
}

queue_memory::queue_memory(unique_fd memory, unique_fd leased, bell_register sleepers,
                           std::uint64_t type)
    : sleepers_(std::move(sleepers)), memory_(std::move(memory), type_of(type, 0)) {
    find_places();
    settings_ = common_->settings;
    if (common_->pid_space != pid_space())
        throw_errno(EOPNOTSUPP, "attach",
                    "ipc queue: it is of another pid namespace, or there is no /proc");
    if (settings_.units < 1 || (settings_.units & (settings_.units - 1)) != 0 ||
        std::size_t{settings_.units} * unit != memory_.body_size() ||
        (settings_.lease != 0) != bool(leased))
        throw_error(errc::protocol, "attach", "ipc queue: its settings make no sense");
    if (settings_.lease != 0) leases_.attach(std::move(leased), largest_item());
}

void queue_memory::find_places() {
    common_ = reinterpret_cast<common*>(memory_.page(0) + object_memory::header_size);
    put_ = reinterpret_cast<put_line*>(memory_.line(0));
    get_ = reinterpret_cast<get_line*>(memory_.line(1));
    ring_ = memory_.body();
    put_lock_ = memory_.lock(0);
    get_lock_ = memory_.lock(1);
    members_.place(memory_, first_member_page);
    leases_.place(memory_, first_lease_page);
}

queue_memory::outcome queue_memory::why_not(const robust_lock& of) const noexcept {
    return of.forged() ? outcome::corrupted : outcome::busy;
}

/// What the getters have left, as those who put see it.
std::uint64_t queue_memory::room_from() const noexcept {
    const std::uint64_t got = get_->state.load(std::memory_order_acquire);
    if (!returns_memory()) return got;
    return pack(count_of(got), get_->released.load(std::memory_order_acquire));
}

bool queue_memory::sane(std::uint64_t put, std::uint64_t got) const noexcept {
    return position_of(put) - position_of(got) <= settings_.units &&
           count_of(put) - count_of(got) <= settings_.units;
}

bool queue_memory::fits(std::uint64_t put, std::uint64_t got, std::uint32_t need) const noexcept {
    return position_of(put) - position_of(got) <= settings_.units - need &&
           (settings_.max_items == 0 || count_of(put) - count_of(got) < settings_.max_items);
}

void queue_memory::ring_all() noexcept {
    ring_sleepers(common_->items, sleepers_);
    ring_sleepers(common_->space, sleepers_);
    ring_sleepers(common_->done, sleepers_);
}

/// Under the putters' lock.
void queue_memory::recover_putters() noexcept {
    ring_all();
    // The dead one may have changed one of the two and not the other.
    put_->backed = put_->backed_from = position_of(put_->state.load());
}

void queue_memory::recover_getters() noexcept {
    ring_all();
    if (returns_memory()) give_back(position_of(get_->state.load()));
    if (settings_.lease == 0) return;
    std::uint32_t again = 0;
    for (std::size_t i = 0; i < queue_leases::most; ++i) {
        auto& lease = leases_.at(i);
        const std::uint64_t word = lease.word.load();
        if (queue_leases::state_of(word) == queue_leases::taking) {
            // The dead one was taking it. What it took goes to another when it is buried.
            const bool taken = get_->state.load() == get_->taking.load();
            const std::size_t owner = queue_leases::owner_of(word);
            lease.word.store(taken ? queue_leases::pack(queue_leases::leased, owner, 1) : 0);
        }
        again += queue_leases::state_of(word) == queue_leases::again;
    }
    get_->again.store(again);
}

queue_memory::outcome queue_memory::put(std::span<const std::byte> item) noexcept {
    const robust_section in(put_lock_);
    if (!in) return why_not(put_lock_);
    if (in.from_the_dead()) recover_putters();
    if (shut() != 0) return outcome::shut;
    const std::uint32_t need = units_of(item.size());
    const std::uint64_t state = put_->state.load(std::memory_order_relaxed);
    // Read once, for others can write it.
    std::uint64_t got = put_->seen_get.load(std::memory_order_relaxed);
    if (!sane(state, got) || !fits(state, got, need)) {
        got = room_from();
        put_->seen_get.store(got, std::memory_order_relaxed);
        if (!sane(state, got)) return outcome::corrupted;
        if (!fits(state, got, need)) {
            if (!returns_memory() || !fits(state, get_->state.load(), need))
                return outcome::not_now;
            const outcome how = demand_room();
            if (how != outcome::done) return how;
            got = room_from();
            put_->seen_get.store(got, std::memory_order_relaxed);
            if (!sane(state, got)) return outcome::corrupted;
            if (!fits(state, got, need)) return outcome::not_now;
        }
    }
    const std::uint32_t position = position_of(state);
    if (!back(position, need)) return outcome::no_memory;
    std::byte* to = at(position);
    const std::uint64_t length = item.size();
    std::memcpy(to, &length, record_header);
    if (!item.empty()) std::memcpy(to + record_header, item.data(), item.size());
    ring(common_->items, sleepers_);
    put_->state.store(pack(count_of(state) + 1, position + need), std::memory_order_release);
    return outcome::done;
}

queue_memory::outcome queue_memory::get(queue_taker& into) noexcept {
    const robust_section in(get_lock_);
    if (!in) return why_not(get_lock_);
    if (in.from_the_dead()) recover_getters();
    const std::uint32_t ended = shut();
    if (ended == 2) return outcome::shut;
    const std::size_t me = own_place();
    if (me == queue_members::none) return outcome::no_place;
    if (get_->again.load(std::memory_order_relaxed) != 0) {
        const outcome how = get_again(into, me);
        if (how != outcome::not_now) return how;
    }

    const std::uint64_t state = get_->state.load(std::memory_order_relaxed);
    std::uint64_t put = get_->seen_put.load(std::memory_order_relaxed);
    if (!sane(put, state) || put == state) {
        put = put_->state.load(std::memory_order_acquire);
        get_->seen_put.store(put, std::memory_order_relaxed);
        if (!sane(put, state)) return outcome::corrupted;
        if (put == state) {
            if (settings_.lease != 0 && end_owed()) return outcome::busy;  // look again
            return ended == 1 && !others_lease() ? outcome::shut : outcome::not_now;
        }
    }
    const std::uint32_t position = position_of(state);
    const std::byte* from = at(position);
    std::uint64_t length = 0;
    std::memcpy(&length, from, record_header);
    const std::uint32_t there = position_of(put) - position;
    if (there == 0 || length > there * unit - record_header) return outcome::corrupted;
    const std::uint32_t next = position + units_of(length);
    const std::uint64_t after = pack(count_of(state) + 1, next);
    const std::span<const std::byte> item{from + record_header, static_cast<std::size_t>(length)};
    queue_lease known;
    if (settings_.lease != 0) {
        end_owed();
        std::size_t i = 0;
        while (i < queue_leases::most && leases_.at(i).word.load() != 0) ++i;
        if (i == queue_leases::most) return outcome::hands_full;
        auto& lease = leases_.at(i);
        if (!item.empty()) std::memcpy(leases_.copy(i).data(), item.data(), item.size());
        lease.length = static_cast<std::uint32_t>(length);
        lease.order = count_of(state);
        get_->taking.store(after);
        lease.word.store(queue_leases::pack(queue_leases::taking, me, 1));
        known.ticket = static_cast<std::uint32_t>(i + 1);
    }
    if (!into.take(item, known)) {
        if (known.ticket != 0) leases_.at(known.ticket - 1).word.store(0);
        return outcome::no_memory;
    }
    // Before the commit, so that nobody finds all done in between; one who dies here has nothing.
    if (known.ticket == 0) {
        auto& taken = members_.at(me).taken;
        taken.store(taken.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
    ring(common_->space, sleepers_);
    get_->state.store(after, std::memory_order_release);
    if (known.ticket != 0)
        leases_.at(known.ticket - 1)
            .word.store(
                queue_leases::pack(into.leases ? queue_leases::leased : queue_leases::got, me, 1));
    if (returns_memory()) give_back(next);
    return outcome::done;
}

/// The oldest of what the dead, or those who gave it back, did not finish.
queue_memory::outcome queue_memory::get_again(queue_taker& into, std::size_t me) noexcept {
    const std::size_t oldest = leases_.oldest(
        [](std::uint64_t word) { return queue_leases::state_of(word) == queue_leases::again; });
    if (oldest == queue_leases::most) {
        get_->again.store(0);
        return outcome::not_now;
    }
    auto& lease = leases_.at(oldest);
    const std::uint32_t deliveries = queue_leases::deliveries_of(lease.word.load()) + 1;
    const std::uint32_t length = lease.length;
    const std::span<std::byte> copy = leases_.copy(oldest);
    if (length > copy.size()) return outcome::corrupted;
    if (!into.take(copy.first(length), {static_cast<std::uint32_t>(oldest + 1), deliveries}))
        return outcome::no_memory;
    get_->again.fetch_sub(1);
    lease.word.store(
        queue_leases::pack(into.leases ? queue_leases::leased : queue_leases::got, me, deliveries));
    return outcome::done;
}

bool queue_memory::hands_full() noexcept {
    if (settings_.lease == 0 || size() == 0) return false;
    for (std::size_t i = 0; i < queue_leases::most; ++i) {
        const std::uint64_t word = leases_.at(i).word.load();
        if (word == 0 || queue_leases::state_of(word) == queue_leases::again) return false;
    }
    return true;
}

std::size_t queue_memory::own_place() noexcept {
    bool fresh = false;
    std::size_t me = members_.own(fresh);
    if (me == queue_members::none) [[unlikely]] {
        for (std::size_t i = 0; i < queue_members::most; ++i)
            if (queue_members::pid_of(members_.at(i).who.load()) != 0 &&
                queue_members::dead(members_.at(i)))
                bury_under_lock(i);
        me = members_.own(fresh);
    }
    // Those who sleep watch over each other's lives: over this one's, too, from now on.
    if (fresh) [[unlikely]] {
        common_->membership.fetch_add(1);
        ring_sleepers(common_->items, sleepers_);
        ring_sleepers(common_->done, sleepers_);
    }
    return me;
}

queue_memory::outcome queue_memory::task_done() noexcept {
    const robust_section in(get_lock_, patience);
    if (!in) return why_not(get_lock_);
    if (in.from_the_dead()) recover_getters();
    const std::size_t me = members_.known();
    if (me == queue_members::none) return outcome::not_now;
    if (settings_.lease != 0) {
        end_owed();
        const std::size_t oldest = leases_.oldest([me](std::uint64_t word) {
            return queue_leases::state_of(word) == queue_leases::got &&
                   queue_leases::owner_of(word) == me;
        });
        if (oldest == queue_leases::most) return outcome::not_now;
        ring(common_->items, sleepers_);
        ring(common_->done, sleepers_);
        leases_.end(oldest);
        return outcome::done;
    }
    auto& mine = members_.at(me);
    const std::uint32_t finished = mine.finished.load();
    if (finished == mine.taken.load()) return outcome::not_now;
    ring(common_->done, sleepers_);
    mine.finished.store(finished + 1);
    return outcome::done;
}

void queue_memory::end_lease(std::uint32_t ticket, bool done) noexcept {
    const robust_section in(get_lock_, patience);
    if (!in) {
        owed_[ticket - 1].store(done ? owed::done : owed::again);
        owes_.store(true);
        return;
    }
    if (in.from_the_dead()) recover_getters();
    end_under_lock(ticket - 1, done);
    end_owed();
}

void queue_memory::end_under_lock(std::size_t i, bool done) noexcept {
    auto& lease = leases_.at(i);
    const std::uint64_t word = lease.word.load();
    const std::size_t me = members_.known();
    if (me == queue_members::none || !queue_leases::is_out(word) ||
        queue_leases::owner_of(word) != me)
        return;
    ring(common_->items, sleepers_);
    ring(common_->done, sleepers_);
    const std::uint32_t deliveries = queue_leases::deliveries_of(word);
    if (done || shut() == 2 ||
        (settings_.max_deliveries != 0 && deliveries >= settings_.max_deliveries)) {
        leases_.end(i);
    } else {
        get_->again.fetch_add(1);
        lease.word.store(queue_leases::pack(queue_leases::again, 0, deliveries));
    }
}

/// Under the getters' lock; true if there was something.
bool queue_memory::end_owed() noexcept {
    if (!owes_.load(std::memory_order_relaxed)) [[likely]]
        return false;
    owes_.store(false);
    for (std::size_t i = 0; i < queue_leases::most; ++i)
        if (const owed how = owed_[i].exchange(owed::nothing); how != owed::nothing)
            end_under_lock(i, how == owed::done);
    return true;
}

bool queue_memory::all_done(bool nobody_gets) noexcept {
    const bool dropped = shut() == 2;  // what is in nobody's hands
    const std::uint64_t got = get_->state.load();
    if (!dropped && (count_of(put_->state.load()) != count_of(got) || get_->state.load() != got))
        return false;
    if (settings_.lease != 0) {
        for (std::size_t i = 0; i < queue_leases::most; ++i) {
            const std::uint64_t word = leases_.at(i).word.load();
            if (word != 0 && !(dropped && queue_leases::state_of(word) == queue_leases::again))
                return false;
        }
        return true;
    }
    if (nobody_gets) return true;
    for (std::size_t i = 0; i < queue_members::most; ++i) {
        const auto& one = members_.at(i);
        if (queue_members::pid_of(one.who.load()) != 0 && one.taken.load() != one.finished.load())
            return false;
    }
    return true;
}

void queue_memory::bury_under_lock(std::size_t member) noexcept {
    // First, in case this one dies as well.
    ring_sleepers(common_->items, sleepers_);
    ring_sleepers(common_->done, sleepers_);
    if (settings_.lease != 0) {
        for (std::size_t i = 0; i < queue_leases::most; ++i) {
            auto& lease = leases_.at(i);
            const std::uint64_t word = lease.word.load();
            if (!queue_leases::is_out(word) || queue_leases::owner_of(word) != member) continue;
            const std::uint32_t deliveries = queue_leases::deliveries_of(word);
            const bool enough =
                settings_.max_deliveries != 0 && deliveries >= settings_.max_deliveries;
            if (enough) {
                leases_.end(i);
                continue;
            }
            get_->again.fetch_add(1);
            lease.word.store(queue_leases::pack(queue_leases::again, 0, deliveries));
        }
    }
    members_.free(member);
    common_->membership.fetch_add(1);
}

bool queue_memory::bury(std::size_t member, std::uint64_t who) noexcept {
    const robust_section in(get_lock_);
    if (!in) return why_not(get_lock_) == outcome::corrupted;
    if (in.from_the_dead()) recover_getters();
    if (members_.at(member).who.load() == who) bury_under_lock(member);
    return true;
}

bool queue_memory::bury_dead() noexcept {
    bool any = false;
    for (std::size_t i = 0; i < queue_members::most; ++i) {
        const auto& one = members_.at(i);
        const std::uint64_t who = one.who.load();
        if (queue_members::pid_of(who) == 0 || members_.is_own(i) || !queue_members::dead(one))
            continue;
        any |= bury(i, who);
    }
    return any;
}

void queue_memory::leave() noexcept {
    const std::size_t me = members_.known();
    if (me == queue_members::none) return;
    const robust_section in(get_lock_, patience);
    if (!in) return;  // others learn of it when this process ends
    if (in.from_the_dead()) recover_getters();
    if (settings_.lease != 0) end_owed();
    bury_under_lock(me);
    members_.leave();
}

queue_memory::outcome queue_memory::shut_down(bool immediate) noexcept {
    const robust_section putting(put_lock_, patience);
    if (!putting) return why_not(put_lock_);
    if (putting.from_the_dead()) recover_putters();
    const robust_section getting(get_lock_, patience);
    if (!getting) return why_not(get_lock_);
    if (getting.from_the_dead()) recover_getters();
    ring_all();
    if (shut() != 2) common_->shut.store(immediate ? 2 : 1);
    if (immediate) ::madvise(ring_, memory_.body_size(), MADV_REMOVE);
    return outcome::done;
}

bool queue_memory::others_lease() noexcept {
    if (settings_.lease == 0) return false;
    for (std::size_t i = 0; i < queue_leases::most; ++i) {
        const std::uint64_t word = leases_.at(i).word.load();
        if (queue_leases::state_of(word) == queue_leases::again ||
            (word != 0 && !members_.is_own(queue_leases::owner_of(word))))
            return true;
    }
    return false;
}

std::size_t queue_memory::size() noexcept {
    if (shut() == 2) return 0;
    for (;;) {
        const std::uint32_t again = get_->again.load();
        const std::uint64_t got = get_->state.load();
        const std::uint64_t put = put_->state.load();
        if (get_->state.load() == got && get_->again.load() == again)
            return std::size_t{count_of(put) - count_of(got)} + again;
    }
}

bool queue_memory::full() noexcept {
    for (;;) {
        const std::uint64_t got = get_->state.load();
        const std::uint64_t put = put_->state.load();
        if (get_->state.load() == got) return !fits(put, got, 1);
    }
}

bool queue_memory::might_get() noexcept {
    return get_->state.load(std::memory_order_relaxed) !=
               put_->state.load(std::memory_order_acquire) ||
           get_->again.load(std::memory_order_relaxed) != 0 || shut() != 0;
}

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cerrno>
#include <mutex>

#include <fcntl.h>
#include <sys/mman.h>

#include "queue_memory.hpp"

// Where the memory of a queue's ring comes from, and when the kernel gets it back.

namespace runnel::ipc::detail {
namespace {

// A ring gets its memory in windows; a large one gives back in steps what has been read.
constexpr std::uint32_t window = (32 << 10) / queue_memory::unit;
constexpr std::uint32_t page = object_memory::page_size / queue_memory::unit;
constexpr std::uint32_t step = (256 << 10) / queue_memory::unit;

}  // namespace

/// Has the kernel find memory ahead of the position: later would be a SIGBUS.
bool queue_memory::back(std::uint32_t position, std::uint32_t need) noexcept {
    if (!returns_memory() && put_->backed - put_->backed_from >= settings_.units) return true;
    // Positions wrap, so what counts is how far ahead of this one memory is known to be.
    const std::uint32_t ahead = put_->backed - position;
    if (static_cast<std::int32_t>(ahead) >= static_cast<std::int32_t>(need)) return true;
    // To the end of a window; but not what is before this page, which may have been given back.
    const std::uint32_t inside = position % page;
    const std::uint32_t from = (position - inside) & (settings_.units - 1);
    const std::uint32_t until = (from + inside + need + window - 1) / window * window;
    const std::uint32_t length = std::min(until - from, settings_.units);
    const auto allocate = [&](std::uint32_t begin, std::uint32_t n) {
        while (n != 0 && ::fallocate(memory_.fd(), FALLOC_FL_KEEP_SIZE,
                                     static_cast<::off_t>(memory_.body_offset() + begin * unit),
                                     static_cast<::off_t>(n * unit)) != 0)
            if (errno != EINTR) return false;
        return true;
    };
    const std::uint32_t first = std::min(length, settings_.units - from);
    if (!allocate(from, first) || !allocate(0, length - first)) return false;
    put_->backed = position - inside + length;
    // What is beyond the room now is given back before it is room.
    const std::uint32_t room =
        position_of(put_->seen_get.load(std::memory_order_relaxed)) + settings_.units - position;
    if (returns_memory() && put_->backed - position > room) put_->backed = position + room;
    return true;
}

/// Those who put get the room of the steps that end before `to`, which the kernel gets first. What
/// they have got they may have written to again: a step of which they have a part is kept.
void queue_memory::give_back(std::uint32_t to) noexcept {
    const std::uint32_t released = get_->released.load(std::memory_order_relaxed);
    const std::uint32_t until = to / step * step;
    if (static_cast<std::int32_t>(until - released) <= 0) return;
    const std::uint32_t from = (released + step - 1) / step * step;
    for (std::uint32_t i = 0; i < until - from; i += step)
        ::madvise(at(from + i), step * unit, MADV_REMOVE);
    get_->released.store(until, std::memory_order_release);
}

/// For one who needs what the getters have read and not given back, or would have, but died.
queue_memory::outcome queue_memory::demand_room() noexcept {
    const robust_section getting(get_lock_);
    if (!getting) return why_not(get_lock_);
    if (getting.from_the_dead()) recover_getters();
    const std::uint32_t to = position_of(get_->state.load());
    give_back(to);
    get_->released.store(to, std::memory_order_release);
    return outcome::done;
}

void queue_memory::rest() noexcept {
    while (rest_a_step()) {
    }
}

/// In steps, so that nobody waits for long. True: there is more.
bool queue_memory::rest_a_step() noexcept {
    // Not each time, and never what a small ring has.
    const auto used = [&] {
        return position_of(get_->state.load(std::memory_order_relaxed)) -
               get_->released.load(std::memory_order_relaxed);
    };
    if (used() < window / 2 || settings_.units <= window) return false;
    const robust_section putting(put_lock_, std::try_to_lock);
    if (!putting) return false;
    if (putting.from_the_dead()) recover_putters();
    const robust_section getting(get_lock_, std::try_to_lock);
    if (!getting) return false;
    if (getting.from_the_dead()) recover_getters();
    const std::uint64_t state = get_->state.load();
    if (put_->state.load() != state) return false;
    const std::uint32_t to = position_of(state);
    const std::uint32_t end = to / page * page;
    const std::uint32_t from =
        end - std::min((used() + 2 * page - 1) / page * page, settings_.units - page);
    const std::uint32_t until = end - from > step ? from + step : end;
    put_->backed = put_->backed_from = (to + page - 1) / page * page;
    ::madvise(at(from), std::size_t{until - from} * unit, MADV_REMOVE);
    get_->released.store(until == end ? to : until, std::memory_order_release);
    return until != end;
}

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
#include "presence.hpp"

#include <algorithm>
#include <cerrno>
#include <string>

#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <runnel/error.hpp>

#include "owner.hpp"

namespace runnel::ipc::detail {

static_assert(sizeof(place) <= object_memory::line_room);

std::size_t presence_table::used() const noexcept {
    return std::min<std::size_t>(used_.load(std::memory_order_acquire), most);
}

std::uint32_t presence_table::holder(std::size_t i) const noexcept {
    return life_mark::holder_of(mark_of(i));
}
bool presence_table::held(std::size_t i) const noexcept { return holder(i) != 0; }
bool presence_table::dead(std::size_t i) const noexcept { return life_mark::dead(mark_of(i)); }

bool presence_table::try_take(shared_object& of, life_mark& mark, std::size_t i) const {
    std::uint32_t seen = used_.load();
    while (seen < i + 1 && !used_.compare_exchange_weak(seen, static_cast<std::uint32_t>(i + 1))) {
    }
    const life_mark::got how = mark.take(memory_, offset_ + i * life_mark::page_size);
    if (how == life_mark::got::no) return false;
    // What the dead had counts again from there to the store below.
    try {
        object_section inside(of);
        inside.ring();
        (*this)[i].turn.fetch_add(1);
        (*this)[i].state.store(0);
    } catch (...) {
        mark.give_up(how == life_mark::got::from_the_dead);
        ring_sleepers(of.rings(), of.registered());
        throw;
    }
    return true;
}

void presence_table::full(const shared_object& of) {
    throw_errno(EUSERS, "take part in", std::string("ipc ") + of.name());
}

presence_hub::~presence_hub() { give_up_place(); }

bool presence_hub::arm_more() noexcept {
    const std::size_t used = table_.used();
    for (std::size_t i = 0; i < used; ++i)
        if (i != own_ && concerns(i) && !watch_holder(i)) return false;
    return true;
}

bool presence_hub::watch_holder(std::size_t i) noexcept {
    const std::uint32_t thread = table_.holder(i);
    if (thread == 0) return false;  // it has just ended
    try {
        if (watched_.size() <= i) watched_.resize(i + 1);
        if (!watched_[i]) watched_[i] = std::make_unique<watched>(*this);
        watched& one = *watched_[i];
        if (one.thread == thread) return true;
        if (one.active()) {  // of a holder before, who has left
            one.cancel();
            ::sched_yield();
            return false;
        }
        one.pidfd = open_pidfd(thread);
        if (!one.pidfd && errno != ESRCH) {
            ::sched_yield();  // no descriptors: stays awake until there are some
            return false;
        }
        if (table_.holder(i) != thread) return false;
        one.thread = thread;
        // A thread id that means nothing here is one of another pid namespace: what it gives back
        // is seen, its death is not.
        if (!one.pidfd || one.begin(home(), io::poll(one.pidfd.get(), POLLIN))) return true;
        one.thread = 0;
        return false;
    } catch (const std::exception&) {
        ::sched_yield();
        return false;
    }
}

void presence_hub::one_ended() noexcept {
    for (const auto& one : watched_)
        if (one && !one->active() && one->pidfd) {
            one->thread = 0;
            one->pidfd.reset();
        }
    part_ended();
}

void presence_hub::retire_more() noexcept {
    give_up_place();
    for (const auto& one : watched_)
        if (one) one->cancel();
}

bool presence_hub::more_active() const noexcept {
    return std::any_of(watched_.begin(), watched_.end(),
                       [](const auto& one) { return one && one->active(); });
}

void presence_hub::give_up_place() noexcept {
    if (own_ == none) return;
    object_->give_back([this] {
        table_[own_].turn.fetch_add(1);
        table_[own_].state.store(0);
    });
    mark_.give_up();
    own_ = none;
}

}  // namespace runnel::ipc::detail

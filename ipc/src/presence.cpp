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

static_assert(sizeof(place) <= 64);

void presence_table::initialise() const {
    ::pthread_mutexattr_t how;
    ::pthread_mutexattr_init(&how);
    ::pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
    ::pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
    for (std::size_t i = 0; i < most; ++i) ::pthread_mutex_init(&places_[i].alive, &how);
    ::pthread_mutexattr_destroy(&how);
}

std::size_t presence_table::used() const noexcept {
    return std::min<std::size_t>(used_.load(std::memory_order_acquire), most);
}

std::uint32_t presence_table::holder(std::size_t i) const noexcept {
    const std::uint32_t word = word_of(places_[i].alive);
    return (word & FUTEX_OWNER_DIED) != 0 ? 0 : word & FUTEX_TID_MASK;
}
bool presence_table::held(std::size_t i) const noexcept { return holder(i) != 0; }
bool presence_table::dead(std::size_t i) const noexcept {
    return (word_of(places_[i].alive) & FUTEX_OWNER_DIED) != 0;
}

bool presence_table::try_take(shared_object& of, std::size_t i) const {
    place& here = places_[i];
    const int error = ::pthread_mutex_trylock(&here.alive);
    if (error == EBUSY) return false;
    if (error != 0 && error != EOWNERDEAD)
        throw_errno(error, "take part in", std::string("ipc ") + of.name());
    if (error == EOWNERDEAD) ::pthread_mutex_consistent(&here.alive);
    // What the dead had counts again from the trylock to the store below.
    try {
        object_section inside(of);
        inside.ring();
        here.turn.fetch_add(1);
        here.state.store(0);
    } catch (...) {
        ::pthread_mutex_unlock(&here.alive);
        throw;
    }
    std::uint32_t seen = used_.load();
    while (seen < i + 1 && !used_.compare_exchange_weak(seen, static_cast<std::uint32_t>(i + 1))) {
    }
    return true;
}

bool presence_table::give_back(std::size_t i) const noexcept {
    return ::pthread_mutex_unlock(&places_[i].alive) == 0;
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
    try {
        object_section inside(*object_);
        inside.ring();
        table_[own_].turn.fetch_add(1);
        table_[own_].state.store(0);
    } catch (const std::exception&) {
    }
    // A thread that lives must not have a lock in memory that is gone: rather the memory stays.
    if (!table_.give_back(own_)) static_cast<void>(new std::shared_ptr<shared_object>(object_));
    own_ = none;
}

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
#include "queue_hub.hpp"

#include <algorithm>
#include <cerrno>
#include <new>

#include <poll.h>
#include <sched.h>

#include <runnel/io.hpp>

namespace runnel::ipc::detail {

std::shared_ptr<queue_side> queue_side::for_users(std::shared_ptr<queue_side> side) {
    struct users {
        explicit users(std::shared_ptr<queue_side> of) noexcept : side(std::move(of)) {}
        ~users() {
            if (side->getting) side->object->memory.leave();
        }
        users(const users&) = delete;
        users& operator=(const users&) = delete;
        const std::shared_ptr<queue_side> side;
    };
    const auto all = std::make_shared<users>(std::move(side));
    return {all, all->side.get()};
}

queue_side::~queue_side() {
    life.reset();
    object->ended.fetch_add(1);
}

bool queue_side::look() const noexcept {
    looked = object->ended.load(std::memory_order_relaxed);
    ::pollfd other{life.get(), 0, 0};
    if (::poll(&other, 1, 0) != 1) return false;
    gone.store(true);
    return true;
}

/// Watches over the life of one process that gets from the queue.
struct queue_hub::member_watch final : io::standing {
    member_watch(queue_hub& of, std::size_t i, std::uint64_t its, unique_fd fd) noexcept
        : hub(of), index(i), who(its), pidfd(std::move(fd)) {}
    /// It has ended, as the kernel says; and everybody knows now.
    bool buried() noexcept {
        return result() > 0 && (result() & (POLLIN | POLLHUP)) != 0 && hub.memory_.bury(index, who);
    }
    void completed() noexcept override {
        pidfd.reset();
        if (!hub.retired() && !buried()) hub.look_again_ = true;
        hub.part_ended();
    }
    queue_hub& hub;
    const std::size_t index;
    const std::uint64_t who;
    unique_fd pidfd;
};

queue_hub::queue_hub(const std::shared_ptr<queue_side>& side, hub_set& set, loop& home, kind what,
                     bell& bell)
    // Those who join from the getters' side could still get.
    : wait_hub(set, home, bell, side->object->memory.sleepers(),
               what == kind::joiners && side->getting ? -1 : side->life.get()),
      side_(side->shared_from_this()),
      memory_(side_->object->memory),
      kind_(what) {
    watch_hangup();
}

queue_hub& queue_hub::of(const std::shared_ptr<queue_side>& side, loop& home, bool joining) {
    queue_memory& memory = side->object->memory;
    if (joining) {
        hub_set& set = side->joiners;
        return static_cast<queue_hub&>(set.use(home, [&]() -> wait_hub* {
            return new queue_hub(side, set, home, kind::joiners, memory.done_bell());
        }));
    }
    hub_set& set = side->hubs;
    return static_cast<queue_hub&>(set.use(home, [&]() -> wait_hub* {
        return side->getting ? new queue_hub(side, set, home, kind::getters, memory.items_bell())
                             : new queue_hub(side, set, home, kind::putters, memory.space_bell());
    }));
}

bool queue_hub::ready() noexcept {
    notice_members();  // a loop that never sleeps does not arm
    switch (kind_) {
        case kind::putters: return gone() || memory_.might_put();
        case kind::getters: return gone() || memory_.might_get();
        case kind::joiners: break;
    }
    return gone() || memory_.all_done(false);
}

std::uint32_t queue_hub::handled() const noexcept {
    switch (kind_) {
        case kind::putters: return memory_.put_count();
        case kind::getters: return memory_.get_count();
        case kind::joiners: break;
    }
    return 0;
}

bool queue_hub::settled() noexcept {
    return memory_.getters_settled() && memory_.putters_settled();
}

bool queue_hub::watches_members() const noexcept {
    return kind_ == kind::joiners || (kind_ == kind::getters && memory_.settings().lease != 0);
}

void queue_hub::notice_members() noexcept {
    if (!watches_members()) return;
    const std::uint32_t now = memory_.membership();
    if ((now != membership_ || look_again_) && watch_members()) membership_ = now;
}

bool queue_hub::arm_more() noexcept {
    if (kind_ == kind::getters) memory_.rest();
    if (!watches_members()) return true;
    const std::uint32_t now = memory_.membership();
    if (now == membership_ && !look_again_) return true;
    if (!watch_members()) {
        ::sched_yield();
        return false;
    }
    membership_ = now;
    // Somebody may have died before he was watched.
    return false;
}

/// Watches all who get in other processes and are not watched yet, and those no more who have left.
/// False: not all, for there is no room, or somebody is in the way.
bool queue_hub::watch_members() noexcept {
    queue_members& all = memory_.members();
    std::erase_if(members_, [](const auto& one) { return !one->active(); });
    for (const auto& each : members_)
        if (all.at(each->index).who.load() != each->who) each->cancel();
    look_again_ = true;
    bool fine = true;
    for (std::size_t i = 0; i < queue_members::most; ++i) {
        auto& one = all.at(i);
        const std::uint64_t who = one.who.load();
        if (queue_members::pid_of(who) == 0 || all.is_own(i)) continue;
        const auto known = [&](const auto& each) { return each->index == i && each->who == who; };
        if (std::any_of(members_.begin(), members_.end(), known)) continue;
        unique_fd pidfd = queue_members::watch(one);
        if (!pidfd) {
            if (errno != ESRCH) return false;
            fine &= memory_.bury(i, who);
            continue;
        }
        try {
            members_.push_back(std::make_unique<member_watch>(*this, i, who, std::move(pidfd)));
        } catch (const std::bad_alloc&) {
            return false;
        }
        if (!members_.back()->begin(home(), io::poll(members_.back()->pidfd.get(), POLLIN)))
            fine &= members_.back()->buried();
    }
    look_again_ = !fine;
    return fine;
}

void queue_hub::retire_more() noexcept {
    for (const auto& one : members_) one->cancel();
}

bool queue_hub::more_active() const noexcept {
    for (const auto& one : members_)
        if (one->active()) return true;
    return false;
}

}  // namespace runnel::ipc::detail

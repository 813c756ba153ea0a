// SPDX-License-Identifier: MIT
#include <runnel/ipc/detail/shared_object.hpp>

#include <algorithm>
#include <stdexcept>

#include <runnel/error.hpp>
#include <runnel/fork.hpp>

namespace runnel::ipc::detail {

shared_object::shared_object(const object_type& what)
    : memory_(what), name_(what.name), lock_(memory_.lock(0)), registered_(bell_register::make()) {}

shared_object::shared_object(const object_type& what, decoder& in)
    : memory_(in.read_handle(), what),
      name_(what.name),
      lock_(memory_.lock(0)),
      registered_(bell_register::read(in)) {}

void shared_object::write(encoder& out) const {
    out.write_handle(memory_.fd());
    registered_.write(out);
}

object_section::object_section(shared_object& of) : object_(of) {
    robust_lock::got how = of.lock_.lock();
    if (how == robust_lock::got::no) [[unlikely]]
        how = insist(of);
    // Whoever died inside may have taken the sleepers' word for it, and not rung.
    if (how == robust_lock::got::from_the_dead) ring_sleepers(of.rings(), of.registered_);
}

robust_lock::got object_section::insist(shared_object& of) {
    std::uint32_t holder = of.lock_.holder();
    auto since = std::chrono::steady_clock::now();
    for (;;) {
        if (of.lock_.forged())
            throw_error(errc::protocol, "change",
                        std::string("ipc ") + of.name() + ": its lock has been overwritten");
        const robust_lock::got how = of.lock_.lock();
        if (how != robust_lock::got::no) return how;
        const auto now = std::chrono::steady_clock::now();
        if (const std::uint32_t next = of.lock_.holder(); next != holder) {
            holder = next;
            since = now;
        }
        if (now - since > patience)
            throw_errno(ETIMEDOUT, "change",
                        std::string("ipc ") + of.name() +
                            ": somebody is in the middle of a change, and does not go on");
    }
}

object_use::~object_use() {
    for (wait_hub* one : hubs_) one->leave();
}

wait_hub& object_use::hub_of(loop& home, const char* operation) {
    if (in_virtual_time())
        throw std::logic_error(std::string(operation) + " on ipc " + object_->name() +
                               ": refused on a loop with virtual time");
    const std::lock_guard held(alone_);
    const auto found = std::find_if(hubs_.begin(), hubs_.end(),
                                    [&](const wait_hub* one) { return &one->home() == &home; });
    if (found != hubs_.end()) {
        if (!(*found)->retired()) return **found;
        wait_hub* const old = *found;  // of a loop that was at the same place
        hubs_.erase(found);
        old->release();
    }
    hubs_.reserve(hubs_.size() + 1);
    wait_hub& made = object_->hubs.use(home, [&] { return object_->make_hub(object_, home); });
    hubs_.push_back(&made);
    return made;
}

void require_use(const object_pointer& use, const char* operation, const char* object) {
    if (!use)
        throw std::invalid_argument(std::string(operation) + " on ipc " + object +
                                    ": it was moved from");
}

}  // namespace runnel::ipc::detail

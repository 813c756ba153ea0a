// SPDX-License-Identifier: MIT
#include <runnel/ipc/recursive_mutex.hpp>

#include <stdexcept>
#include <string>

namespace runnel::ipc {
namespace detail {
namespace {

/// Something that each thread has at another address.
const void* this_thread() noexcept {
    static thread_local const char here = 0;
    return &here;
}

}  // namespace

bool recursive_state::enter_again(std::uint64_t task) noexcept {
    if (task == 0 || owner.load(std::memory_order_relaxed) != task ||
        thread.load(std::memory_order_relaxed) != this_thread())
        return false;
    ++depth;
    return true;
}

void recursive_state::enter(std::uint64_t task, held_mutex taken) noexcept {
    held = std::move(taken);
    depth = 1;
    thread.store(this_thread(), std::memory_order_relaxed);
    owner.store(task, std::memory_order_relaxed);
}

void recursive_state::leave() noexcept {
    if (--depth != 0) return;
    owner.store(0, std::memory_order_relaxed);
    thread.store(nullptr, std::memory_order_relaxed);
    held_mutex last = std::move(held);  // before others can enter
    last.unlock();
}

}  // namespace detail

recursive_mutex::recursive_mutex(const mutex& of)
    : state_(std::make_shared<detail::recursive_state>(of.state("share"))) {}

const recursive_mutex::state_pointer& recursive_mutex::state(const char* operation) const {
    if (!state_)
        throw std::invalid_argument(std::string(operation) +
                                    " on ipc recursive mutex: it was moved from");
    return state_;
}

std::optional<recursive_mutex::guard> recursive_mutex::try_lock() const {
    const state_pointer& mine = state("try_lock");
    detail::held_mutex held = detail::mutex_state::take(mine->lock, 0);
    if (!held) return std::nullopt;
    mine->enter(0, std::move(held));
    return guard(mine);
}

void codec<recursive_mutex>::encode(encoder& out, const recursive_mutex& m) {
    codec<mutex>::encode(out, mutex(m.state("encode")->lock));
}
recursive_mutex codec<recursive_mutex>::decode(decoder& in) {
    return recursive_mutex(codec<mutex>::decode(in));
}

}  // namespace runnel::ipc

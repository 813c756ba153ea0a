// SPDX-License-Identifier: MIT
#include <runnel/ipc/mutex.hpp>

#include <stdexcept>

namespace runnel::ipc {

mutex::mutex() : state_(std::make_shared<detail::mutex_state>()) {}

const std::shared_ptr<detail::mutex_state>& mutex::state(const char* operation) const {
    if (!state_)
        throw std::invalid_argument(std::string(operation) + " on ipc mutex: it was moved from");
    return state_;
}

mutex mutex::share() const { return mutex(state("share")); }

std::optional<mutex::guard> mutex::try_lock() const {
    detail::held_mutex held = detail::mutex_state::take(state("try_lock"), 0);
    if (!held) return std::nullopt;
    return guard(std::move(held));
}

void codec<mutex>::encode(encoder& out, const mutex& m) {
    const auto& state = m.state("encode");
    out.write_handle(state->memory());
    out.write_handle(state->register_out());
    out.write_handle(state->register_in());
}

mutex codec<mutex>::decode(decoder& in) {
    unique_fd memory = in.read_handle();
    unique_fd register_out = in.read_handle();
    unique_fd register_in = in.read_handle();
    if (!memory) in.fail("a mutex without its memory");
    return mutex(std::make_shared<detail::mutex_state>(std::move(memory), std::move(register_out),
                                                       std::move(register_in)));
}

}  // namespace runnel::ipc

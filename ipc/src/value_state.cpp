// SPDX-License-Identifier: MIT
#include <runnel/ipc/detail/value_state.hpp>

namespace runnel::ipc::detail {
namespace {

object_type type_of(std::uint64_t type, std::size_t words) noexcept {
    return {.name = "value",
            .kind = kind_value,
            .type = type,
            .body = words == 1 ? 0 : 2 * words * sizeof(std::uint64_t)};
}

class value_hub final : public wait_hub {
public:
    value_hub(std::shared_ptr<shared_object> of, loop& home)
        : wait_hub(of->hubs, home, of->rings(), of->registered(), -1), object_(std::move(of)) {}
    void look_from(std::uint64_t stamp) noexcept { seen_ = stamp; }

private:
    bool ready() noexcept override {
        const std::uint64_t now = static_cast<value_state&>(*object_).stamp();
        return now != std::exchange(seen_, now);
    }
    bool settled() noexcept override { return object_->settled(); }
    bool in_order() const noexcept override { return false; }
    std::shared_ptr<shared_object> object_;
    std::uint64_t seen_ = 0;
};

}  // namespace

value_state::value_state(std::uint64_t type, std::span<const std::uint64_t> initial)
    : shared_object(type_of(type, initial.size())) {
    if (initial.size() == 1)
        own().stamp = initial[0];
    else
        write_words(initial, copy(0, initial.size()));
    memory_.publish();
}

value_state::value_state(std::uint64_t type, std::size_t words, decoder& in)
    : shared_object(type_of(type, words), in) {}

wait_hub* value_state::make_hub(std::shared_ptr<shared_object> self, loop& home) {
    return new value_hub(std::move(self), home);
}

bool value_waiter::await_suspend(waiter who) {
    auto& hub = static_cast<value_hub&>(use_->hub_of(who.home(), operation_));
    const std::uint64_t stamp = state().stamp();
    if (serve()) return false;
    if (!hub.crowded()) hub.look_from(stamp);
    hub_ = &hub;
    hub.wait(*this, who);
    return true;
}

}  // namespace runnel::ipc::detail

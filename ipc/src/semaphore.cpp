// SPDX-License-Identifier: MIT
#include <runnel/ipc/semaphore.hpp>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>

#include <runnel/error.hpp>
#include <runnel/loop.hpp>

#include "owner.hpp"
#include "presence.hpp"

// `permits` are those that exist: release() adds to them, acquire() takes away. What is held is
// written in the place of the loop that holds it, and nowhere else. So each change is one store,
// the kernel's mark on the place of a dead thread among them, and
//     available = permits - what the living hold

namespace runnel::ipc::detail {
namespace {

struct semaphore_head {
    bell rings;
    std::atomic<std::uint32_t> permits;
    std::atomic<std::uint32_t> bound;
    std::atomic<std::uint32_t> places;
};

}  // namespace

class semaphore_state final : public shared_object {
public:
    static constexpr object_type type{
        .name = "semaphore", .kind = kind_semaphore, .body = presence_table::size};

    semaphore_state(std::uint32_t count, std::uint32_t bound) : shared_object(type), bound_(bound) {
        own().permits = count;
        own().bound = bound;
        memory_.publish();
    }
    explicit semaphore_state(decoder& in) : shared_object(type, in), bound_(own().bound.load()) {
        if (bound_ > semaphore::unbounded) in.fail("a semaphore with an impossible bound");
    }
    wait_hub* make_hub(std::shared_ptr<shared_object> self, loop& home) override;

    [[nodiscard]] std::uint32_t units(std::size_t i) const noexcept {
        return places.held(i) ? static_cast<std::uint32_t>(places[i].state.load()) : 0;
    }
    [[nodiscard]] std::uint32_t available() const noexcept {
        std::int64_t left = own().permits.load();
        const std::size_t used = places.used();
        for (std::size_t i = 0; i < used; ++i) left -= units(i);
        return static_cast<std::uint32_t>(std::clamp<std::int64_t>(left, 0, semaphore::unbounded));
    }
    bool try_acquire(std::uint32_t n) {
        if (available() < n) return false;
        object_section inside(*this);
        if (available() < n) return false;
        own().permits.fetch_sub(n);
        return true;
    }
    void release(std::uint32_t n) {
        object_section inside(*this);
        const std::uint32_t now = own().permits.load();
        if (now > bound_)
            throw_error(errc::protocol, "release", "ipc semaphore: its memory makes no sense");
        if (n > bound_ - now)
            throw std::invalid_argument("release on ipc semaphore: above its bound");
        inside.ring();
        own().permits.fetch_add(n);
    }
    /// Those of one who got them and does not want them any more.
    void put_back(std::uint32_t n) noexcept {
        give_back([&] {
            std::uint32_t now = own().permits.load();
            while (now < bound_ &&
                   !own().permits.compare_exchange_weak(now, now + std::min(n, bound_ - now))) {
            }
        });
    }
    /// A permit of nothing if not so many are there.
    static semaphore::permit try_hold(const object_pointer& use, presence_hub& hub,
                                      std::uint32_t n) {
        auto& self = use->as<semaphore_state>();
        semaphore::permit got;
        if (self.available() < n) return got;
        const std::size_t at = hub.take_place([](std::size_t) { return true; });
        object_section inside(self);
        if (self.available() < n) return got;
        place& here = self.places[at];
        got.use_ = use;
        got.place_ = static_cast<std::uint32_t>(at);
        got.turn_ = here.turn.load();
        got.forks_ = fork_count();
        here.state.fetch_add(n);
        got.count_ = n;
        return got;
    }
    void let_go(std::size_t at, std::uint32_t turn, std::uint32_t n) noexcept {
        place& here = places[at];
        give_back([&] {
            std::uint64_t held = here.state.load();
            // It is another's turn if the loop has ended, which gave it back.
            while (here.turn.load() == turn && held >= n &&
                   !here.state.compare_exchange_weak(held, held - n)) {
            }
        });
    }
    void check(std::uint32_t n, const char* operation) const {
        if (n > bound_)
            throw std::invalid_argument(std::string(operation) +
                                        " on ipc semaphore: more than its bound");
    }

private:
    const std::uint32_t bound_;  // as it was attached, whatever is written there since
    [[nodiscard]] semaphore_head& own() const noexcept {
        return *reinterpret_cast<semaphore_head*>(head());
    }

public:
    const presence_table places{memory_, own().places};
};

namespace {

class semaphore_hub final : public presence_hub {
public:
    semaphore_hub(std::shared_ptr<shared_object> of, const presence_table& places, loop& home)
        : presence_hub(std::move(of), places, home) {}

private:
    [[nodiscard]] semaphore_state& state() const noexcept {
        return static_cast<semaphore_state&>(object());
    }
    bool ready() noexcept override { return state().available() != 0; }
    bool concerns(std::size_t i) noexcept override { return state().units(i) != 0; }
};

}  // namespace

wait_hub* semaphore_state::make_hub(std::shared_ptr<shared_object> self, loop& home) {
    return new semaphore_hub(std::move(self), places, home);
}

bool semaphore_wait::await_suspend(waiter who) {
    auto& state = use_->as<semaphore_state>();
    state.check(wanted_, operation_);
    auto& hub = static_cast<presence_hub&>(use_->hub_of(who.home(), operation_));
    if (held_) hub.take_place([](std::size_t) { return true; });  // which may fail
    return object_waiter::await_suspend(who);
}

bool semaphore_wait::serve() noexcept {
    try {
        if (held_) {
            auto& hub = static_cast<presence_hub&>(*hub_);
            permit_ = semaphore_state::try_hold(use_, hub, wanted_);
            return permit_.count() == wanted_;
        }
        return taken_ = use_->as<semaphore_state>().try_acquire(wanted_);
    } catch (const std::exception&) {
        error_ = std::current_exception();
        return true;
    }
}

void semaphore_wait::finish() {
    taken_ = false;
    if (error_) std::rethrow_exception(error_);
}

semaphore_wait::~semaphore_wait() {
    if (taken_) use_->as<semaphore_state>().put_back(wanted_);
}

void semaphore_wait::await_describe(std::string& text) const {
    text.append("ipc semaphore, ").append(std::to_string(wanted_)).append(" of ");
    text.append(std::to_string(use_->as<semaphore_state>().available())).append(" available");
}

}  // namespace runnel::ipc::detail

namespace runnel::ipc {

using detail::semaphore_state;

semaphore::semaphore(std::uint32_t count, std::uint32_t bound) {
    if (bound > unbounded) throw std::invalid_argument("ipc semaphore: its bound is too large");
    if (count > bound) throw std::invalid_argument("ipc semaphore: count is above its bound");
    use_ = std::make_shared<detail::object_use>(std::make_shared<semaphore_state>(count, bound));
}

const detail::object_pointer& semaphore::use(const char* operation) const {
    detail::require_use(use_, operation, "semaphore");
    return use_;
}
semaphore semaphore::share() const { return semaphore(use("share")); }

std::optional<semaphore::permit> semaphore::try_hold(std::uint32_t n) const {
    const detail::object_pointer& of = use("try_hold");
    of->as<semaphore_state>().check(n, "try_hold");
    loop* const here = loop::current();
    if (here == nullptr)
        throw std::logic_error("try_hold on ipc semaphore: no loop is running on this thread");
    auto& hub = static_cast<detail::presence_hub&>(of->hub_of(*here, "try_hold"));
    permit got = semaphore_state::try_hold(of, hub, n);
    if (got.count() != n) return std::nullopt;
    return got;
}
bool semaphore::try_acquire(std::uint32_t n) const {
    auto& state = use("try_acquire")->as<semaphore_state>();
    state.check(n, "try_acquire");
    return state.try_acquire(n);
}
void semaphore::release(std::uint32_t n) const { use("release")->as<semaphore_state>().release(n); }
std::uint32_t semaphore::available() const {
    return use("available")->as<semaphore_state>().available();
}

void semaphore::permit::give_back() noexcept {
    const detail::object_pointer of = std::move(use_);
    const std::uint32_t n = std::exchange(count_, 0);
    if (forks_ != detail::fork_count()) return;  // a copy of the parent's
    of->as<semaphore_state>().let_go(place_, turn_, n);
}

void codec<semaphore>::encode(encoder& out, const semaphore& s) {
    s.use("encode")->shared()->write(out);
}
semaphore codec<semaphore>::decode(decoder& in) {
    return semaphore(std::make_shared<detail::object_use>(std::make_shared<semaphore_state>(in)));
}

}  // namespace runnel::ipc

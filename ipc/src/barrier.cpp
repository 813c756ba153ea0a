// SPDX-License-Identifier: MIT
#include <runnel/ipc/barrier.hpp>

#include <atomic>
#include <limits>
#include <stdexcept>
#include <string>

#include <runnel/error.hpp>
#include <runnel/loop.hpp>

#include "presence.hpp"

// The gate is one word: the number of the round, and whether the barrier is broken. Each loop that
// takes part writes into its place how many of its tasks have arrived in which round; arrivals of
// another round than the gate's do not count, so that one store, of the gate, lets all go.
//
// Who gets which number: the last to arrive writes into each place, before that store, where its
// numbers begin. A task that finds that its round is over, and such a beginning of that round in
// its loop's place, has passed; if there is none, the round was ended by reset().

namespace runnel::ipc::detail {
namespace {

enum break_reason : std::uint32_t { whole = 0, aborted = 1, died = 2 };

struct gate_word {
    std::uint32_t round;
    std::uint32_t broken;
};
struct arrivals {  // the state of a place
    std::uint32_t round;
    std::uint32_t count;
};

template <class Two>
Two split(std::uint64_t word) noexcept {
    return {static_cast<std::uint32_t>(word >> 32), static_cast<std::uint32_t>(word)};
}
std::uint64_t join(std::uint32_t high, std::uint32_t low) noexcept {
    return std::uint64_t{high} << 32 | low;
}

struct barrier_head {
    bell rings;
    std::atomic<std::uint64_t> gate;
    std::atomic<std::uint32_t> parties;
    std::atomic<std::uint32_t> places;
    // Of each place: the round that was passed, and the first number of its tasks.
    std::atomic<std::uint64_t> passed[presence_table::most];
};
static_assert(object_memory::header_size + sizeof(barrier_head) <= object_memory::page_room);

}  // namespace

class barrier_state final : public shared_object {
public:
    static constexpr object_type type{
        .name = "barrier", .kind = kind_barrier, .body = presence_table::size};

    explicit barrier_state(std::uint32_t parties) : shared_object(type), parties_(parties) {
        own().parties = parties;
        own().gate = join(1, whole);
        memory_.publish();
    }
    explicit barrier_state(decoder& in) : shared_object(type, in), parties_(own().parties.load()) {
        if (parties_ == 0) in.fail("a barrier for nobody");
    }
    wait_hub* make_hub(std::shared_ptr<shared_object> self, loop& home) override;

    [[nodiscard]] gate_word gate() const noexcept { return split<gate_word>(own().gate.load()); }
    [[nodiscard]] std::uint32_t parties() const noexcept { return parties_; }
    [[nodiscard]] bool any_dead() const noexcept {
        const std::size_t used = places.used();
        for (std::size_t i = 0; i < used; ++i)
            if (places.dead(i)) return true;
        return false;
    }
    /// Why nobody can pass, if so.
    [[nodiscard]] std::uint32_t broken() const noexcept {
        const std::uint32_t told = gate().broken;
        if (told != whole) return told;
        return any_dead() ? std::uint32_t{died} : std::uint32_t{whole};
    }
    [[nodiscard]] std::uint32_t arrived(std::size_t i, std::uint32_t round) const noexcept {
        const auto there = split<arrivals>(places[i].state.load());
        return there.round == round ? there.count : 0;
    }
    [[nodiscard]] std::uint32_t arrived() const noexcept {
        const std::uint32_t round = gate().round;
        std::uint32_t all = 0;
        const std::size_t used = places.used();
        for (std::size_t i = 0; i < used; ++i)
            if (places.held(i)) all += arrived(i, round);
        return all;
    }

    /// Takes part with one task more; the round it is in. Lets all go if it is the last.
    std::uint32_t arrive(std::size_t at) {
        object_section inside(*this);
        const gate_word now = gate();
        if (broken() != whole) return now.round;
        const std::uint32_t before = arrived();
        const std::uint32_t mine = arrived(at, now.round);
        if (before + 1 < parties()) {
            places[at].state.store(join(now.round, mine + 1));
            return now.round;
        }
        std::uint32_t first = 0;
        const std::size_t used = places.used();
        for (std::size_t i = 0; i < used; ++i) {
            const std::uint32_t here =
                (places.held(i) ? arrived(i, now.round) : 0) + (i == at ? 1 : 0);
            if (here != 0) own().passed[i].store(join(now.round, first));
            first += here;
        }
        inside.ring();
        own().gate.store(join(now.round + 1, whole));
        return now.round;
    }
    /// Did not come; false if the round is over, or the barrier broken, which has to be told.
    bool leave(std::size_t at, std::uint32_t round) noexcept {
        try {
            object_section inside(*this);
            return uncount(at, round);
        } catch (const std::exception&) {
            // Somebody is stopped inside. If he was the last to arrive, he may have counted this one.
            return uncount(at, round);
        }
    }
    void abort() {
        object_section inside(*this);
        const gate_word now = gate();
        if (now.broken != whole) return;
        inside.ring();
        own().gate.store(join(now.round, aborted));
    }
    void reset() {
        const std::size_t used = places.used();
        for (std::size_t i = 0; i < used; ++i)
            if (places.dead(i)) places.bury(*this, i);
        object_section inside(*this);
        const gate_word now = gate();
        for (auto& one : own().passed)  // of somebody who died before the store of the gate
            if (split<arrivals>(one.load()).round == now.round) one.store(0);
        inside.ring();
        own().gate.store(join(now.round + 1, whole));
    }
    /// The first number of the tasks that passed in `round` at that place, if they did.
    bool passed(std::size_t at, std::uint32_t round, std::uint32_t& first) const noexcept {
        const auto there = split<arrivals>(own().passed[at].load());
        if (there.round != round) return false;
        first = there.count;
        return true;
    }

private:
    bool uncount(std::size_t at, std::uint32_t round) noexcept {
        const std::uint32_t mine = arrived(at, round);
        if (gate().round != round || broken() != whole || mine == 0) return false;
        places[at].state.store(join(round, mine - 1));
        return true;
    }
    const std::uint32_t parties_;  // as it was attached, whatever is written there since
    [[nodiscard]] barrier_head& own() const noexcept {
        return *reinterpret_cast<barrier_head*>(head());
    }

public:
    const presence_table places{memory_, own().places};
};

namespace {

/// Numbers its loop's tasks as they pass.
class barrier_hub final : public presence_hub {
public:
    barrier_hub(std::shared_ptr<shared_object> of, const presence_table& places, loop& home)
        : presence_hub(std::move(of), places, home) {}

    std::size_t enlist() {
        // A dead one's place says that the barrier is broken, until reset().
        return take_place([this](std::size_t i) { return !state().places.dead(i); });
    }
    std::uint32_t next_number(std::uint32_t round, std::uint32_t first) noexcept {
        if (round != round_) {
            round_ = round;
            given_ = 0;
        }
        return first + given_++;
    }

private:
    [[nodiscard]] barrier_state& state() const noexcept {
        return static_cast<barrier_state&>(object());
    }
    bool ready() noexcept override {
        const gate_word now = state().gate();
        if (now.round != seen_) {
            seen_ = now.round;
            return true;
        }
        return now.broken != whole || state().any_dead();
    }
    bool concerns(std::size_t i) noexcept override { return state().places.held(i); }
    std::uint32_t seen_ = 0;
    std::uint32_t round_ = 0;
    std::uint32_t given_ = 0;
};

}  // namespace

wait_hub* barrier_state::make_hub(std::shared_ptr<shared_object> self, loop& home) {
    return new barrier_hub(std::move(self), places, home);
}

bool barrier_wait::await_suspend(waiter who) {
    auto& hub = static_cast<barrier_hub&>(use_->hub_of(who.home(), operation_));
    const std::size_t at = hub.enlist();
    hub.look_now();  // those of an earlier round are numbered first
    hub_ = &hub;
    round_ = use_->as<barrier_state>().arrive(at);
    if (!hub.crowded() && serve()) return false;
    hub.wait(*this, who);
    return true;
}

bool barrier_wait::serve() noexcept {
    auto& state = use_->as<barrier_state>();
    auto& hub = static_cast<barrier_hub&>(*hub_);
    const gate_word now = state.gate();
    if (now.round != round_) {
        std::uint32_t first = 0;
        if (state.passed(hub.own(), round_, first))
            number_ = hub.next_number(round_, first);
        else
            error_ = std::make_error_code(std::errc::operation_canceled);
        return true;
    }
    const std::uint32_t why = state.broken();
    if (why == whole) return false;
    error_ =
        std::make_error_code(why == died ? std::errc::owner_dead : std::errc::operation_canceled);
    return true;
}

std::uint32_t barrier_wait::await_resume() const {
    if (error_) throw_error(error_, "wait", "ipc barrier: it is broken");
    return number_;
}

cancellation barrier_wait::await_cancel() noexcept {
    auto& hub = static_cast<barrier_hub&>(*hub_);
    if (!linked()) return cancellation::too_late;
    if (use_->as<barrier_state>().leave(hub.own(), round_)) {
        hub.leave(*this);
        return cancellation::now;
    }
    hub.look_now();  // it is over, and this one is told
    return hub.leave(*this) ? cancellation::now : cancellation::too_late;
}

void barrier_wait::await_describe(std::string& text) const {
    const auto& state = use_->as<barrier_state>();
    text.append("ipc barrier, ").append(std::to_string(state.arrived())).append(" of ");
    text.append(std::to_string(state.parties())).append(" arrived");
}

}  // namespace runnel::ipc::detail

namespace runnel::ipc {

using detail::barrier_state;

barrier::barrier(std::uint32_t parties) {
    if (parties == 0 || parties > std::numeric_limits<std::int32_t>::max())
        throw std::invalid_argument("ipc barrier: for no parties, or too many");
    use_ = std::make_shared<detail::object_use>(std::make_shared<barrier_state>(parties));
}
const detail::object_pointer& barrier::use(const char* operation) const {
    detail::require_use(use_, operation, "barrier");
    return use_;
}
barrier barrier::share() const { return barrier(use("share")); }

void barrier::enlist() const {
    const detail::object_pointer& of = use("enlist");
    loop* const here = loop::current();
    if (here == nullptr)
        throw std::logic_error("enlist on ipc barrier: no loop is running on this thread");
    static_cast<detail::barrier_hub&>(of->hub_of(*here, "enlist")).enlist();
}
void barrier::abort() const { use("abort")->as<barrier_state>().abort(); }
void barrier::reset() const { use("reset")->as<barrier_state>().reset(); }
bool barrier::broken() const {
    return use("broken")->as<barrier_state>().broken() != detail::whole;
}
std::uint32_t barrier::waiting() const { return use("waiting")->as<barrier_state>().arrived(); }
std::uint32_t barrier::parties() const { return use("parties")->as<barrier_state>().parties(); }

void codec<barrier>::encode(encoder& out, const barrier& b) {
    b.use("encode")->shared()->write(out);
}
barrier codec<barrier>::decode(decoder& in) {
    return barrier(std::make_shared<detail::object_use>(std::make_shared<barrier_state>(in)));
}

}  // namespace runnel::ipc

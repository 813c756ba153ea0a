// SPDX-License-Identifier: MIT
#include <runnel/ipc/event.hpp>

#include <atomic>
#include <chrono>
#include <csignal>

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

// The flag is the lowest bit of the bell's counter, so that it is the word on which the kernel has
// sleepers wait. A set must be seen and wake them in one step, since who sets it may be killed
// between any two:
//   nobody sleeps:     one compare-and-swap of both words of the bell, the counter and `sleepers`
//   somebody may:      one FUTEX_WAKE_OP, which stores and wakes under the lock of the kernel
//   no futexes (before Linux 6.7): in a section of the lock, with signals blocked; first all are
//                      woken, who do not sleep again before the section is over
// Each set and each clear makes the counter larger: a waiter who began before knows that it has
// been set in between.

namespace runnel::ipc::detail {

class event_state final : public shared_object {
public:
    static constexpr object_type type{.name = "event", .kind = kind_event};
    event_state() : shared_object(type) { memory_.publish(); }
    explicit event_state(decoder& in) : shared_object(type, in) {}
    wait_hub* make_hub(std::shared_ptr<shared_object> self, loop& home) override;

    [[nodiscard]] std::uint32_t count() const noexcept { return rings().rung.load(); }
    void set() noexcept {
        if (registered().used()) return set_registered();
        for (;;) {
            std::uint64_t seen = __atomic_load_n(both(), __ATOMIC_SEQ_CST);
            const halves now = split(seen);
            if ((now.rung & 1) != 0) {
                // What was written before the set is seen by whoever clears it after this look.
                std::atomic_thread_fence(std::memory_order_seq_cst);
                if (count() == now.rung) return;
                continue;
            }
            if (!bell::sleeps(now.sleepers)) {
                if (swap(seen, {now.rung | 1, now.sleepers})) return;
                continue;
            }
            const std::uint32_t add_one_bit = FUTEX_OP(FUTEX_OP_OR, 1, FUTEX_OP_CMP_EQ, 0);
            // That is all: whoever looks again may find what has been cleared since, and set it twice.
            if (::syscall(SYS_futex, &rings().rung, FUTEX_WAKE_OP, 0x7fffffff, nullptr,
                          &rings().rung, add_one_bit) >= 0)
                return;
        }
    }
    /// What was written before a set that is cleared here is seen by what reads afterwards.
    void clear() noexcept {
        for (;;) {
            std::uint64_t seen = __atomic_load_n(both(), __ATOMIC_SEQ_CST);
            const halves now = split(seen);
            if ((now.rung & 1) == 0) break;
            // Nobody sleeps while it is set, so whoever wants to be woken says so again.
            const std::uint32_t awake = now.sleepers & ~1u;
            if (swap(seen, {now.rung + 1, registered().used() ? now.sleepers : awake})) break;
        }
        std::atomic_thread_fence(std::memory_order_seq_cst);
    }

private:
    struct halves {
        std::uint32_t rung;
        std::uint32_t sleepers;
    };
    static halves split(std::uint64_t word) noexcept {
        halves two;
        static_assert(sizeof two == sizeof word && sizeof(bell) == sizeof word);
        __builtin_memcpy(&two, &word, sizeof two);
        return two;
    }
    [[nodiscard]] std::uint64_t* both() const noexcept {
        return reinterpret_cast<std::uint64_t*>(head());
    }
    bool swap(std::uint64_t seen, halves next) noexcept {
        std::uint64_t word;
        __builtin_memcpy(&word, &next, sizeof word);
        return __atomic_compare_exchange_n(both(), &seen, word, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
    }
    void set_registered() noexcept {
        ::sigset_t all;
        ::sigset_t before;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before);
        const robust_lock::got how = lock().lock_within(std::chrono::seconds(1));
        bell& here = rings();
        if (how == robust_lock::got::no) {
            // Somebody was stopped inside. Nobody goes to sleep before he goes on, and those who
            // sleep already are woken first, since this process may die after the store.
            registered().ring_all();
            here.rung.fetch_or(1);
        }
        const std::uint32_t said = here.sleepers.fetch_and(~1u);
        if (bell::sleeps(said) || how != robust_lock::got::yes) registered().ring_all();
        if (how != robust_lock::got::no) {
            here.rung.fetch_or(1);
            lock().unlock();
        }
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
};

namespace {

class event_hub final : public wait_hub {
public:
    event_hub(std::shared_ptr<shared_object> of, loop& home)
        : wait_hub(of->hubs, home, of->rings(), of->registered(), -1), object_(std::move(of)) {}

private:
    bool ready() noexcept override {
        const std::uint32_t now = object_->rings().rung.load(std::memory_order_relaxed);
        return now != std::exchange(last_, now) || (now & 1) != 0;
    }
    bool settled() noexcept override { return object_->settled(); }
    std::shared_ptr<shared_object> object_;
    std::uint32_t last_ = 0;
};

}  // namespace

wait_hub* event_state::make_hub(std::shared_ptr<shared_object> self, loop& home) {
    return new event_hub(std::move(self), home);
}

bool event_wait::await_suspend(waiter who) {
    since_ = use_->as<event_state>().count();
    return object_waiter::await_suspend(who);
}

bool event_wait::serve() noexcept {
    const std::uint32_t now = use_->as<event_state>().count();
    return (now & 1) != 0 || now != since_;
}

}  // namespace runnel::ipc::detail

namespace runnel::ipc {

event::event()
    : use_(std::make_shared<detail::object_use>(std::make_shared<detail::event_state>())) {}

const detail::object_pointer& event::use(const char* operation) const {
    detail::require_use(use_, operation, "event");
    return use_;
}
event event::share() const { return event(use("share")); }
void event::set() const { use("set")->as<detail::event_state>().set(); }
void event::clear() const { use("clear")->as<detail::event_state>().clear(); }
bool event::is_set() const { return (use("is_set")->as<detail::event_state>().count() & 1) != 0; }

void codec<event>::encode(encoder& out, const event& e) { e.use("encode")->shared()->write(out); }
event codec<event>::decode(decoder& in) {
    return event(std::make_shared<detail::object_use>(std::make_shared<detail::event_state>(in)));
}

}  // namespace runnel::ipc

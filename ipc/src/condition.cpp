// SPDX-License-Identifier: MIT
#include <runnel/ipc/condition.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>

#include <runnel/finally.hpp>

// Notifications are numbered, and each says how many waiters it is for. A waiter remembers which
// was the last before it came, and later ones are for it. So it writes nothing as long as it waits,
// and nobody has to know how many there are.
//
// The last notifications stand in a table; each that is used up makes the number in its entry
// smaller, by a waiter that has the mutex again. When the table is full, the two oldest become one,
// for the waiters of both: that may wake one too many, if 31 more came while it slept.

namespace runnel::ipc::detail {
namespace {

struct notification {
    std::uint32_t number;
    std::uint32_t left;
};
notification split(std::uint64_t word) noexcept {
    return {static_cast<std::uint32_t>(word >> 32), static_cast<std::uint32_t>(word)};
}
std::uint64_t join(notification one) noexcept { return std::uint64_t{one.number} << 32 | one.left; }

constexpr std::uint32_t kept = 32;

struct condition_head {
    bell rings;
    std::atomic<std::uint32_t> last;         // the number of the last notification
    std::atomic<std::uint64_t> table[kept];  // number n at n % kept
};
static_assert(object_memory::header_size + sizeof(condition_head) <= object_memory::page_room);

}  // namespace

class condition_state final : public shared_object {
public:
    static constexpr object_type type{.name = "condition", .kind = kind_condition};
    condition_state() : shared_object(type) { memory_.publish(); }
    explicit condition_state(decoder& in) : shared_object(type, in) {}
    wait_hub* make_hub(std::shared_ptr<shared_object> self, loop& home) override;

    [[nodiscard]] std::uint32_t last() const noexcept { return own().last.load(); }
    void notify(std::uint32_t n) {
        if (n == 0) return;
        object_section inside(*this);
        const std::uint32_t number = last() + 1;
        // What is lost here is given to the next oldest, which may be used by all who wait for it.
        const notification oldest = split(entry(number).load());
        if (oldest.left != 0 && oldest.number + kept == number) {
            const notification next = split(entry(number + 1).load());
            if (next.number == oldest.number + 1)
                entry(number + 1).store(join({next.number, sum(next.left, oldest.left)}));
        }
        entry(number).store(join({number, n}));
        inside.ring();
        own().last.store(number);
    }
    /// The entry of one that a waiter who came after `before` may use; 0 if there is none.
    [[nodiscard]] std::uint32_t usable(std::uint32_t before) const noexcept {
        const std::uint32_t newest = last();
        const std::uint32_t count = std::min(newest - before, kept);
        for (std::uint32_t number = newest - count + 1; number != newest + 1; ++number) {
            const notification here = split(entry(number).load());
            if (here.number == number && here.left != 0) return number;
        }
        return 0;
    }
    bool use_up(std::uint32_t before) {
        object_section inside(*this);
        const std::uint32_t number = usable(before);
        if (number == 0) return false;
        const notification here = split(entry(number).load());
        if (here.left != all) entry(number).store(join({number, here.left - 1}));
        return true;
    }

private:
    static constexpr std::uint32_t all = 0xffffffff;
    static std::uint32_t sum(std::uint32_t a, std::uint32_t b) noexcept {
        return a > all - b ? all : a + b;
    }
    [[nodiscard]] condition_head& own() const noexcept {
        return *reinterpret_cast<condition_head*>(head());
    }
    [[nodiscard]] std::atomic<std::uint64_t>& entry(std::uint32_t number) const noexcept {
        return own().table[number % kept];
    }
};

namespace {

class condition_hub final : public wait_hub {
public:
    condition_hub(std::shared_ptr<shared_object> of, loop& home)
        : wait_hub(of->hubs, home, of->rings(), of->registered(), -1), object_(std::move(of)) {}

private:
    bool ready() noexcept override {
        const std::uint32_t now = static_cast<condition_state&>(*object_).last();
        return now != std::exchange(seen_, now);
    }
    bool settled() noexcept override { return object_->settled(); }
    bool in_order() const noexcept override { return false; }
    std::shared_ptr<shared_object> object_;
    std::uint32_t seen_ = 0;
};

/// Until there is a notification for one who came after `before`; it is not used up.
class notification_wait final : public object_waiter {
public:
    notification_wait(object_pointer use, std::uint32_t before) noexcept
        : object_waiter(std::move(use), "wait"), before_(before) {}
    void await_resume() const noexcept {}

private:
    bool serve() noexcept override { return use_->as<condition_state>().usable(before_) != 0; }
    const std::uint32_t before_;
};
class notification_operation {
public:
    notification_operation(object_pointer use, std::uint32_t before) noexcept
        : use_(std::move(use)), before_(before) {}
    notification_wait operator co_await() const { return notification_wait(use_, before_); }

private:
    object_pointer use_;
    std::uint32_t before_;
};

task<> wait_and_lock(object_pointer use, std::shared_ptr<mutex_state> lock, std::uint64_t for_task,
                     std::uint32_t before, held_mutex& held) {
    auto& state = use->as<condition_state>();
    const notification_operation told(use, before);
    bool used = false;
    while (!used) {
        co_await told;
        held = mutex_state::take(lock, for_task);
        if (!held) {
            auto again = mutex_state::wait(lock, for_task);
            held = co_await std::move(again);
        }
        used = state.use_up(before) || held.owner_died();
        if (!used) held.unlock();
    }
}

task<> lock_again(std::shared_ptr<mutex_state> lock, std::uint64_t for_task, held_mutex& held) {
    if (held) co_return;
    auto again = mutex_state::wait(lock, for_task);
    held = co_await std::move(again);
}

}  // namespace

wait_hub* condition_state::make_hub(std::shared_ptr<shared_object> self, loop& home) {
    return new condition_hub(std::move(self), home);
}

}  // namespace runnel::ipc::detail

namespace runnel::ipc {

using detail::condition_state;

condition::condition()
    : use_(std::make_shared<detail::object_use>(std::make_shared<condition_state>())) {}
const detail::object_pointer& condition::use(const char* operation) const {
    detail::require_use(use_, operation, "condition");
    return use_;
}
condition condition::share() const { return condition(use("share")); }
void condition::notify(std::uint32_t n) const { use("notify")->as<condition_state>().notify(n); }

task<> condition::wait(mutex::guard& held) const { return wait_on(use("wait"), held.held_); }

task<> condition::wait_on(detail::object_pointer use, detail::held_mutex& held) {
    if (!held) throw std::invalid_argument("wait on ipc condition: the guard holds no mutex");
    const std::shared_ptr<detail::mutex_state> lock = held.state();
    const std::uint64_t for_task = lock->owner();
    const std::uint32_t before = use->as<condition_state>().last();
    held.unlock();
    auto waiting = detail::wait_and_lock(std::move(use), lock, for_task, before, held);
    auto again = detail::lock_again(lock, for_task, held);
    co_await finally(std::move(waiting), std::move(again), std::chrono::nanoseconds::max());
}

void codec<condition>::encode(encoder& out, const condition& c) {
    c.use("encode")->shared()->write(out);
}
condition codec<condition>::decode(decoder& in) {
    return condition(std::make_shared<detail::object_use>(std::make_shared<condition_state>(in)));
}

}  // namespace runnel::ipc

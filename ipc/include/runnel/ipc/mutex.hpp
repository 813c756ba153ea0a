// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <runnel/as_atomic.hpp>
#include <runnel/awaiter.hpp>
#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/mutex_state.hpp>

namespace runnel::ipc {

class recursive_mutex;

/// Mutual exclusion between tasks, of one process or of several.
///
///     ipc::mutex m;
///     auto child = ipc::spawn(work, m.share());
///     auto held = co_await m.lock();        // across awaits, until `held` is dropped
///     if (held.owner_died()) repair();
///
/// A handle of an object without a name, in shared memory; it travels as an argument and through
/// pipes, and the object is gone with its last handle. When the process of the owner dies, in
/// whatever way, the next owner is told so; nobody waits for the dead. No order among those who
/// wait. A mutex is held on the thread that locked it, and its guard has to be dropped there.
///
/// For processes that trust each other, and see each other's process ids: it is a robust mutex of
/// the C library, which follows pointers in the shared memory. Who waits learns of a death by
/// watching the owner, so it does not learn of
/// - an owner that execs without dropping its guard: who comes later is told at once that the owner
///   died, who waits already is told when that process ends or the next owner releases;
/// - a thread that ends while its process lives, before Linux 6.9; the same holds as for exec;
/// - an owner in another pid namespace, other than by its releases.
class mutex {
public:
    class guard;
    class lock_operation;

    /// Makes a new mutex. Throws std::system_error (EMFILE, ...).
    mutex();
    mutex(mutex&&) noexcept = default;
    mutex& operator=(mutex&&) noexcept = default;

    /// Another handle of the same mutex. Throws std::invalid_argument, as lock() and try_lock() do,
    /// if this one has been moved from.
    [[nodiscard]] mutex share() const;

    /// Waits for the mutex; gives a guard that holds it. Throws std::system_error:
    /// resource_deadlock_would_occur if this logical task holds it already, EMFILE if the owner
    /// cannot be watched. Cancellation: atomic.
    [[nodiscard]] lock_operation lock() const;
    /// The guard, or nothing if the mutex is held. Never suspends. As it knows of no task, a task
    /// that calls lock() while it holds such a guard waits for itself.
    [[nodiscard]] std::optional<guard> try_lock() const;

private:
    friend struct codec<mutex>;
    friend struct codec<recursive_mutex>;
    friend class recursive_mutex;
    class lock_await;
    explicit mutex(std::shared_ptr<detail::mutex_state> of) noexcept : state_(std::move(of)) {}
    const std::shared_ptr<detail::mutex_state>& state(const char* operation) const;
    std::shared_ptr<detail::mutex_state> state_;
};

/// The mutex, held: unlocked when it is dropped. Moves.
class [[nodiscard]] mutex::guard {
public:
    /// Holds nothing.
    guard() noexcept = default;
    guard(guard&&) noexcept = default;
    guard& operator=(guard&&) noexcept = default;  // unlocks what it held before

    /// The owner before died while it held the mutex: what it protects may be half done.
    [[nodiscard]] bool owner_died() const noexcept { return held_.owner_died(); }
    /// Unlocks early; nothing happens when it holds nothing.
    void unlock() noexcept { held_.unlock(); }
    /// Does it hold a mutex?
    [[nodiscard]] explicit operator bool() const noexcept { return bool(held_); }

private:
    friend class mutex;
    friend class condition;
    explicit guard(detail::held_mutex held) noexcept : held_(std::move(held)) {}
    detail::held_mutex held_;
};

// implementation

class mutex::lock_await final {
public:
    static constexpr bool is_atomic = true;
    explicit lock_await(std::shared_ptr<detail::mutex_state> of) noexcept : state_(std::move(of)) {}
    bool await_ready() const noexcept { return false; }  // it has to know who asks
    bool await_suspend(waiter who) {
        const std::uint64_t asking = task_id(who);
        held_ = detail::mutex_state::take(state_, asking);
        if (held_) return false;
        waiting_.emplace(detail::mutex_state::wait(std::move(state_), asking));
        return waiting_->await_suspend(who);
    }
    guard await_resume() { return guard(waiting_ ? waiting_->await_resume() : std::move(held_)); }
    cancellation await_cancel() noexcept {
        return waiting_ ? waiting_->await_cancel() : cancellation::too_late;
    }
    void await_describe(std::string& text) const { text += "ipc mutex"; }

private:
    std::shared_ptr<detail::mutex_state> state_;
    std::optional<as_atomic<detail::held_mutex>::awaiter> waiting_;
    detail::held_mutex held_;
};

class [[nodiscard]] mutex::lock_operation {
public:
    explicit lock_operation(std::shared_ptr<detail::mutex_state> of) noexcept
        : state_(std::move(of)) {}
    lock_await operator co_await() && { return lock_await(std::move(state_)); }
    lock_await operator co_await() const& { return lock_await(state_); }

private:
    std::shared_ptr<detail::mutex_state> state_;
};

inline mutex::lock_operation mutex::lock() const { return lock_operation(state("lock")); }

template <>
struct codec<mutex> {
    static constexpr std::uint64_t signature = 0x6d75746578;
    static constexpr std::size_t min_size = 3;
    static constexpr bool carries_handles = true;
    static void encode(encoder& out, const mutex& m);
    static mutex decode(decoder& in);
};

}  // namespace runnel::ipc

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/shared_object.hpp>
#include <runnel/ipc/mutex.hpp>
#include <runnel/task.hpp>

namespace runnel::ipc {

/// Waiting, with an ipc::mutex unlocked meanwhile, until another task, of any process, says that
/// something has changed.
///
///     auto held = co_await m.lock();
///     co_await changed.wait(held, [&] { return head != tail; });
///
/// A notification waits for nobody, and is used up by a waiter that has the mutex again, not
/// before: what a killed waiter was told, another one of those who wait is told. What is notified
/// when nobody waits is forgotten.
///
/// It goes with ipc::mutex alone, whose guard it takes: neither with a recursive_mutex nor with the
/// guard of an array. So it is for processes that trust each other.
///
/// A handle of an object without a name, in shared memory; it travels as an argument and through
/// pipes. Any number of threads may use it at a time. Notifying, and a wait that is over, can hold up
/// the loop for 5 s, and throw std::errc::timed_out then, if a process is stopped in the middle of a
/// change; they throw errc::protocol if the memory of the condition's lock was overwritten.
class condition {
public:
    /// Makes a new one. Throws std::system_error (EMFILE, ...).
    condition();
    condition(condition&&) noexcept = default;
    condition& operator=(condition&&) noexcept = default;
    /// Another handle of the same condition. Throws std::invalid_argument, as all others do, if
    /// this one has been moved from.
    [[nodiscard]] condition share() const;

    /// Unlocks `held`, waits for a notification, and locks it again. Others may run between the
    /// two. Also returns, without one, when `held.owner_died()` tells that an owner of the mutex
    /// died meanwhile. Throws std::invalid_argument if `held` holds no mutex. `held` must stay
    /// where it is.
    ///
    /// Cancellation: composed, since others may have held the mutex; `held` holds it again when the
    /// task is unwound, or the timeout is over, and that can take as long as others hold it.
    [[nodiscard]] task<> wait(mutex::guard& held) const;
    /// Waits until `predicate()`, which is called with the mutex held, at once and after each
    /// notification, gives true. What it throws is thrown, with the mutex held.
    template <class Predicate>
        requires std::is_invocable_r_v<bool, Predicate&>
    [[nodiscard]] task<> wait(mutex::guard& held, Predicate predicate) const {
        return wait_until(share(), held, std::move(predicate));
    }

    /// Wakes at most `n` of those who wait now. The caller need not hold the mutex. Any thread.
    void notify(std::uint32_t n) const;
    /// Wakes one of those who wait now.
    void notify_one() const { notify(1); }
    /// Wakes all who wait now.
    void notify_all() const { notify(std::numeric_limits<std::uint32_t>::max()); }

private:
    friend struct codec<condition>;
    explicit condition(detail::object_pointer use) noexcept : use_(std::move(use)) {}
    [[nodiscard]] const detail::object_pointer& use(const char* operation) const;
    static task<> wait_on(detail::object_pointer use, detail::held_mutex& held);
    template <class Predicate>
    static task<> wait_until(condition self, mutex::guard& held, Predicate predicate) {
        bool enough = predicate();
        while (!enough) {
            co_await self.wait(held);
            enough = predicate();
        }
    }
    detail::object_pointer use_;
};

template <>
struct codec<condition> {
    static constexpr std::uint64_t signature = 0x697063636f6e64;
    static constexpr std::size_t min_size = 3;
    static constexpr bool carries_handles = true;
    static void encode(encoder& out, const condition& c);
    static condition decode(decoder& in);
};

}  // namespace runnel::ipc

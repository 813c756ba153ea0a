// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/shared_object.hpp>

namespace runnel::ipc {

namespace detail {
class event_state;
class event_wait;
}  // namespace detail

/// A flag between processes that tasks wait for. It stays set until clear().
///
///     ipc::event ready;
///     auto child = ipc::spawn(serve, ready.share());
///     co_await ready.wait();
///
/// A handle of an object without a name, in shared memory; it travels as an argument and through
/// pipes, and the object is gone with its last handle. set() waits for nobody: it is one store, and
/// one system call if somebody sleeps, which are one step for whoever is killed in between. (Where
/// the kernel's rings know no futexes it may wait for another set, for a second at most.)
class event {
public:
    class wait_operation;

    /// Makes a new event, not set. Throws std::system_error (EMFILE, ...).
    event();
    event(event&&) noexcept = default;
    event& operator=(event&&) noexcept = default;
    /// Another handle of the same event. Throws std::invalid_argument, as all others do, if this
    /// one has been moved from.
    [[nodiscard]] event share() const;

    /// Sets the flag; all who wait go on, even if it is cleared at once. From any thread, and from
    /// signal handlers.
    void set() const;
    /// Clears the flag; nobody is resumed. From any thread, and from signal handlers.
    void clear() const;
    /// Is the flag set, at this moment? Any thread.
    [[nodiscard]] bool is_set() const;
    /// Waits until the flag is set, or has been since. Cancellation: atomic.
    [[nodiscard]] wait_operation wait() const;

private:
    friend struct codec<event>;
    explicit event(detail::object_pointer use) noexcept : use_(std::move(use)) {}
    [[nodiscard]] const detail::object_pointer& use(const char* operation) const;
    detail::object_pointer use_;
};

// implementation

class detail::event_wait final : public object_waiter {
public:
    explicit event_wait(object_pointer use) noexcept : object_waiter(std::move(use), "wait") {}
    bool await_suspend(waiter who);
    void await_resume() const noexcept {}

private:
    bool serve() noexcept override;
    std::uint32_t since_ = 0;
};

class [[nodiscard]] event::wait_operation {
public:
    explicit wait_operation(detail::object_pointer use) noexcept : use_(std::move(use)) {}
    detail::event_wait operator co_await() const { return detail::event_wait(use_); }

private:
    detail::object_pointer use_;
};

inline event::wait_operation event::wait() const { return wait_operation(use("wait")); }

template <>
struct codec<event> {
    static constexpr std::uint64_t signature = 0x6970636576656e74;
    static constexpr std::size_t min_size = 3;
    static constexpr bool carries_handles = true;
    static void encode(encoder& out, const event& e);
    static event decode(decoder& in);
};

}  // namespace runnel::ipc

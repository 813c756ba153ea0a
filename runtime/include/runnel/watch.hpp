// SPDX-License-Identifier: MIT
#pragma once

#include <optional>

#include <runnel/detail/branch.hpp>
#include <runnel/detail/list.hpp>
#include <runnel/io.hpp>

/// Waiting for memory that other threads or processes change, on behalf of any number of tasks of a
/// loop: for shared objects of your own. A `watch` is looked at while the loop spins and is armed
/// before it sleeps; what it arms is a `standing` operation, which belongs to the object and to no
/// task. Neither allocates.
namespace runnel {

class loop;
namespace detail {
class loop_core;
}

/// Something in memory that a loop looks at.
///
///     class bell_watch : public watch {
///         bool look() noexcept override { return rung() && serve_those_who_wait(); }
///         bool arm() noexcept override { sleeping = 1; return !rung() && begin_futex_wait(); }
///         void retire() noexcept override { futex.cancel(); end(); }
///     };
///
/// All of it happens on the loop's thread.
class watch : private detail::list_node {
public:
    watch(const watch&) = delete;
    watch& operator=(const watch&) = delete;

    /// Has `on` look from now on; on the loop's thread. Nothing happens if it does already.
    void begin(loop& on);
    /// Ends that; idempotent.
    void end() noexcept { unlink(); }
    [[nodiscard]] bool begun() const noexcept { return linked(); }

protected:
    watch() noexcept = default;
    ~watch() { end(); }

    /// Called in every turn, and again and again while the loop spins, so it should cost a load or
    /// two when nothing is new. Resumes the waiters that can go on; true if there were any. May
    /// end() this watch and no other.
    virtual bool look() noexcept = 0;
    /// The same while the loop has nothing else to do, for who gains by looking later: what is
    /// skipped here is looked for by look() or arm(), soon.
    virtual bool glance() noexcept { return look(); }
    /// The loop is about to sleep: tells whoever changes the memory that it has to be woken, then
    /// looks again. False: there is something to do after all, so the loop does not sleep, and
    /// turns once more. May begin standing operations, and end() this watch and no other.
    virtual bool arm() noexcept = 0;
    /// The loop has woken, or did not sleep after all; for whoever can take back what arm() said.
    virtual void disarm() noexcept {}
    /// The loop ends, and no task is left: cancel the standing operations, and end().
    virtual void retire() noexcept = 0;

private:
    friend class detail::loop_core;
    template <class T>
    friend class detail::list;
};

namespace io {

/// An operation that belongs to an object rather than to a task. It must stay where it is until it
/// is done; destroying it earlier ends the process. A loop that ends waits for it, so something, at
/// the latest watch::retire, has to cancel it.
class standing {
public:
    standing(const standing&) = delete;
    standing& operator=(const standing&) = delete;

    /// Begins `what` on `on`, on whose thread this is. False if it is done at once, which
    /// completed() is not told: result() has what the system call returned.
    template <class To>
    bool begin(loop& on, const operation<To>& what) noexcept {
        return begin_request(on, what.request_);
    }
    /// Asks for its end; completed() is told what has come of it. Idempotent.
    void cancel() noexcept;
    /// Has it been begun, and completed() not been called yet?
    [[nodiscard]] bool active() const noexcept { return active_; }
    /// What the system call returned, or a negative errno.
    [[nodiscard]] int result() const noexcept { return request_->result(); }

protected:
    standing() noexcept = default;
    ~standing() = default;
    /// It is done, and result() says how; runs as a step of its own. May begin it again, and may
    /// destroy this object.
    virtual void completed() noexcept = 0;

private:
    class request final : public runnel::detail::io_op, public runnel::detail::await_point {
    public:
        request(standing& of, runnel::detail::branch& scope,
                const runnel::detail::io_request& what) noexcept
            : io_op(what, false), of_(of), scope_(scope) {}

    private:
        void run() noexcept override;
        cancellation cancel() noexcept override { return cancellation::too_late; }
        runnel::detail::branch& scope() const noexcept override { return scope_; }
        standing& of_;
        runnel::detail::branch& scope_;
    };
    bool begin_request(loop& on, const runnel::detail::io_request& what) noexcept;

    std::optional<request> request_;
    bool active_ = false;
};

}  // namespace io
}  // namespace runnel

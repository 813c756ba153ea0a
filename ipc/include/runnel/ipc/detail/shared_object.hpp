// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <runnel/awaiter.hpp>
#include <runnel/ipc/coder.hpp>
#include <runnel/ipc/detail/bell.hpp>
#include <runnel/ipc/detail/object_memory.hpp>
#include <runnel/ipc/detail/robust_lock.hpp>
#include <runnel/ipc/detail/wait_hub.hpp>

// What event, semaphore, barrier, condition and value have in common: memory whose head begins with
// one bell, one lock for its changes, and one hub a loop where tasks wait.

namespace runnel::ipc::detail {

/// Which object it is, in the header of its memory.
enum object_kind : std::uint32_t {
    kind_event = 0x10,
    kind_semaphore,
    kind_barrier,
    kind_condition,
    kind_value,
    kind_array,
    kind_list
};

/// The object as it is mapped here. It outlives its hubs, which share it.
class shared_object {
public:
    shared_object(const shared_object&) = delete;
    shared_object& operator=(const shared_object&) = delete;
    virtual ~shared_object() = default;

    [[nodiscard]] const char* name() const noexcept { return name_; }
    void write(encoder& out) const;
    /// Gives something back, which is not refused: in a section, or without one if that is not to
    /// be had. `change` is one store, good at any time.
    template <class Change>
    void give_back(Change&& change) noexcept;
    /// Nobody is in the middle of a change.
    [[nodiscard]] bool settled() const noexcept { return !lock_.held(); }
    [[nodiscard]] virtual wait_hub* make_hub(std::shared_ptr<shared_object> self, loop& home) = 0;
    [[nodiscard]] bell& rings() const noexcept { return *reinterpret_cast<bell*>(head()); }
    [[nodiscard]] const bell_register& registered() const noexcept { return registered_; }
    hub_set hubs;

protected:
    /// A new object, all zero, to be published.
    explicit shared_object(const object_type& what);
    /// One that came from elsewhere.
    shared_object(const object_type& what, decoder& in);
    [[nodiscard]] std::byte* head() const noexcept {
        return memory_.page(0) + object_memory::header_size;
    }
    [[nodiscard]] robust_lock& lock() noexcept { return lock_; }

    object_memory memory_;

private:
    friend class object_section;
    const char* name_;
    robust_lock lock_;
    bell_register registered_;
};

/// A change of an object: waits for those who are in the middle of one.
class object_section {
public:
    /// Throws std::system_error: errc::protocol if the lock has been overwritten, ETIMEDOUT if it is
    /// not given back by one who has had it for as long as `patience`.
    explicit object_section(shared_object& of);
    static inline std::chrono::steady_clock::duration patience = std::chrono::seconds(5);
    object_section(const object_section&) = delete;
    object_section& operator=(const object_section&) = delete;
    ~object_section() { object_.lock_.unlock(); }
    /// Wakes who sleeps; before the store that commits what they may wait for.
    void ring() noexcept { detail::ring(object_.rings(), object_.registered_); }

private:
    [[nodiscard]] static robust_lock::got insist(shared_object& of);
    shared_object& object_;
};

template <class Change>
void shared_object::give_back(Change&& change) noexcept {
    try {
        object_section inside(*this);
        inside.ring();
        change();
    } catch (const std::exception&) {
        // Nobody falls asleep while somebody is stopped inside.
        ring_sleepers(rings(), registered_);
        change();
        ring_sleepers(rings(), registered_);
    }
}

/// The object as handles and operations share it; the hubs of its loops are used in its name.
class object_use {
public:
    explicit object_use(std::shared_ptr<shared_object> of) noexcept : object_(std::move(of)) {}
    object_use(const object_use&) = delete;
    object_use& operator=(const object_use&) = delete;
    ~object_use();

    [[nodiscard]] const std::shared_ptr<shared_object>& shared() const noexcept { return object_; }
    template <class T>
    [[nodiscard]] T& as() const noexcept {
        return static_cast<T&>(*object_);
    }
    /// The hub of a loop, on its thread. Throws std::logic_error if it has virtual time.
    [[nodiscard]] wait_hub& hub_of(loop& home, const char* operation);

private:
    std::shared_ptr<shared_object> object_;
    std::mutex alone_;
    std::vector<wait_hub*> hubs_;
};
using object_pointer = std::shared_ptr<object_use>;

/// What a handle holds is null if it has been moved from: std::invalid_argument.
void require_use(const object_pointer& use, const char* operation, const char* object);

/// The part of an awaiter that waits in a hub. Derived: serve(), and what it gives.
class object_waiter : protected hub_waiter {
public:
    static constexpr bool is_atomic = true;
    object_waiter(const object_waiter&) = delete;
    object_waiter& operator=(const object_waiter&) = delete;

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    bool await_suspend(waiter who) {
        hub_ = &use_->hub_of(who.home(), operation_);
        if (!hub_->crowded() && serve()) return false;
        hub_->wait(*this, who);
        return true;
    }
    cancellation await_cancel() noexcept {
        return hub_->leave(*this) ? cancellation::now : cancellation::too_late;
    }
    void await_describe(std::string& text) const { text.append("ipc ").append(name()); }

protected:
    object_waiter(object_pointer use, const char* operation) noexcept
        : use_(std::move(use)), operation_(operation) {}
    ~object_waiter() = default;
    [[nodiscard]] const char* name() const noexcept { return use_->shared()->name(); }

    object_pointer use_;
    wait_hub* hub_ = nullptr;
    const char* operation_;
};

}  // namespace runnel::ipc::detail

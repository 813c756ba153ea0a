// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <runnel/awaiter.hpp>
#include <runnel/ipc/coder.hpp>
#include <runnel/ipc/detail/message.hpp>
#include <runnel/ipc/detail/wait_hub.hpp>

// Queues for those who know nothing of the types of items.

namespace runnel::ipc::detail {

/// What a queue is told when it is made; kept in its memory.
struct queue_settings {
    std::uint32_t max_items = 0;       // 0: bounded by bytes alone
    std::uint32_t units = 0;           // of 8 bytes, in the ring: a power of two
    std::uint32_t lease = 0;           // what is taken is kept until it is done
    std::uint32_t max_deliveries = 0;  // 0: no limit
};

enum class queue_outcome : unsigned char {
    done,
    not_now,     // full or empty
    hands_full,  // there is something, but too much is leased already
    busy,        // somebody is in the section, and has lost his CPU there
    shut,        // shut down; nothing more comes or goes
    no_memory,   // the kernel has none
    no_place,    // too many processes get from it
    corrupted,   // what lies in memory makes no sense
    gone,        // nobody is left on the other side
    closed       // the handle was closed meanwhile
};

/// It may come to something later, without anything being wrong.
constexpr bool is_to_wait(queue_outcome how) noexcept {
    return how == queue_outcome::not_now || how == queue_outcome::hands_full ||
           how == queue_outcome::busy;
}

/// How an item is known that was taken from a queue with leases.
struct queue_lease {
    std::uint32_t ticket = 0;  // 0: none
    std::uint32_t deliveries = 1;
};

/// Is handed what is taken from a queue.
class queue_taker {
public:
    /// The bytes stay as they are until it returns. False: it cannot, and nothing is taken.
    virtual bool take(std::span<const std::byte> item, queue_lease lease) noexcept = 0;

    bool leases = false;  // by an object; otherwise task_done() ends what is leased

protected:
    ~queue_taker() = default;
};

struct queue_side;
class queue_end;

/// What a putter or getter is: moves, and closes what it holds.
class queue_handle {
public:
    /// Ends what is pending on this handle with errc::closed; idempotent. Other handles on the same
    /// side stay open.
    void close() noexcept;
    [[nodiscard]] bool closed() const noexcept { return end_ == nullptr || is_closed(); }
    /// The number of items that nobody has taken; exact, at some moment of the call.
    [[nodiscard]] std::size_t size() const;
    [[nodiscard]] bool empty() const { return size() == 0; }
    /// No item would be taken now, not even a small one.
    [[nodiscard]] bool full() const;

protected:
    queue_handle() noexcept = default;
    explicit queue_handle(queue_end* end) noexcept : end_(end) {}
    queue_handle(queue_handle&& other) noexcept : end_(std::exchange(other.end_, nullptr)) {}
    queue_handle& operator=(queue_handle&& other) noexcept {
        if (this != &other) {
            drop();
            end_ = std::exchange(other.end_, nullptr);
        }
        return *this;
    }
    ~queue_handle() { drop(); }
    [[nodiscard]] queue_end* end() const noexcept { return end_; }
    [[nodiscard]] queue_end* share_end() const;
    void shut_down(bool immediate) const;
    [[nodiscard]] bool finish_one() const;
    void require_leases(const char* verb) const;
    [[nodiscard]] bool at_end() const;

private:
    friend void write_queue_end(encoder& out, const queue_handle& handle, std::uint64_t signature);
    void drop() noexcept;
    [[nodiscard]] bool is_closed() const noexcept;
    queue_end* end_ = nullptr;
};

/// A new queue: the end that puts and the end that gets.
std::pair<queue_end*, queue_end*> make_queue(const queue_settings& settings, std::uint64_t type);
void write_queue_end(encoder& out, const queue_handle& handle, std::uint64_t signature);
queue_end* read_queue_end(decoder& in, bool getting, std::uint64_t signature, std::uint64_t type);

/// Copies what is taken to a place of the right size, or to one that the thread reuses.
class copying_taker : public queue_taker {
public:
    explicit copying_taker(std::span<std::byte> place) noexcept : place_(place) {}
    bool take(std::span<const std::byte> item, queue_lease lease) noexcept final;
    /// The copy: to be decoded at once.
    [[nodiscard]] std::span<const std::byte> item() const noexcept { return item_; }
    [[nodiscard]] queue_lease known() const noexcept { return known_; }

protected:
    ~copying_taker() = default;

private:
    std::span<std::byte> place_;
    std::span<const std::byte> item_;
    queue_lease known_;
};

/// Settings that make sense. Throws std::invalid_argument.
queue_settings settings_for(std::size_t max_items, std::size_t max_bytes,
                            std::optional<std::size_t> item_size, bool lease,
                            std::uint32_t max_deliveries);
/// Without waiting: false if it is full, or empty.
bool put_now(queue_end* end, std::span<const std::byte> item);
bool get_now(queue_end* end, queue_taker& into);
/// An item that was taken could not be decoded, for it is none: nobody is to have it again.
[[nodiscard]] bool is_malformed(const std::exception_ptr& why) noexcept;
void discard(queue_end* end, queue_lease known) noexcept;

/// What awaits on a queue: tried at once, then in the hub.
class queue_wait : public hub_waiter {
public:
    static constexpr bool is_atomic = true;
    bool await_suspend(waiter who);
    cancellation await_cancel() noexcept;

protected:
    enum class what : unsigned char { put, get, join };
    queue_wait(queue_end* end, what kind) noexcept : end_(end), kind_(kind) {}
    ~queue_wait();
    queue_wait(const queue_wait&) = delete;
    queue_wait& operator=(const queue_wait&) = delete;

    /// Tries it if nobody waits before; true if it is over. Throws if the handle is closed.
    bool ready();
    bool serve() noexcept final;
    [[nodiscard]] bool undecided() const noexcept final { return outcome_ == queue_outcome::busy; }
    [[nodiscard]] bool abandoned() const noexcept final;
    virtual queue_outcome attempt() noexcept = 0;
    /// Throws unless it ended well, or as `fine` says.
    void finish(queue_outcome fine = queue_outcome::done);
    [[nodiscard]] queue_outcome outcome() const noexcept { return outcome_; }
    [[nodiscard]] queue_end* end() const noexcept { return end_; }
    [[nodiscard]] const char* verb() const noexcept;

private:
    queue_end* end_;
    wait_hub* hub_ = nullptr;  // if it waits
    what kind_;
    queue_outcome outcome_ = queue_outcome::closed;
};

class put_core : public queue_wait {
public:
    void await_resume() { finish(); }
    void await_describe(std::string& text) const { text += "put on ipc queue"; }

protected:
    explicit put_core(queue_end* end) noexcept : queue_wait(end, what::put) {}
    /// Where an item of no fixed size is written; kept until the put is over.
    encoder& storage();
    /// Throws if there is too much of it for the queue.
    void set_item(std::span<const std::byte> item);

private:
    queue_outcome attempt() noexcept override;
    std::span<const std::byte> item_;
    std::unique_ptr<outgoing, give_back> storage_;
};

class get_core : public queue_wait, protected copying_taker {
public:
    void await_describe(std::string& text) const;

protected:
    /// `place` is where an item of a fixed size is copied to.
    get_core(queue_end* end, std::span<std::byte> place) noexcept
        : queue_wait(end, what::get), copying_taker(place) {}
    /// Something was taken: item() is to be decoded now.
    virtual void accept() noexcept = 0;
    /// Whether there is something: false at the end. Throws.
    bool taken();

private:
    queue_outcome attempt() noexcept override;
};

class join_core final : public queue_wait {
public:
    explicit join_core(queue_end* end) noexcept : queue_wait(end, what::join) {}
    bool await_ready() { return ready(); }
    void await_resume() { finish(); }
    void await_describe(std::string& text) const { text += "join on ipc queue"; }

private:
    queue_outcome attempt() noexcept override;
};

/// An item that was leased: gives it back when it is dropped before it is done.
class lease_core {
public:
    lease_core() noexcept = default;
    lease_core(queue_end* end, queue_lease known) noexcept;
    lease_core(lease_core&& other) noexcept
        : side_(std::move(other.side_)), known_(std::exchange(other.known_, {})) {}
    lease_core& operator=(lease_core&& other) noexcept {
        if (this != &other) {
            end(false);
            side_ = std::move(other.side_);
            known_ = std::exchange(other.known_, {});
        }
        return *this;
    }
    ~lease_core() { end(false); }
    void end(bool done) noexcept;
    [[nodiscard]] std::uint32_t deliveries() const noexcept { return known_.deliveries; }

private:
    std::shared_ptr<queue_side> side_;
    queue_lease known_;
};

}  // namespace runnel::ipc::detail

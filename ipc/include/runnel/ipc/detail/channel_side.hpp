// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

#include <runnel/awaiter.hpp>
#include <runnel/detail/list.hpp>
#include <runnel/ipc/detail/pace.hpp>
#include <runnel/ipc/detail/ring_segment.hpp>
#include <runnel/unique_fd.hpp>
#include <runnel/watch.hpp>

namespace runnel::ipc::detail {

/// A task that waits for the other side of a channel: part of its awaiter.
class side_waiter : public runnel::detail::list_node {
public:
    /// Tries what is waited for, in memory only. True: it is done, with a value or an error.
    virtual bool serve() noexcept = 0;

protected:
    side_waiter() noexcept = default;
    ~side_waiter() { unlink(); }

private:
    friend class channel_side;
    waiter who_;
};

/// One of the two sides of a channel, as somebody who waits for the other, and whom the other waits
/// for. Each side has words that it alone writes (side_words), so nothing here needs a lock:
///
///     sleeper: asleep = {which sleep, how to wake it, the other's position that it has seen}
///              fence; looks at the other's position; sleeps until it is another
///     other:   position = ...; fence; looks at asleep, and wakes if that is a sleep which it has
///              not ended yet, over an earlier position than this one
///
/// So a wake comes either to one who sleeps already, or to one whom the kernel does not let sleep,
/// and is sent once. A sleeper is woken by a futex wake of the position's low half, or, where rings
/// know no futex (before Linux 6.7), by a byte in the socket between the two. That socket hangs up
/// when the last handle of the other side is gone, in whatever way its process ended, so whoever
/// dies between the two steps wakes as well.
///
/// Belongs to one thread. Lives as long as it has users: the handle, and what it has given out.
class channel_side : private watch {
public:
    channel_side(const channel_side&) = delete;
    channel_side& operator=(const channel_side&) = delete;

    void use() noexcept { ++users_; }
    void release() noexcept {
        if (--users_ == 0) [[unlikely]]
            unused();
    }

    /// Is somebody waiting? Who comes has to wait behind.
    [[nodiscard]] bool crowded() const noexcept { return !waiting_.empty(); }
    /// Throws std::system_error (errc::wrong_thread), std::logic_error on a loop of virtual time.
    void wait(side_waiter& one, waiter who);
    /// False if it has been served already.
    bool leave(side_waiter& one) noexcept {
        if (!one.linked()) return false;
        one.unlink();
        return true;
    }

    /// The handle is closed: who waits gets errc::closed, and so does who comes.
    void close() noexcept;
    [[nodiscard]] bool closed() const noexcept { return closed_; }
    /// The other side is gone; asks the kernel if that is not known yet.
    virtual bool ask_gone() noexcept;

protected:
    /// `own` and `peer` are where the words of each side are. A side that is not `told_positions`
    /// waits for several others, who count in `peer` instead of saying where they are.
    channel_side(const char* name, side_words& own, const side_words& peer, unique_fd control,
                 bool told_positions = true);
    virtual ~channel_side() = default;

    /// Tells the position to the other side, and wakes it if it sleeps.
    void commit(std::uint64_t position) noexcept {
        own().position.store(position, std::memory_order_seq_cst);
        wake_sleeper(peer().asleep.load(std::memory_order_seq_cst), position);
    }
    /// The same, but the other side is not woken before the loop turns.
    void commit_later(std::uint64_t position) noexcept {
        own().position.store(position, std::memory_order_release);
        untold_ = true;
    }
    void tell() noexcept {
        untold_ = false;
        std::atomic_thread_fence(std::memory_order_seq_cst);
        wake_sleeper(peer().asleep.load(std::memory_order_relaxed),
                     own().position.load(std::memory_order_relaxed));
    }
    [[nodiscard]] bool on_loop() const noexcept { return watch::begun(); }

    /// What the other side says now; the caller checks it and keeps it in seen_.
    [[nodiscard]] std::uint64_t peer_position() const noexcept {
        return peer().position.load(std::memory_order_acquire);
    }
    /// This handle is still the one of its side.
    [[nodiscard]] bool valid() const noexcept {
        return own().claims.load(std::memory_order_relaxed) == claim_;
    }
    /// The other side does not keep to the rules: it is told so by throw_stopped.
    void fail() noexcept { failed_ = stopped_ = true; }
    /// Throws what keeps this side from going on: it is closed, or has failed, and is closed now.
    [[noreturn]] void throw_stopped(const char* operation);
    /// Serves who can be served.
    bool serve_all() noexcept;

    [[nodiscard]] side_words& own() const noexcept { return *own_words_; }
    [[nodiscard]] const side_words& peer() const noexcept { return *peer_words_; }

    std::uint64_t seen_ = 0;     // the other side's position, checked
    std::uint32_t handled_ = 0;  // counts the records
    bool stopped_ = false;       // closed, failed, or nobody is left to go on for
    bool gone_ = false;          // the other side is, and has said its last word
    bool untold_ = false;
    const char* const name_;

    static constexpr std::uint64_t by_socket = std::uint64_t{1} << 32;
    /// Ends the sleep that `asleep` says.
    [[gnu::cold]] virtual void wake(std::uint64_t asleep) noexcept;
    static void wake_all(const std::atomic<std::uint64_t>& word) noexcept;
    static void wake_by_socket(int socket) noexcept;
    /// Takes in what has come by a socket that wakes. False: nothing comes any more.
    static bool drain(int socket) noexcept;
    bool look() noexcept override;
    bool glance() noexcept override {
        if (untold_) tell();
        return !pace_.skips() && look();
    }
    /// This side has said that it is about to sleep.
    virtual void announced() noexcept {}
    /// What there is to hear from the control descriptor, which reported `events`.
    virtual void listen(int events) noexcept;
    /// The other side is gone.
    void peer_gone() noexcept;
    /// What this side held of the other, and all that tells the other that this one lives.
    virtual void let_go() noexcept { control_.reset(); }
    [[nodiscard]] int control() const noexcept { return control_.get(); }
    [[nodiscard]] bool without_futex() const noexcept { return without_futex_; }

    std::uint64_t told_ = 0;  // which sleep of the other side has been ended

private:
    struct wake_op final : io::standing {
        explicit wake_op(channel_side& of) noexcept : side(of) {}
        void completed() noexcept override { side.woken(); }
        channel_side& side;
    };
    struct control_op final : io::standing {
        explicit control_op(channel_side& of) noexcept : side(of) {}
        void completed() noexcept override { side.heard(result()); }
        channel_side& side;
    };
    void wake_sleeper(std::uint64_t asleep, std::uint64_t position) noexcept {
        if (asleep != 0) [[unlikely]]
            if (asleep != told_ && std::uint32_t(asleep) != std::uint32_t(position)) wake(asleep);
    }
    bool arm() noexcept override;
    /// Learns of the other side's end from now on; false if it has, or has heard something else.
    bool listens() noexcept;
    void disarm() noexcept override;
    void retire() noexcept override;
    void woken() noexcept;
    void heard(int events) noexcept;
    void unused() noexcept;
    void delete_if_unused() noexcept;
    /// The other side is gone.
    virtual void over() noexcept = 0;

    side_words* const own_words_;
    const side_words* const peer_words_;
    unique_fd control_;
    loop* home_ = nullptr;
    unsigned users_ = 1;
    std::uint32_t claim_ = 0;
    const std::uint64_t blind_;  // all ones for one who sees no position of the others
    pace pace_;
    bool asleep_ = false;
    bool without_futex_ = false;
    bool closed_ = false;
    bool failed_ = false;
    bool serving_ = false;
    runnel::detail::list<side_waiter> waiting_;
    wake_op wake_op_{*this};
    control_op control_op_{*this};
};

}  // namespace runnel::ipc::detail

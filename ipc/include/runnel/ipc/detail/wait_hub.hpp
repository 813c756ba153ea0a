// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include <runnel/awaiter.hpp>
#include <runnel/detail/list.hpp>
#include <runnel/ipc/detail/bell.hpp>
#include <runnel/ipc/detail/pace.hpp>
#include <runnel/loop.hpp>
#include <runnel/unique_fd.hpp>
#include <runnel/watch.hpp>

namespace runnel::ipc::detail {

/// One task that waits in a hub: part of its awaiter.
class hub_waiter : public runnel::detail::list_node {
public:
    /// Tries what is waited for, in memory only. True: it is done, with a value or an error, and
    /// the waiter goes on. Called in the order of waiting.
    virtual bool serve() noexcept = 0;
    /// The last serve() could not tell, for somebody was in the way: no reason to sleep.
    [[nodiscard]] virtual bool undecided() const noexcept { return false; }
    /// The handle that it waits on is closed: it goes on, unserved.
    [[nodiscard]] virtual bool abandoned() const noexcept { return false; }

protected:
    ~hub_waiter() { unlink(); }

private:
    friend class wait_hub;
    waiter who_;
};

class wait_hub;

/// The hubs of one thing of one object in this process, one a loop. Any thread.
class hub_set {
public:
    hub_set() noexcept = default;
    hub_set(const hub_set&) = delete;
    hub_set& operator=(const hub_set&) = delete;

    /// The hub of `home`, on its thread, with one more user; made by make(), which gives a new hub,
    /// if there is none.
    template <class Make>
    wait_hub& use(loop& home, Make&& make);

private:
    friend class wait_hub;
    std::mutex alone_;  // also for what the hubs share with other threads
    std::vector<wait_hub*> hubs_;
};

/// Those tasks of one loop that wait for one thing of one shared object: one armed wait of the
/// kernel for all of them, which no cancelled task takes away. Derived classes know the object.
///
/// It lives as long as it has users (handles) or operations in the kernel; the end of the loop
/// retires it, and users ask for another one then. All of it belongs to the loop's thread, except
/// that a handle may be dropped on any other.
class wait_hub : private watch {
public:
    wait_hub(const wait_hub&) = delete;
    wait_hub& operator=(const wait_hub&) = delete;

    [[nodiscard]] loop& home() const noexcept { return home_; }
    [[nodiscard]] bool retired() const noexcept { return retired_.load(std::memory_order_acquire); }
    /// Has the hang-up been seen?
    [[nodiscard]] bool gone() const noexcept { return gone_; }

    /// For a while, on the loop's thread: a wait.
    void use() noexcept { users_.fetch_add(1, std::memory_order_relaxed); }
    /// May delete the hub. On the loop's thread, and elsewhere when the loop has ended.
    void release() noexcept;
    /// A handle leaves, and those who wait in its name go on: abandoned(). Any thread: away from the
    /// loop's it is asked to see to that, and the answer is false. May delete the hub.
    bool leave() noexcept;

    /// Is anybody waiting already? Whoever comes has to wait behind.
    [[nodiscard]] bool crowded() const noexcept { return !waiting_.empty(); }
    void wait(hub_waiter& one, waiter who);
    /// False if it has been served already.
    bool leave(hub_waiter& one) noexcept;
    /// Something has changed in this process: serves who can be served, in this loop.
    void look_now() noexcept { serve_all(); }

protected:
    /// `one` is rung when `ready` may have become true. `hangup`, if it is a descriptor, hangs up
    /// when nobody is left who could ring.
    wait_hub(hub_set& of, loop& home, bell& one, const bell_register& registered, int hangup)
        : set_(of), home_(home), bell_(one), registered_(registered), hangup_(hangup) {
        watch::begin(home);  // so that the end of the loop retires it
    }
    virtual ~wait_hub() = default;

    /// Might the first who waits be served? A load or two.
    [[nodiscard]] virtual bool ready() noexcept = 0;
    /// Nobody is in the middle of a change of what ready() looks at.
    [[nodiscard]] virtual bool settled() noexcept = 0;
    /// Nobody is left who could ring: who waits is to be told. Called once.
    virtual void hung_up() noexcept {}
    /// Counts what those who wait here wait for, to see how much of it comes at a time.
    [[nodiscard]] virtual std::uint32_t handled() const noexcept { return 0; }
    /// Can none be served unless the first can? Otherwise all are tried.
    [[nodiscard]] virtual bool in_order() const noexcept { return true; }
    /// Watches the hang-up from now on, instead of from the first sleep.
    void watch_hangup() noexcept;

    // For those who watch more than the bell and the hang-up: begun before each sleep (false: look
    // again instead), cancelled at the end, and waited for.
    virtual bool arm_more() noexcept { return true; }
    virtual void retire_more() noexcept {}
    [[nodiscard]] virtual bool more_active() const noexcept { return false; }
    /// One of those has ended.
    void part_ended() noexcept { woken(); }

private:
    friend class hub_set;
    struct futex_op final : io::standing {
        explicit futex_op(wait_hub& of) noexcept : hub(of) {}
        void completed() noexcept override {
            hub.entered_.reset();
            hub.woken();
        }
        wait_hub& hub;
    };
    struct hangup_op final : io::standing {
        explicit hangup_op(wait_hub& of) noexcept : hub(of) {}
        void completed() noexcept override { hub.peer_gone(result()); }
        wait_hub& hub;
    };

    bool look() noexcept override;
    bool glance() noexcept override {
        return (leaving_.load(std::memory_order_relaxed) != 0 || !pace_.skips()) && look();
    }
    bool arm() noexcept override;
    void retire() noexcept override;
    bool serve_all() noexcept;
    void woken() noexcept;
    void peer_gone(int events) noexcept;
    void expel_abandoned() noexcept;
    bool let_go() noexcept;
    void finish() noexcept;
    void drop(unsigned users) noexcept;

    hub_set& set_;
    loop& home_;
    bell& bell_;
    const bell_register& registered_;
    const int hangup_;
    std::atomic<unsigned> users_{2};    // one of them the loop, while operations may be under way
    std::atomic<bool> retired_{false};  // changed under the set's mutex
    bool finished_ = false;             // the loop is no user any more
    bool gone_ = false;                 // the hang-up has been seen
    std::atomic<unsigned> leaving_{0};  // users, on other threads; more under the set's mutex
    runnel::detail::list<hub_waiter> waiting_;
    pace pace_;
    unique_fd entered_;  // in the register
    futex_op futex_{*this};
    hangup_op gone_op_{*this};
};

template <class Make>
wait_hub& hub_set::use(loop& home, Make&& make) {
    const std::lock_guard held(alone_);
    for (wait_hub* one : hubs_)
        if (&one->home_ == &home) {
            one->use();
            return *one;
        }
    hubs_.reserve(hubs_.size() + 1);
    hubs_.push_back(make());
    return *hubs_.back();
}

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include <runnel/awaiter.hpp>
#include <runnel/detail/list.hpp>
#include <runnel/ipc/detail/bell.hpp>
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

protected:
    ~hub_waiter() { unlink(); }

private:
    friend class wait_hub;
    waiter who_;
    const void* handle_ = nullptr;
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
    void forget(const wait_hub& one) noexcept;
    std::mutex alone_;
    std::vector<wait_hub*> hubs_;
};

/// Those tasks of one loop that wait for one thing of one shared object: one armed wait of the
/// kernel for all of them, which no cancelled task takes away. Derived classes know the object.
///
/// It lives as long as it has users (handles, on the loop's thread) or operations in the kernel;
/// the end of the loop retires it, and users ask for another one then.
class wait_hub : private watch {
public:
    wait_hub(const wait_hub&) = delete;
    wait_hub& operator=(const wait_hub&) = delete;

    [[nodiscard]] loop& home() const noexcept { return home_; }
    [[nodiscard]] bool retired() const noexcept { return retired_; }
    /// Has the hang-up been seen?
    [[nodiscard]] bool gone() const noexcept { return gone_; }

    void use() noexcept { ++users_; }
    /// May delete the hub. Any thread; the last one away from the loop's has the loop do it.
    void release() noexcept;

    /// Is anybody waiting already? Whoever comes has to wait behind.
    [[nodiscard]] bool crowded() const noexcept { return !waiting_.empty(); }
    /// Waits, in the name of `handle`.
    void wait(hub_waiter& one, waiter who, const void* handle);
    /// False if it has been served already.
    bool leave(hub_waiter& one) noexcept;
    /// Resumes all who wait in the name of `handle`, unserved.
    void expel(const void* handle) noexcept;
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
    bool arm() noexcept override;
    void retire() noexcept override;
    bool serve_all() noexcept;
    void woken() noexcept;
    void peer_gone(int events) noexcept;
    void delete_if_unused() noexcept;

    hub_set& set_;
    loop& home_;
    bell& bell_;
    const bell_register& registered_;
    const int hangup_;
    unsigned users_ = 1;
    bool retired_ = false;
    bool gone_ = false;  // the hang-up has been seen
    runnel::detail::list<hub_waiter> waiting_;
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

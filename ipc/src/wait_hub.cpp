// SPDX-License-Identifier: MIT
#include <runnel/ipc/detail/wait_hub.hpp>

#include <new>

#include <sched.h>

#include <poll.h>

#include <runnel/io.hpp>

namespace runnel::ipc::detail {

void wait_hub::wait(hub_waiter& one, waiter who) {
    one.who_ = who;
    if (waiting_.empty()) pace_.wait(handled());
    waiting_.push_back(one);
}

bool wait_hub::leave(hub_waiter& one) noexcept {
    if (!one.linked()) return false;
    one.unlink();
    return true;
}

void wait_hub::expel_abandoned() noexcept {
    waiting_.for_each([](hub_waiter& one) {
        if (!one.abandoned()) return;
        one.unlink();
        one.who_.resume();
    });
}

bool wait_hub::serve_all() noexcept {
    bool any = false;
    if (!in_order()) {
        waiting_.for_each([&](hub_waiter& one) {
            if (!one.serve()) return;
            one.unlink();
            one.who_.resume();
            any = true;
        });
        return any;
    }
    while (!waiting_.empty() && waiting_.front().serve()) {
        waiting_.pop_front().who_.resume();
        any = true;
    }
    return any;
}

bool wait_hub::look() noexcept {
    if (leaving_.load(std::memory_order_relaxed) != 0) [[unlikely]]
        return let_go();
    return !waiting_.empty() && ready() && serve_all();
}

bool wait_hub::arm() noexcept {
    if (leaving_.load(std::memory_order_relaxed) != 0) [[unlikely]] {
        let_go();
        return false;
    }
    if (waiting_.empty()) return true;
    const std::uint32_t seen = bell_.rung.load();
    if (registered_.used() && !entered_) {
        entered_ = registered_.enter();
        if (!entered_) {
            ::sched_yield();  // no descriptors: stays awake until there are some
            return false;
        }
    }
    bell_.will_sleep();
    if (!settled()) {
        // Somebody is in the middle of a few instructions. If he has lost his CPU, here it is; if
        // he dies, the kernel says so in his lock.
        serve_all();
        ::sched_yield();
        return false;
    }
    if (serve_all()) return false;
    if (!waiting_.empty() && waiting_.front().undecided()) {
        ::sched_yield();
        return false;
    }
    if (!futex_.active()) {
        const auto& word = reinterpret_cast<const std::uint32_t&>(bell_.rung);
        const bool waits = registered_.used()
                               ? futex_.begin(home_, io::poll(entered_.get(), POLLIN))
                               : futex_.begin(home_, io::futex_wait(word, seen));
        if (!waits) {
            entered_.reset();
            return false;
        }
    }
    const bool before = gone_;
    watch_hangup();
    if (gone_ != before) return false;  // and some have been told
    return waiting_.empty() || arm_more();
}

void wait_hub::watch_hangup() noexcept {
    if (hangup_ < 0 || gone_ || gone_op_.active()) return;
    if (!gone_op_.begin(home_, io::poll(hangup_, 0))) peer_gone(gone_op_.result());
}

void wait_hub::woken() noexcept {
    if (retired())
        finish();
    else
        serve_all();
}

void wait_hub::peer_gone(int events) noexcept {
    if (retired()) return finish();
    if (events < 0) return;
    gone_ = true;
    hung_up();
    serve_all();
}

void wait_hub::retire() noexcept {
    {
        const std::lock_guard held(set_.alone_);
        if (retired()) return;
        retired_.store(true, std::memory_order_release);
        std::erase(set_.hubs_, this);
    }
    watch::end();
    futex_.cancel();
    gone_op_.cancel();
    retire_more();
    if (const unsigned left = leaving_.exchange(0); left != 0) drop(left);  // nobody waits any more
    finish();
}

/// If nothing is under way in the kernel for a hub that is retired, the loop is done with it.
void wait_hub::finish() noexcept {
    if (finished_ || futex_.active() || gone_op_.active() || more_active()) return;
    finished_ = true;
    drop(1);
}

/// The last of all deletes the hub; before the loop has ended that is itself.
void wait_hub::drop(unsigned users) noexcept {
    if (users_.fetch_sub(users, std::memory_order_acq_rel) == users) delete this;
}

void wait_hub::release() noexcept {
    if (!retired() && users_.load(std::memory_order_relaxed) == 2) {
        // The last but the loop.
        retire();
    }
    drop(1);
}

bool wait_hub::leave() noexcept {
    if (loop::current() != &home_) {
        const std::lock_guard held(set_.alone_);
        if (!retired()) {
            if (leaving_.fetch_add(1, std::memory_order_release) == 0) {
                try {
                    home_.post([] {});  // so that it turns, and looks
                } catch (const std::bad_alloc&) {
                    // It looks when it turns the next time.
                }
            }
            return false;
        }
    } else if (!retired()) {
        expel_abandoned();
    }
    release();
    return true;
}

/// Sees to those who have left on other threads.
bool wait_hub::let_go() noexcept {
    use();  // until this is over
    const unsigned left = leaving_.exchange(0, std::memory_order_acquire);
    expel_abandoned();
    for (unsigned i = 0; i < left; ++i) release();
    if (!waiting_.empty() && ready()) serve_all();
    release();
    return true;
}

}  // namespace runnel::ipc::detail

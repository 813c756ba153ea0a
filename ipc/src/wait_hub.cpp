// SPDX-License-Identifier: MIT
#include <runnel/ipc/detail/wait_hub.hpp>

#include <system_error>

#include <sched.h>

#include <poll.h>

#include <runnel/io.hpp>

namespace runnel::ipc::detail {

void hub_set::forget(const wait_hub& one) noexcept {
    const std::lock_guard held(alone_);
    std::erase(hubs_, &one);
}

void wait_hub::wait(hub_waiter& one, waiter who, const void* handle) {
    one.who_ = who;
    one.handle_ = handle;
    waiting_.push_back(one);
}

bool wait_hub::leave(hub_waiter& one) noexcept {
    if (!one.linked()) return false;
    one.unlink();
    return true;
}

void wait_hub::expel(const void* handle) noexcept {
    waiting_.for_each([&](hub_waiter& one) {
        if (one.handle_ != handle) return;
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

bool wait_hub::look() noexcept { return !waiting_.empty() && ready() && serve_all(); }

bool wait_hub::arm() noexcept {
    if (waiting_.empty()) return true;
    const std::uint32_t seen = bell_.rung.load();
    if (registered_.used() && !entered_) {
        try {
            entered_ = registered_.enter();
        } catch (const std::system_error&) {
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
    if (retired_)
        delete_if_unused();
    else
        serve_all();
}

void wait_hub::peer_gone(int events) noexcept {
    if (retired_) return delete_if_unused();
    if (events < 0) return;
    gone_ = true;
    hung_up();
    serve_all();
}

void wait_hub::retire() noexcept {
    if (retired_) return;
    retired_ = true;
    set_.forget(*this);
    watch::end();
    futex_.cancel();
    gone_op_.cancel();
    retire_more();
}

void wait_hub::release() noexcept {
    if (--users_ != 0) return;
    if (!retired_ && loop::current() != &home_) {
        ++users_;
        home_.post([this] { release(); });
        return;
    }
    retire();
    delete_if_unused();
}

void wait_hub::delete_if_unused() noexcept {
    if (users_ == 0 && !futex_.active() && !gone_op_.active() && !more_active()) delete this;
}

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
#include <runnel/nursery.hpp>

#include <stdexcept>

namespace runnel {

nursery::~nursery() {
    home_.disarm(deadline_);
    ended_ = true;
}

void nursery::require_open() const {
    if (ended_) throw std::invalid_argument("start on nursery: the nursery has ended");
}

void nursery::begin(detail::nursery_child& made) noexcept {
    children_.push_back(made);
    ++size_;
    made.start();
    if (cancelled_) made.cancel();
}

void nursery::child_ended(detail::nursery_child& which, std::exception_ptr error) noexcept {
    which.list_node::unlink();
    --size_;
    which.destroy();
    if (error && handler_ != nullptr) {
        try {
            handler_(handler_object_, std::exchange(error, nullptr));
        } catch (...) {
            error = std::current_exception();
        }
    }
    if (error) fail(std::move(error));
    if (size_ != 0) return;
    if (joining_ != nullptr) std::exchange(joining_, nullptr)->children_gone();
    emptied();
}

void nursery::fail(std::exception_ptr error) noexcept {
    errors_.push_back(std::move(error));
    cancel();
}

void nursery::cancel() noexcept {
    cancelled_ = true;
    home_.disarm(deadline_);
    cancel_children();
    cancel_body();
}

void nursery::cancel_children() noexcept {
    children_.for_each([](detail::nursery_child& each) { each.cancel(); });
}

void nursery::deadline(std::chrono::steady_clock::time_point when) {
    home_.disarm(deadline_);
    if (!cancelled_ && when != detail::time_point::max()) home_.arm(deadline_, when);
}

void nursery::dump_children(detail::dump_sink& sink) const {
    children_.for_each([&](const detail::nursery_child& each) { each.dump_tree(sink); });
}

namespace detail {

void join_await::await_suspend(waiter who) {
    who_ = who;
    if (nursery_.joining_ != nullptr)
        throw std::invalid_argument("join on nursery: another task waits for its children already");
    nursery_.joining_ = this;
    if (limit_ != duration::max()) who.scheduler().arm(*this, after(who.scheduler().now(), limit_));
}

cancellation join_await::await_cancel() noexcept {
    if (gone_) return cancellation::too_late;
    nursery_.joining_ = nullptr;
    who_.scheduler().disarm(*this);
    return cancellation::now;
}

void join_await::children_gone() noexcept {
    gone_ = true;
    who_.scheduler().disarm(*this);
    who_.resume();
}

void join_await::fire() noexcept {
    struck_ = true;
    nursery_.cancel_children();
}

void nursery_await_base::begin_body(task<>&& body, std::exception_ptr error, waiter up) {
    up_ = up;
    if (error) {
        fail(std::move(error));
        finish();
        return;
    }
    body_ = task_access::take(body);
    adopt(body_.promise());
    branch::start();
}

void nursery_await_base::ended(bool cancelled) noexcept {
    forget_root();  // children may go on, and be cancelled
    if (cancelled) {
        body_ = {};
    } else {
        std::exception_ptr error = body_.promise().error();
        std::exchange(body_, {}).destroy();
        if (error) fail(std::move(error));
    }
    finish();
}

void nursery_await_base::finish() noexcept {
    if (body_ || size() != 0 || finished_) return;
    finished_ = true;
    close();
    up_.resume();
}

cancellation nursery_await_base::await_cancel() noexcept {
    if (finished_) {
        if (!asked_) return cancellation::too_late;
        return errors_.empty() ? cancellation::now : cancellation::too_late;
    }
    asked_ = true;
    nursery::cancel();
    return cancellation::later;
}

}  // namespace detail
}  // namespace runnel

// SPDX-License-Identifier: MIT
#include <runnel/detail/scheduler.hpp>

#include <sched.h>

#include <runnel/detail/await.hpp>
#include <runnel/detail/branch.hpp>

namespace runnel::detail {

void scheduler::schedule_remote(ready_node& node) noexcept {
    // What is queued may end the loop, which is not to be gone before this call is over.
    visitors_.fetch_add(1, std::memory_order_relaxed);
    ready_node* head = remote_.load(std::memory_order_relaxed);
    do {
        node.next_ = head;
    } while (!remote_.compare_exchange_weak(head, &node, std::memory_order_seq_cst,
                                            std::memory_order_relaxed));
    // Only the push that found the list empty wakes: whoever empties it sees the others too.
    if (head == nullptr && wake != nullptr) wake(*this);
    visitors_.fetch_sub(1, std::memory_order_release);
}

void scheduler::wait_for_visitors() const noexcept {
    while (visitors_.load(std::memory_order_acquire) != 0) ::sched_yield();
}

bool scheduler::take_all_remote() noexcept {
    ready_node* stack = remote_.exchange(nullptr, std::memory_order_acquire);
    ready_node* in_order = nullptr;  // the stack is newest first
    while (stack != nullptr) {
        ready_node* rest = stack->next_;
        stack->next_ = in_order;
        in_order = stack;
        stack = rest;
    }
    while (in_order != nullptr) {
        ready_node* rest = in_order->next_;
        in_order->next_ = nullptr;
        *tail_ = in_order;
        tail_ = &in_order->next_;
        in_order = rest;
    }
    return true;
}

unsigned scheduler::run_ready(unsigned budget) noexcept {
    unsigned ran = 0;
    // A foreign awaitable may have resumed a task between two turns, and ended it.
    if (finished_ != nullptr) [[unlikely]]
        settle_finished();
    while (head_ != nullptr && ran < budget) {
        ready_node* node = head_;
        head_ = node->next_;
        if (head_ == nullptr) tail_ = &head_;
        transfers_left_ = transfers_per_resume;
        node->run();
        ++ran;
        if (finished_ != nullptr) settle_finished();
    }
    resumes += ran;
    return ran;
}

void scheduler::fire_due() noexcept {
    const time_point moment = now();
    while (timer_node* due = timers.pop_due(moment)) due->fire();
    if (finished_ != nullptr) settle_finished();
}

void scheduler::finish(branch& ended) noexcept {
    ready_node& node = ended;
    node.next_ = nullptr;
    *finished_tail_ = &node;
    finished_tail_ = &node.next_;
}

void scheduler::settle_finished() noexcept {
    while (finished_ != nullptr) {
        ready_node* node = finished_;
        finished_ = node->next_;
        if (finished_ == nullptr) finished_tail_ = &finished_;
        static_cast<branch*>(node)->ended(false);
    }
}

void branch::run() noexcept {
    if (cancel_requested()) {
        promise_base* never_began = std::exchange(root_, nullptr);
        never_began->handle().destroy();
        ended(true);
        return;
    }
    root_->handle().resume();
}

void branch::cancel() noexcept {
    if (cancel_requested()) return;
    set(cancel_flag);
    if (root_ == nullptr) return;
    await_point* where = root_->awaiting;
    if (where == nullptr) return;  // running, or about to: its next await meets the request
    while (promise_base* below = where->child()) {
        where = below->awaiting;
        if (where == nullptr) return;
    }
    if (where->cancel() == cancellation::now) {
        static_cast<frame_point*>(where)->set_cancelled();
        home().schedule(*where);
    }
}

task_identity& branch::identity() {
    branch& who = logical();
    task_identity& found = home().identities[&who];
    if (found.id == 0) found.id = home().next_task_id++;
    who.set(identity_flag);
    return found;
}

const task_identity* branch::known_identity() const noexcept {
    if (!has_identity()) return nullptr;
    return &home().identities.find(this)->second;
}

void branch::drop_identity() noexcept { home().identities.erase(this); }

void promise_base::unwind(promise_base& innermost) noexcept {
    promise_base* current = &innermost;
    for (;;) {
        frame_point* parent = current->parent;
        branch* scope = current->scope;
        current->awaiting = nullptr;
        if (parent != nullptr) parent->forget_child();
        current->handle().destroy();
        if (parent == nullptr) {
            scope->root_ = nullptr;
            scope->ended(true);
            return;
        }
        current = &parent->owner();
    }
}

}  // namespace runnel::detail

// SPDX-License-Identifier: MIT

// The limit of a coroutine runtime: a lazy task with symmetric transfer and malloc'ed frames, and a
// run queue of handles. No cancellation, no exceptions, no owner: what any library must add costs
// on top of this.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdlib>
#include <utility>
#include <vector>

namespace raw {

using handle = std::coroutine_handle<>;

class run_queue {
public:
    void push(handle h) { ring_[tail_++ & (ring_.size() - 1)] = h; }
    void run() {
        while (head_ != tail_) ring_[head_++ & (ring_.size() - 1)].resume();
    }

private:
    std::vector<handle> ring_ = std::vector<handle>(1 << 18);
    std::size_t head_ = 0, tail_ = 0;
};
inline run_queue ready;

class task {
public:
    struct promise_type {
        int value = 0;
        handle continuation = std::noop_coroutine();

        task get_return_object() {
            return task(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_always initial_suspend() noexcept { return {}; }
        struct finish {
            bool await_ready() noexcept { return false; }
            handle await_suspend(std::coroutine_handle<promise_type> h) noexcept {
                return h.promise().continuation;
            }
            void await_resume() noexcept {}
        };
        finish final_suspend() noexcept { return {}; }
        void return_value(int v) { value = v; }
        void unhandled_exception() { std::abort(); }
    };

    explicit task(std::coroutine_handle<promise_type> h) : handle_(h) {}
    task(task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
    task& operator=(task&&) = delete;
    ~task() {
        if (handle_) handle_.destroy();
    }
    bool await_ready() const { return false; }
    handle await_suspend(handle caller) {
        handle_.promise().continuation = caller;
        return handle_;
    }
    int await_resume() const { return handle_.promise().value; }

    // Starts it through the run queue instead of by an await.
    void start() { ready.push(handle_); }
    void start(handle then) {
        handle_.promise().continuation = then;
        ready.push(handle_);
    }
    int value() const { return handle_.promise().value; }

private:
    std::coroutine_handle<promise_type> handle_;
};

struct yield {
    bool await_ready() const { return false; }
    void await_suspend(handle h) { ready.push(h); }
    void await_resume() const {}
};

// Spawn and join: the child starts through the run queue, the parent goes on when it has ended.
class join {
public:
    explicit join(task&& t) : task_(std::move(t)) {}  // g++ 12 destroys aggregate awaiters twice
    bool await_ready() const { return false; }
    void await_suspend(handle caller) { task_.start(caller); }
    int await_resume() const { return task_.value(); }

private:
    task task_;
};

struct forever {
    bool await_ready() const { return false; }
    void await_suspend(handle) {}
    void await_resume() const {}
};

}  // namespace raw

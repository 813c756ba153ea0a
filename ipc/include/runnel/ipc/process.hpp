// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <poll.h>
#include <sys/types.h>

#include <runnel/awaiter.hpp>
#include <runnel/io.hpp>
#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/child.hpp>
#include <runnel/ipc/exit_status.hpp>

namespace runnel::ipc {

/// A child ended without a value: its function threw, it was killed, it left by exit, or it was
/// stopped.
class child_failed : public std::runtime_error {
public:
    child_failed(const std::string& what, exit_status status, const std::string& type_name,
                 const std::string& text);
    /// How the process ended.
    [[nodiscard]] exit_status status() const noexcept { return status_; }
    /// The type of the exception that the function threw ("std::invalid_argument"); empty if none.
    [[nodiscard]] const std::string& type_name() const noexcept { return told_->first; }
    /// What that exception said, its what() in the child; empty if none. (what() says also which
    /// process failed, and how.)
    [[nodiscard]] const std::string& text() const noexcept { return told_->second; }

private:
    exit_status status_;
    // Exceptions copy without throwing.
    std::shared_ptr<const std::pair<std::string, std::string>> told_;
};

namespace detail {
template <class R>
class join_await;
class wait_await;
template <class Awaiter>
class [[nodiscard]] child_operation;
}  // namespace detail

/// A child process whose function gives an R; made by spawn. Move-only.
///
///     auto worker = ipc::spawn(count_words, std::string(path));
///     int words = co_await worker.join();
///
/// Dropping it while the child runs asks the child to stop, without waiting: the loop kills it when
/// the grace of spawn_options is over, and neither run nor ~loop end before it is gone. Where no
/// loop runs, the destructor does that itself, and blocks. To be used on one thread.
template <class R = void>
class process {
public:
    /// A handle on no process: all but `bool` throw std::invalid_argument.
    process() noexcept = default;
    process(process&&) noexcept = default;
    process& operator=(process&&) noexcept = default;

    /// Waits for the end of the child and gives what its function returned. Throws child_failed if
    /// it gave nothing. May be awaited by several, and again afterwards; but a result with handles
    /// in it is given once, later joins throw std::invalid_argument. An exception that nobody joins
    /// for is not reported otherwise. Cancellation: atomic; the child goes on.
    detail::child_operation<detail::join_await<R>> join() const;
    /// Waits for the end of the child; never throws for the way in which it ended. May be awaited
    /// by several, and again afterwards. Cancellation: atomic; the child goes on.
    detail::child_operation<detail::wait_await> wait() const;

    /// Asks the child to stop: its function is cancelled where it awaits next, and its exit code is
    /// then 0. A function that never awaits takes no notice.
    void stop() const { child("stop")->ask_to_stop(); }
    /// Sends SIGTERM, which kills a child that has not arranged for it.
    void terminate() const;
    /// Sends SIGKILL.
    void kill() const;

    /// Whether the child has not ended.
    [[nodiscard]] bool alive() const { return !child("alive")->ended(); }
    /// Its process id; once the child has ended the system may give it to another process.
    [[nodiscard]] ::pid_t pid() const { return child("pid")->pid(); }
    /// Its name, which is ipc::this_process::name() in the child.
    [[nodiscard]] const std::string& name() const { return child("name")->name(); }
    /// A descriptor that is readable (POLLIN) once the child has ended. It stays the handle's. It
    /// is -1 for a child that ended at once in a process that ignores SIGCHLD, where the kernel
    /// leaves nothing of it to be watched; alive() says false of it.
    [[nodiscard]] int sentinel() const { return child("sentinel")->pidfd(); }
    /// False when it was moved from.
    [[nodiscard]] explicit operator bool() const noexcept { return child_ != nullptr; }

    explicit process(std::shared_ptr<detail::child> of) noexcept : child_(std::move(of)) {}

private:
    const std::shared_ptr<detail::child>& child(const char* operation) const;
    std::shared_ptr<detail::child> child_;
};

// implementation

namespace detail {

[[noreturn]] void throw_no_process(const char* operation);
[[noreturn]] void throw_handles_taken(const child& of);
void terminate_child(child& which) noexcept;
void kill_child(child& which) noexcept;

/// Waits for the end of a child by its pidfd; each waiter on its own.
class end_await {
public:
    static constexpr bool is_atomic = true;
    explicit end_await(const std::shared_ptr<child>& of)
        : child_(of), poll_(io::poll(of->pidfd(), POLLIN).on("process").operator co_await()) {}
    bool await_ready() const noexcept { return child_->ended(); }
    bool await_suspend(waiter who) noexcept {
        polled_ = true;
        return poll_.await_suspend(who);
    }
    cancellation await_cancel() noexcept { return poll_.await_cancel(); }
    void await_describe(std::string& text) const { text.append("end of ").append(child_->name()); }

protected:
    void finish() {
        if (polled_ && !child_->ended()) {
            poll_.await_resume();
            child_->finish();
        }
    }
    std::shared_ptr<child> child_;

private:
    decltype(std::declval<io::int_operation>().operator co_await()) poll_;
    bool polled_ = false;
};

class wait_await final : public end_await {
public:
    using end_await::end_await;
    exit_status await_resume() {
        finish();
        return child_->status();
    }
};

template <class R>
class join_await final : public end_await {
public:
    using end_await::end_await;
    R await_resume() {
        finish();
        child_report& got = child_->value();
        if constexpr (!std::is_void_v<R>) {
            if constexpr (carries_handles<R>) {
                if (got.bytes.empty()) throw_handles_taken(*child_);
                const std::vector<std::byte> body = std::exchange(got.bytes, {});
                return ipc::decode<R>(body, got.handles);
            } else {
                return ipc::decode<R>(got.bytes);
            }
        }
    }
};

template <class Awaiter>
class [[nodiscard]] child_operation {
public:
    explicit child_operation(const std::shared_ptr<child>& of) noexcept : child_(of) {}
    Awaiter operator co_await() const { return Awaiter(child_); }

private:
    std::shared_ptr<child> child_;
};

}  // namespace detail

template <class R>
const std::shared_ptr<detail::child>& process<R>::child(const char* operation) const {
    if (!child_) detail::throw_no_process(operation);
    return child_;
}
template <class R>
detail::child_operation<detail::join_await<R>> process<R>::join() const {
    return detail::child_operation<detail::join_await<R>>(child("join"));
}
template <class R>
detail::child_operation<detail::wait_await> process<R>::wait() const {
    return detail::child_operation<detail::wait_await>(child("wait"));
}
template <class R>
void process<R>::terminate() const {
    detail::terminate_child(*child("terminate"));
}
template <class R>
void process<R>::kill() const {
    detail::kill_child(*child("kill"));
}

}  // namespace runnel::ipc

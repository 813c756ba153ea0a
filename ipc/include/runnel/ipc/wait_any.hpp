// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <bitset>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <runnel/as_atomic.hpp>
#include <runnel/io.hpp>
#include <runnel/ipc/detail/endpoint.hpp>
#include <runnel/race.hpp>

/// Which of many have something to receive, without receiving it.
///
///     auto ready = co_await ipc::wait_any(jobs, orders, worker.sentinel());    // std::bitset<3>
///     if (ready[0]) ...
///
/// An end is ready when a whole message is there, or the end of all messages; a descriptor, such as
/// the sentinel of a process, when it is readable or hung up. Nothing is taken, so somebody else
/// may be faster. The ends and descriptors are borrowed until the co_await is over. An end that was
/// closed, or that is closed while it is waited for, throws errc::closed, even if others are ready;
/// a negative descriptor, or one that is not open, EBADF. Cancellation: atomic;
/// with_timeout(ipc::wait_any(...), limit) gives empty when none became ready in time.
///
/// What lies in shared memory is no descriptor: queues, channels and events go with race(), which
/// also takes what is ready.
namespace runnel::ipc {

class waitable;
namespace detail {
class readiness_await;
class readiness_operation;
/// Sets found[i] for each that is ready; whether any is. Throws for one that cannot be waited for.
bool look_at(std::span<const waitable> all, std::span<bool> found);
}  // namespace detail

/// An end of a pipe, or a descriptor, that is waited for: a reference, which keeps nothing open and
/// knows when the end was closed, or its handle dropped.
class waitable {
public:
    /// What receives messages of any type: a receiver or a connection.
    template <std::derived_from<detail::message_handle> Handle>
        requires requires(Handle& h) { h.recv(); }
    waitable(const Handle& end) noexcept : waitable(detail::end_access::of(end)) {}
    /// An int and nothing that becomes one: true is no descriptor.
    template <std::same_as<int> Descriptor>
    waitable(Descriptor descriptor) noexcept : descriptor_(descriptor) {}
    waitable(const waitable& other) noexcept
        : end_(other.end_), descriptor_(other.descriptor_), is_end_(other.is_end_) {
        if (end_ != nullptr) end_->hold();
    }
    waitable& operator=(waitable other) noexcept {
        std::swap(end_, other.end_);
        std::swap(descriptor_, other.descriptor_);
        std::swap(is_end_, other.is_end_);
        return *this;
    }
    ~waitable() {
        if (end_ != nullptr) end_->release();
    }

    /// -1 for a closed end.
    [[nodiscard]] int native_handle() const noexcept {
        if (!is_end_) return descriptor_;
        return end_ == nullptr || end_->closed() ? -1 : end_->number();
    }

private:
    friend class detail::readiness_await;
    friend bool detail::look_at(std::span<const waitable> all, std::span<bool> found);
    /// Throws why native_handle() is negative.
    [[noreturn]] void throw_unusable() const;
    explicit waitable(detail::endpoint* end) noexcept : end_(end), is_end_(true) {
        if (end_ != nullptr) end_->hold();
    }
    detail::endpoint* end_ = nullptr;
    int descriptor_ = -1;
    bool is_end_ = false;
};

namespace detail {

/// Waits for one of them.
class readiness_await : private io::stepwise {
public:
    static constexpr bool is_atomic = true;
    explicit readiness_await(const waitable& what) noexcept;
    ~readiness_await();
    using io::stepwise::await_cancel;
    using io::stepwise::await_ready;
    bool await_suspend(waiter who);
    void await_resume();
    void await_describe(std::string& text) const;

private:
    bool step(int) noexcept override { return false; }
    endpoint* end_;
    bool is_end_;
    bool begun_ = false;
};

class [[nodiscard]] readiness_operation {
public:
    explicit readiness_operation(const waitable& what) noexcept : what_(what) {}
    readiness_await operator co_await() const noexcept { return readiness_await(what_); }

private:
    waitable what_;
};

/// Another receiver can have been faster between the wait and the look: then it goes on.
template <std::size_t N>
task<std::bitset<N>> wait_for_any(std::array<waitable, N> all) {
    std::array<bool, N> found{};
    while (!look_at(all, found)) {
        auto waiting = [&all]<std::size_t... I>(std::index_sequence<I...>) {
            return race(readiness_operation(all[I])...);
        }(std::make_index_sequence<N>());
        static_cast<void>(co_await waiting);
    }
    std::bitset<N> ready;
    for (std::size_t i = 0; i != N; ++i) ready[i] = found[i];
    co_return ready;
}

task<std::vector<std::size_t>> wait_for_any(std::vector<waitable> all);

}  // namespace detail

/// Gives std::bitset: bit i is set if the i-th argument is ready; at least one is.
template <class... A>
    requires(sizeof...(A) > 0 && (std::convertible_to<const A&, waitable> && ...))
auto wait_any(const A&... ends) {
    return as_atomic(detail::wait_for_any(std::array{waitable(ends)...}));
}

/// The same for a number of them that is known at run time: gives the indices of those that are
/// ready, in order, as std::vector<std::size_t>; at least one, but none, at once, of none.
inline as_atomic<std::vector<std::size_t>> wait_any(std::vector<waitable> ends) {
    return as_atomic(detail::wait_for_any(std::move(ends)));
}

}  // namespace runnel::ipc

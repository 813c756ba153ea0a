// SPDX-License-Identifier: MIT
#include <runnel/ipc/wait_any.hpp>

#include <cerrno>
#include <memory>

#include <poll.h>

#include <runnel/error.hpp>
#include <runnel/loop.hpp>

namespace runnel::ipc {
namespace detail {

readiness_await::readiness_await(const waitable& what) noexcept
    : stepwise(io::poll(what.native_handle(), POLLIN).on(what.is_end_ ? "pipe" : "descriptor")),
      end_(what.end_),
      is_end_(what.is_end_) {}

readiness_await::~readiness_await() {
    if (begun_) end_->end_operation();
}

bool readiness_await::await_suspend(waiter who) {
    if (is_end_) {
        if (end_ == nullptr) throw_error(errc::closed, "wait", "pipe");
        if (end_->closed()) end_->throw_closed("wait");
        end_->begin_on(who.home());
        begun_ = true;
    }
    return launch(who);
}

void readiness_await::await_resume() {
    if (result() < 0) throw_failure("wait");
}

void readiness_await::await_describe(std::string& text) const {
    text.append(is_end_ ? "wait on pipe " : "wait on descriptor ")
        .append(std::to_string(descriptor()));
}

}  // namespace detail

void waitable::throw_unusable() const {
    if (end_ != nullptr) end_->throw_closed("wait");
    if (is_end_) throw_error(errc::closed, "wait", "pipe");
    throw_errno(EBADF, "wait", "descriptor", descriptor_);
}

namespace detail {

bool look_at(std::span<const waitable> all, std::span<bool> found) {
    constexpr std::size_t few = 16;
    std::array<::pollfd, few> place;
    std::unique_ptr<::pollfd[]> more;
    ::pollfd* looked = place.data();
    if (all.size() > few) {
        more = std::make_unique<::pollfd[]>(all.size());
        looked = more.get();
    }
    for (std::size_t i = 0; i != all.size(); ++i) {
        const int number = all[i].native_handle();
        // The kernel would pass over it.
        if (number < 0) all[i].throw_unusable();
        looked[i] = {number, POLLIN, 0};
    }
    int n = -1;
    do n = ::poll(looked, all.size(), 0);
    while (n < 0 && errno == EINTR);
    if (n < 0) throw_errno(errno, "wait", "descriptors");
    for (std::size_t i = 0; i != all.size(); ++i) {
        if ((looked[i].revents & POLLNVAL) != 0)
            throw_errno(EBADF, "wait", "descriptor", looked[i].fd);
        found[i] = looked[i].revents != 0;
    }
    return n > 0;
}

task<std::vector<std::size_t>> wait_for_any(std::vector<waitable> all) {
    std::vector<std::size_t> ready;
    if (all.empty()) co_return ready;
    const auto found = std::make_unique<bool[]>(all.size());
    while (!look_at(all, std::span(found.get(), all.size()))) {
        std::vector<readiness_operation> each(all.begin(), all.end());
        auto waiting = race(std::move(each));
        static_cast<void>(co_await waiting);
    }
    for (std::size_t i = 0; i != all.size(); ++i)
        if (found[i]) ready.push_back(i);
    co_return ready;
}

}  // namespace detail
}  // namespace runnel::ipc

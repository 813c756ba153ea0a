// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <utility>

#include <runnel/awaiter.hpp>
#include <runnel/detail/branch.hpp>

namespace runnel {
namespace detail {

class [[nodiscard]] name_await {
public:
    static constexpr bool is_atomic = true;
    explicit name_await(std::string name) noexcept : name_(std::move(name)) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(waiter who) {
        who.scope().identity().name = std::move(name_);
        return false;
    }
    void await_resume() const noexcept {}
    cancellation await_cancel() const noexcept { return cancellation::too_late; }
    void await_describe(std::string& text) const { text += "name_task"; }

private:
    std::string name_;
};

}  // namespace detail

/// Names the logical task that awaits it, until it ends or takes another name: for loop::dump, and
/// for the report of what keeps a loop from ending.
///
///     co_await name_task("reader 3");
///
/// A logical task is what a nursery, run(), or a race, when_all or when_all_settled has started; the
/// tasks that it awaits share its name. Never waits. Cancellation: atomic.
inline detail::name_await name_task(std::string name) noexcept {
    return detail::name_await(std::move(name));
}

}  // namespace runnel

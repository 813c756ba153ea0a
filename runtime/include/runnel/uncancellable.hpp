// SPDX-License-Identifier: MIT
#pragma once

#include <type_traits>
#include <utility>

#include <runnel/task.hpp>

namespace runnel {

/// Makes a task of an awaitable that knows nothing of cancellation, so that it can be raced, timed
/// out and started in a nursery. A request to cancel is met after `awaited` is done: whoever
/// cancels waits for it. The foreign awaitable resumes the coroutine on the loop's thread.
template <class A>
task<decltype(std::declval<detail::awaiter_of<A>&>().await_resume())> uncancellable(A awaited) {
    co_return co_await std::move(awaited);
}

}  // namespace runnel

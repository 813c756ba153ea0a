// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <memory>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/call.hpp>
#include <runnel/ipc/process.hpp>
#include <runnel/task.hpp>

namespace runnel::ipc {

/// How a child is made.
struct spawn_options {
    std::string_view name = {};  ///< of the child; "Process-1" and so on if empty
    /// How long a child whose handle was dropped has to stop before it is killed.
    std::chrono::nanoseconds grace = std::chrono::seconds(5);
};

/// Runs fn(args...) in a new process, with a loop of its own.
///
///     task<int> count(std::string path, ipc::receiver<int> in);
///     auto child = ipc::spawn(count, "words.txt", std::move(ends.receiver));
///     int n = co_await child.join();
///
/// `fn` is a function or a lambda without captures that returns a task, a value or nothing; what it
/// returns travels back. Arguments become the parameters' types and travel as codec<T> says; a
/// handle that is moved in leaves this process, a handle to be kept is given as handle.share(). If
/// spawn throws, arguments of the parameters' own types are untouched.
///
/// The child is a fork: it has the memory of this process as it was, but none of its descriptors
/// beyond 0, 1, 2 and the handles in `args` (the numbers of all others give EBADF), none of its
/// loops, default signal dispositions, except that SIGINT is ignored: stopping it is the parent's
/// decision. When the parent ends, in whatever way, fn is cancelled where it awaits next; a function
/// that never awaits, a plain one above all, runs to its end. No destructor of anything that the
/// parent made runs in the child, and no atexit handler.
///
/// Throws std::system_error (EAGAIN, EMFILE, ...) if there can be no process;
/// std::errc::operation_not_permitted if this process has several threads, since a fork copies only
/// one; std::invalid_argument if `args` cannot be encoded; std::logic_error on a loop with virtual
/// time.
template <class F, class... Args>
    requires detail::spawnable<F>
[[nodiscard]] auto spawn(spawn_options options, F fn, Args&&... args) {
    using call = detail::call<F, Args...>;
    call::check();
    encoder encoded;
    const typename call::held kept(std::forward<Args>(args)...);
    call::encode(encoded, kept);
    auto started =
        detail::start_child(options.name, options.grace, encoded, &call::run, std::addressof(fn));
    (detail::drop_moved<Args>(args), ...);
    return process<typename call::result>(std::move(started));
}
/// The same, with the usual options.
template <class F, class... Args>
    requires detail::spawnable<F>
[[nodiscard]] auto spawn(F fn, Args&&... args) {
    return ipc::spawn(spawn_options{}, fn, std::forward<Args>(args)...);
}

}  // namespace runnel::ipc

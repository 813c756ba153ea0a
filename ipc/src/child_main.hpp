// SPDX-License-Identifier: MIT
#pragma once

#include <span>
#include <string>
#include <vector>

#include <runnel/ipc/coder.hpp>
#include <runnel/ipc/detail/call.hpp>
#include <runnel/unique_fd.hpp>

namespace runnel::ipc::detail {

/// What a forked child finds of its parent's.
struct child_start {
    const std::string& name;
    const std::string& automatic_name;
    const encoder& args;
    child_body body;
    const void* fn;
    unique_fd& control;
    std::vector<unique_fd>& handles;  // the child's own, for those among the arguments
    std::span<const unique_fd> room;  // to be closed: what the child's loop needs
    int filler;
};

/// The life of a forked child, from the return of fork to its exit. Nothing of the parent's is
/// destroyed on the way.
[[noreturn]] void child_main(child_start& start) noexcept;

}  // namespace runnel::ipc::detail

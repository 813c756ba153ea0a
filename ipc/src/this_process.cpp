// SPDX-License-Identifier: MIT
#include <runnel/ipc/this_process.hpp>

#include <sys/prctl.h>
#include <unistd.h>

#include "identity.hpp"

namespace runnel::ipc {

detail::identity& detail::identity::own() noexcept {
    static identity self;
    return self;
}

std::string detail::identity::next_child() { return prefix + std::to_string(++children); }

void detail::identity::become(const std::string& new_name, const std::string& automatic) {
    name = new_name;
    prefix = automatic + ":";
    children = 0;
    ::prctl(PR_SET_NAME, name.c_str());
}

const std::string& this_process::name() noexcept { return detail::identity::own().name; }

::pid_t this_process::id() noexcept { return ::getpid(); }

}  // namespace runnel::ipc

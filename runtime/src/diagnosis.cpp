// SPDX-License-Identifier: MIT
#include "diagnosis.hpp"

#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>

namespace runnel::detail {
namespace {

/// kernel.io_uring_disabled: 0 allowed, 1 for members of a group, 2 for nobody; -1 no such knob.
int io_uring_disabled_sysctl() noexcept {
    int value = -1;
    if (std::FILE* f = std::fopen("/proc/sys/kernel/io_uring_disabled", "re")) {
        if (std::fscanf(f, "%d", &value) != 1) value = -1;
        std::fclose(f);
    }
    return value;
}

/// Does a seccomp filter stand between this process and the kernel?
bool has_seccomp_filter() noexcept {
    int mode = 0;
    if (std::FILE* f = std::fopen("/proc/self/status", "re")) {
        char line[256];
        while (std::fgets(line, sizeof line, f) != nullptr)
            if (std::sscanf(line, "Seccomp: %d", &mode) == 1) break;
        std::fclose(f);
    }
    return mode == 2;
}

}  // namespace

std::string explain_no_io_uring(int error, int sysctl, bool filtered) {
    std::string text = "set up io_uring: ";
    // Some filters say ENOSYS, Podman's for one. A kernel with the sysctl has io_uring.
    if (error == ENOSYS && sysctl < 0 && !filtered) {
        text += "this kernel has no io_uring; runnel needs Linux 6.1 or later";
    } else if (error == EPERM && sysctl > 0) {
        text +=
            "forbidden by the sysctl kernel.io_uring_disabled; set it to 0 "
            "(sysctl -w kernel.io_uring_disabled=0), or, if it is 1, join the group of "
            "kernel.io_uring_group";
    } else if (error == EPERM || error == EACCES || error == ENOSYS) {
        text +=
            "forbidden by a seccomp filter, as containers have by default; allow "
            "io_uring_setup, io_uring_enter and io_uring_register in its profile "
            "(for Docker and Podman: --security-opt seccomp=PROFILE)";
    } else if (error == ENOMEM) {
        text += "no memory may be locked for it; raise RLIMIT_MEMLOCK (ulimit -l)";
    } else if (error == EINVAL) {
        text += "this kernel's io_uring is too old; runnel needs Linux 6.1 or later";
    } else {
        text += "the kernel refused";
    }
    return text;
}

void throw_no_io_uring(int error) {
    throw std::system_error(
        error, std::system_category(),
        explain_no_io_uring(error, io_uring_disabled_sysctl(), has_seccomp_filter()));
}

}  // namespace runnel::detail

// SPDX-License-Identifier: MIT
#include "threads.hpp"

#include <cerrno>
#include <charconv>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>

#include <dirent.h>

namespace runnel::ipc::detail {
namespace {

constexpr unsigned long exiting = 0x4;     // PF_EXITING: joined, but not gone from /proc yet
constexpr unsigned long io_worker = 0x10;  // PF_IO_WORKER

bool counts(const std::string& thread) {
    std::ifstream file("/proc/self/task/" + thread + "/stat");
    std::string line;
    if (!std::getline(file, line)) return false;  // gone meanwhile
    // "1 (name) S ppid pgrp session tty tpgid flags ...", where the name may hold anything.
    const char* p = line.c_str() + line.rfind(')') + 1;
    for (int field = 0; field < 6; ++field) {
        while (*p == ' ') ++p;
        while (*p != ' ' && *p != '\0') ++p;
    }
    while (*p == ' ') ++p;
    unsigned long flags = 0;
    std::from_chars(p, line.c_str() + line.size(), flags);
    return (flags & (exiting | io_worker)) == 0;
}

}  // namespace

unsigned count_threads() {
    struct closer {
        void operator()(::DIR* d) const noexcept { ::closedir(d); }
    };
    const std::unique_ptr<::DIR, closer> tasks(::opendir("/proc/self/task"));
    if (!tasks)
        throw std::system_error(errno, std::system_category(),
                                "spawn on process: cannot count threads: open /proc/self/task");
    unsigned count = 0;
    while (const ::dirent* entry = ::readdir(tasks.get()))
        if (entry->d_name[0] != '.' && counts(entry->d_name)) ++count;
    return count;
}

}  // namespace runnel::ipc::detail

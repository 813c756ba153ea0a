// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include <dirent.h>

namespace runnel::test {

/// How many descriptors this process has open.
inline std::size_t open_descriptors() {
    std::size_t count = 0;
    ::DIR* const folder = ::opendir("/proc/self/fd");
    while (const ::dirent* const entry = ::readdir(folder))
        if (entry->d_name[0] != '.') ++count;
    ::closedir(folder);
    return count - 1;  // the folder's own
}

/// What was open at the beginning, to be compared at the end.
class descriptor_count {
public:
    [[nodiscard]] bool unchanged() const { return open_descriptors() == before_; }

private:
    std::size_t before_ = open_descriptors();
};

}  // namespace runnel::test

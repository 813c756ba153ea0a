// SPDX-License-Identifier: MIT
#include <runnel/unique_fd.hpp>

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

#include <runnel/error.hpp>

namespace runnel {

void unique_fd::reset(int number) noexcept {
    const int old = std::exchange(number_, number);
    if (old >= 0 && old != number) {
        const int saved = errno;  // a destructor must not disturb the error being reported
        ::close(old);
        errno = saved;
    }
}

unique_fd unique_fd::duplicate() const {
    const int copy = ::fcntl(number_, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) throw_errno(errno, "duplicate", "descriptor", number_);
    return unique_fd(copy);
}

}  // namespace runnel

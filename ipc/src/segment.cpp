// SPDX-License-Identifier: MIT
#include "segment.hpp"

#include <cerrno>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <runnel/error.hpp>

namespace runnel::ipc::detail {
namespace {
constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
}

unique_fd make_segment(std::span<const std::byte> body) {
    unique_fd segment(::memfd_create("runnel-message", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!segment) throw_errno(errno, "create", "segment");
    // write(2) instead of a mapping: no page faults here.
    while (!body.empty()) {
        const ::ssize_t n = ::write(segment.get(), body.data(), body.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) throw_errno(n < 0 ? errno : ENOSPC, "write", "segment", segment.get());
        body = body.subspan(static_cast<std::size_t>(n));
    }
    if (::fcntl(segment.get(), F_ADD_SEALS, seals) != 0)
        throw_errno(errno, "seal", "segment", segment.get());
    return segment;
}

const char* segment_flaw(int fd, std::uint64_t length) noexcept {
    struct ::stat file{};
    struct ::statfs system{};
    if (::fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return "its segment is not a file";
    // Of files, only those in memory know seals; huge pages could be missing when they are touched.
    if (::fstatfs(fd, &system) != 0 || system.f_type != TMPFS_MAGIC)
        return "its segment is not a memfd";
    const int found = ::fcntl(fd, F_GET_SEALS);
    if (found < 0 || (found & seals) != seals) return "its segment is not sealed";
    if (static_cast<std::uint64_t>(file.st_size) != length)
        return "its segment has another size than it says";
    // A hole would be filled at the reader's expense.
    if (static_cast<std::uint64_t>(file.st_blocks) * 512 < length) return "its segment has holes";
    return nullptr;
}

}  // namespace runnel::ipc::detail

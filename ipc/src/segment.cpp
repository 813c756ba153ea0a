// SPDX-License-Identifier: MIT
#include "segment.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <runnel/error.hpp>

#include "owner.hpp"

namespace runnel::ipc::detail {
namespace {

// What was read before must have been read before somebody writes there again.
void set_released(int fd, bool is) noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags >= 0) ::fcntl(fd, F_SETFL, is ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

bool is_released(int fd) noexcept {
    const int flags = ::fcntl(fd, F_GETFL);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return flags >= 0 && (flags & O_NONBLOCK) != 0;
}

/// Throws std::system_error.
void fill(int fd, std::span<const std::byte> bytes) {
    // The kernel would kill a process that goes beyond its limit for files.
    ::rlimit most{};
    if (::getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur < bytes.size())
        throw_errno(EFBIG, "write", "segment", fd);
    set_released(fd, false);
    ::off_t at = 0;
    while (!bytes.empty()) {
        const ::ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) throw_errno(n < 0 ? errno : ENOSPC, "write", "segment", fd);
        bytes = bytes.subspan(static_cast<std::size_t>(n));
        at += n;
    }
}

constexpr unsigned not_executable = 8;  // MFD_NOEXEC_SEAL, which old headers lack

unique_fd make_file() {
    constexpr const char* name = "runnel-message";
    unique_fd file(::memfd_create(name, MFD_CLOEXEC | not_executable));
    if (file) {
        // That allows seals, and a peer could seal it against its sender.
        if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SEAL) != 0)
            throw_errno(errno, "seal", "segment", file.get());
        return file;
    }
    if (errno == EINVAL) file.reset(::memfd_create(name, MFD_CLOEXEC));  // before Linux 6.3
    if (!file) throw_errno(errno, "create", "segment");
    return file;
}

}  // namespace

segment_loan& segment_loan::operator=(segment_loan&& other) noexcept {
    if (this != &other) {
        sent();
        pool_ = std::exchange(other.pool_, nullptr);
        slot_ = other.slot_;
        file_ = std::move(other.file_);
    }
    return *this;
}

int segment_loan::number() const noexcept {
    return pool_ != nullptr ? pool_->slots_[slot_].file.get() : file_.get();
}

void segment_loan::sent() noexcept {
    file_.reset();
    if (pool_ != nullptr) std::exchange(pool_, nullptr)->settle(slot_, segment_pool::state::out);
}

void segment_loan::not_sent() noexcept {
    file_.reset();
    if (pool_ != nullptr) std::exchange(pool_, nullptr)->settle(slot_, segment_pool::state::free);
}

segment_pool::segment_pool() noexcept : forks_(fork_count()) {}

std::uint64_t segment_pool::kept() const noexcept {
    std::uint64_t sum = 0;
    for (const slot& each : slots_)
        if (each.is == state::free || each.is == state::out) sum += each.size;
    return sum;
}

void segment_pool::clear() noexcept {
    for (slot& each : slots_) {
        if (each.is == state::lent)
            each.drop = true;
        else
            each = {};
    }
}

/// A segment that nobody uses; else a place for a new one, if need be that of the message which has
/// been out for longest: nobody may ever be through with it.
segment_pool::slot* segment_pool::choose() noexcept {
    slot* oldest = nullptr;
    slot* empty = nullptr;
    for (slot& each : slots_) {
        if (each.is == state::free) return &each;
        if (each.is == state::none) empty = &each;
        if (each.is == state::out && (oldest == nullptr || each.order < oldest->order))
            oldest = &each;
    }
    if (oldest != nullptr && is_released(oldest->file.get())) return oldest;
    // A receiver may have died, or be slow, with the oldest.
    for (slot& each : slots_)
        if (each.is == state::out && &each != oldest && is_released(each.file.get())) return &each;
    if (empty != nullptr) return empty;
    if (oldest != nullptr) *oldest = {};
    return oldest;
}

segment_loan segment_pool::put(std::span<const std::byte> bytes, bool reuse) {
    // After a fork without exec there would be two senders with the same segments.
    if (forks_ != fork_count()) {
        clear();
        forks_ = fork_count();
    }
    idle_ = 0;
    slot* in = reuse && bytes.size() <= most_kept ? choose() : nullptr;
    if (in == nullptr) {
        unique_fd file = make_file();
        fill(file.get(), bytes);
        return segment_loan(std::move(file));
    }
    try {
        if (!in->file) in->file = make_file();
        fill(in->file.get(), bytes);
    } catch (...) {
        *in = {};
        throw;
    }
    in->size = std::max<std::uint64_t>(in->size, bytes.size());
    in->is = state::lent;
    return {*this, static_cast<std::size_t>(in - slots_.data())};
}

void segment_pool::settle(std::size_t index, state now) noexcept {
    slot& one = slots_[index];
    one.is = now;
    one.order = ++sent_;
    if (std::exchange(one.drop, false) || kept() > most_kept) one = {};
}

const char* segment_flaw(int fd, std::uint64_t length) noexcept {
    // Even fstat(2) can wait for the server of a foreign file system, which may be the peer.
    if (::fcntl(fd, F_GET_SEALS) < 0) return "its segment is not a memfd";
    struct ::stat file{};
    struct ::statfs system{};
    if (::fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return "its segment is not a file";
    // Files of huge pages have seals as well.
    if (::fstatfs(fd, &system) != 0 || system.f_type != TMPFS_MAGIC)
        return "its segment is not a memfd";
    const auto size = static_cast<std::uint64_t>(file.st_size);
    if (size < length) return "its segment is smaller than it says";
    // Memory is allocated here for what the peer has allocated, not for what it says.
    if (static_cast<std::uint64_t>(file.st_blocks) * 512 < length) return "its segment has holes";
    return nullptr;
}

bool read_segment(int fd, std::span<std::byte> into, std::size_t at) noexcept {
    auto from = static_cast<::off_t>(at);
    while (!into.empty()) {
        const ::ssize_t n = ::pread(fd, into.data(), into.size(), from);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        into = into.subspan(static_cast<std::size_t>(n));
        from += n;
    }
    return true;
}

void release_segment(int fd) noexcept { set_released(fd, true); }

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
#include <runnel/ipc/shared_memory.hpp>

#include <array>
#include <cerrno>
#include <limits>
#include <stdexcept>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <runnel/error.hpp>

#include "owner.hpp"

namespace runnel::ipc {
namespace {

constexpr const char* object = "ipc shared_memory";

::off_t checked_size(std::size_t size) {
    if (size == 0) throw std::invalid_argument("ipc shared_memory: of no bytes");
    if (size > static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max() / 2))
        throw std::invalid_argument("ipc shared_memory: too many bytes");
    return static_cast<::off_t>(size);
}

/// As shm_open wants it.
std::string path_of(std::string_view name) {
    if (name.starts_with('/')) name.remove_prefix(1);
    constexpr std::size_t longest = 254;
    if (name.empty() || name.size() > longest || name.find('/') != name.npos ||
        name.find('\0') != name.npos || name == "." || name == "..")
        throw std::invalid_argument("ipc shared_memory: no name for memory");
    return std::string("/").append(name);
}

std::string random_path() {
    std::array<unsigned char, 4> bytes{};
    if (::getrandom(bytes.data(), bytes.size(), 0) != ::ssize_t{bytes.size()})
        throw_errno(errno, "getrandom", object);
    std::string path = "/psm_";
    for (const unsigned char byte : bytes) {
        path += "0123456789abcdef"[byte >> 4];
        path += "0123456789abcdef"[byte & 15];
    }
    return path;
}

std::size_t size_of(int fd) {
    struct ::stat file{};
    if (::fstat(fd, &file) != 0) throw_errno(errno, "fstat", object);
    return static_cast<std::size_t>(file.st_size);
}

}  // namespace

shared_memory::shared_memory(std::size_t size) {
    const ::off_t length = checked_size(size);
    memory_ = unique_fd(::memfd_create("runnel-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memory_) throw_errno(errno, "memfd_create", object);
    if (::ftruncate(memory_.get(), length) != 0) throw_errno(errno, "ftruncate", object);
    map("create", size);
}

shared_memory shared_memory::create_named(std::string_view name, std::size_t size,
                                          shared_name after) {
    const ::off_t length = checked_size(size);
    const bool any_name = name.empty();
    std::string path = any_name ? random_path() : path_of(name);
    shared_memory made;
    for (;;) {
        made.memory_ = unique_fd(
            ::shm_open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR));
        if (made.memory_) break;
        if (errno != EEXIST || !any_name)
            throw_errno(errno, "create", "ipc shared_memory " + path.substr(1));
        path = random_path();
    }
    made.name_ = path.substr(1);
    made.unlinks_ = true;  // if anything fails now
    made.forks_ = detail::fork_count();
    // Taken at once: a full /dev/shm is an error here, and not a signal later.
    int error = 0;
    do {
        error = ::posix_fallocate(made.memory_.get(), 0, length);
    } while (error == EINTR);
    if (error != 0) throw_errno(error, "create", "ipc shared_memory " + made.name_);
    made.map("create", size);
    made.unlinks_ = after == shared_name::unlink;
    return made;
}

shared_memory shared_memory::open_named(std::string_view name) {
    const std::string path = path_of(name);
    shared_memory opened;
    opened.memory_ = unique_fd(::shm_open(path.c_str(), O_RDWR | O_CLOEXEC, 0));
    opened.name_ = path.substr(1);
    const std::string which = "ipc shared_memory " + opened.name_;
    if (!opened.memory_) throw_errno(errno, "open", which);
    const std::size_t size = size_of(opened.memory_.get());
    if (size == 0) throw_error(errc::protocol, "open", which + ": it is empty");
    opened.map("open", size);
    return opened;
}

void shared_memory::unlink(std::string_view name) {
    const std::string path = path_of(name);
    if (::shm_unlink(path.c_str()) != 0)
        throw_errno(errno, "unlink", "ipc shared_memory " + path.substr(1));
}

shared_memory::~shared_memory() {
    unmap();
    if (unlinks_ && forks_ == detail::fork_count()) ::shm_unlink(("/" + name_).c_str());
}

shared_memory shared_memory::share() const {
    require("share");
    shared_memory other;
    other.memory_ = memory_.duplicate();
    other.frozen_ = frozen_;
    other.name_ = name_;
    other.map("share", size_of(memory_.get()));
    return other;
}

std::span<std::byte> shared_memory::bytes() const {
    require("bytes");
    if (frozen_) throw_errno(EPERM, "bytes", "ipc shared_memory: it is frozen");
    return {at_, size_};
}

void shared_memory::resize(std::size_t size) {
    require("resize");
    if (::ftruncate(memory_.get(), checked_size(size)) != 0) throw_errno(errno, "resize", object);
    map("resize", size);
}

std::size_t shared_memory::refresh() {
    require("refresh");
    const int seals = ::fcntl(memory_.get(), F_GET_SEALS);
    frozen_ = seals >= 0 && (seals & F_SEAL_WRITE) != 0;
    map("refresh", size_of(memory_.get()));
    return size_;
}

void shared_memory::fix_size() {
    require("fix_size");
    if (::fcntl(memory_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
        throw_errno(errno, "fix_size", object);
}

void shared_memory::freeze() {
    require("freeze");
    // One's own mapping is in the way of the seal.
    const std::size_t size = size_;
    unmap();
    const int sealed = ::fcntl(memory_.get(), F_ADD_SEALS,
                               F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    const int error = errno;
    frozen_ = frozen_ || sealed == 0;
    map("freeze", size);
    if (sealed != 0) throw_errno(error, "freeze", object);
}

void shared_memory::swap(shared_memory& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(at_, other.at_);
    std::swap(size_, other.size_);
    std::swap(frozen_, other.frozen_);
    std::swap(unlinks_, other.unlinks_);
    std::swap(forks_, other.forks_);
    std::swap(name_, other.name_);
}

void shared_memory::require(const char* operation) const {
    if (!memory_)
        throw std::invalid_argument(std::string(operation) +
                                    " on ipc shared_memory: it was moved from");
}

void shared_memory::map(const char* operation, std::size_t size) {
    void* const at = ::mmap(nullptr, size, frozen_ ? PROT_READ : PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_NORESERVE, memory_.get(), 0);
    if (at == MAP_FAILED) throw_errno(errno, operation, object);
    unmap();
    at_ = static_cast<std::byte*>(at);
    size_ = size;
}

void shared_memory::unmap() noexcept {
    if (at_ != nullptr) ::munmap(at_, size_);
    at_ = nullptr;
    size_ = 0;
}

void codec<shared_memory>::encode(encoder& out, const shared_memory& m) {
    m.require("encode");
    out.write_handle(m.native_handle());
}

shared_memory codec<shared_memory>::decode(decoder& in) {
    shared_memory came;
    came.memory_ = in.read_handle();
    struct ::stat file{};
    struct ::statfs system{};
    const int fd = came.memory_.get();
    if (!came.memory_ || ::fstat(fd, &file) != 0 || !S_ISREG(file.st_mode) ||
        ::fstatfs(fd, &system) != 0 || system.f_type != TMPFS_MAGIC || file.st_size <= 0)
        throw_error(errc::protocol, "attach", "ipc shared_memory: it is no memory");
    came.refresh();
    return came;
}

}  // namespace runnel::ipc

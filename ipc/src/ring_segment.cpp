// SPDX-License-Identifier: MIT
#include <runnel/ipc/detail/ring_segment.hpp>

#include <bit>
#include <cerrno>
#include <string>
#include <utility>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <runnel/error.hpp>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace runnel::ipc::detail {
namespace {

constexpr std::uint64_t magic = 0x3167657367726e72;  // "rnrgseg1"
constexpr std::uint32_t version = 1;
constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr std::uint64_t largest_ring = std::uint64_t{1} << 31;

struct header {
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t kind;
    std::uint64_t type;
    std::uint64_t ring;
    std::uint64_t limit;
    std::uint32_t step;
    std::uint32_t length;
};

std::string object(const char* name) { return std::string("ipc ") + name; }

[[noreturn]] void refuse(const char* name, const char* why) {
    throw_error(errc::protocol, "attach", object(name) + ": " + why);
}

}  // namespace

ring_segment::ring_segment(const segment_type& what, bool one_writer)
    : type_(what), one_writer_(one_writer) {
    const std::string name = object(what.name);
    memory_ = unique_fd(::memfd_create("runnel", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memory_) throw_errno(errno, "memfd_create", name);
    if (::ftruncate(memory_.get(), static_cast<::off_t>(page_size + what.ring)) != 0)
        throw_errno(errno, "ftruncate", name);
    const header head{magic,     version,    what.kind, what.type,
                      what.ring, what.limit, what.step, what.length};
    if (::pwrite(memory_.get(), &head, sizeof head, 0) != sizeof head)
        throw_errno(errno, "write", name);
    map(access::write);
    if (::fcntl(memory_.get(), F_ADD_SEALS, seals | (one_writer ? F_SEAL_FUTURE_WRITE : 0)) != 0) {
        const int error = errno;
        ring_segment gone;
        swap(gone);
        throw_errno(error, "seal", name);
    }
    // A child made by fork could write it otherwise.
    if (one_writer) ::madvise(at_, page_size + 2 * what.ring, MADV_DONTFORK);
}

ring_segment::ring_segment(unique_fd memory, const segment_type& what, bool has_ring, access how)
    : memory_(std::move(memory)), type_(what) {
    struct ::stat file{};
    struct ::statfs system{};
    if (!memory_ || ::fstat(memory_.get(), &file) != 0 || !S_ISREG(file.st_mode) ||
        ::fstatfs(memory_.get(), &system) != 0 || system.f_type != TMPFS_MAGIC)
        refuse(what.name, "its memory is no memfd");
    const int found = ::fcntl(memory_.get(), F_GET_SEALS);
    if (found < 0 || (found & seals) != seals) refuse(what.name, "its memory is not sealed");
    header head;
    if (::pread(memory_.get(), &head, sizeof head, 0) != sizeof head || head.magic != magic)
        refuse(what.name, "its memory holds no such object");
    if (head.version != version) refuse(what.name, "it was made by another version");
    if (head.kind != what.kind) refuse(what.name, "its memory is another kind of object");
    if (head.type != what.type || head.length != what.length)
        refuse(what.name, "it was made for another type");
    const bool fits =
        has_ring ? std::has_single_bit(head.ring) && head.ring >= page_size &&
                       head.ring <= largest_ring && head.limit <= head.ring &&
                       std::has_single_bit(head.step) && head.step >= 8 && head.step <= page_size &&
                       head.limit % head.step == 0 && head.limit >= 2 * std::uint64_t{head.step} &&
                       (what.step == 0 || (head.step == what.step &&
                                           head.length + std::uint64_t{head.step} <= head.limit))
                 : head.ring == 0;
    if (!fits || static_cast<std::uint64_t>(file.st_size) != page_size + head.ring)
        refuse(what.name, "it has another size than it says");
    type_.ring = head.ring;
    type_.limit = head.limit;
    type_.step = head.step;
    map(how);
}

void ring_segment::map(access how) {
    static_assert(header_size >= sizeof(header) && header_size % alignof(side_words) == 0);
    static_assert(header_size + sizeof(side_words) <= page_size);
    const std::string name = object(type_.name);
    if (static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) != page_size)
        throw_errno(ENOSYS, "lay out the memory of", name);
    const std::size_t length = page_size + 2 * type_.ring;
    void* at =
        ::mmap(nullptr, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw_errno(errno, "mmap", name);
    at_ = static_cast<std::byte*>(at);
    const int allowed = how == access::write ? PROT_READ | PROT_WRITE : PROT_READ;
    const auto place = [&](std::byte* where, std::size_t size) {
        return ::mmap(where, size, allowed, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, memory_.get(),
                      where == at_ ? 0 : static_cast<::off_t>(page_size)) != MAP_FAILED;
    };
    bool fine = place(at_, page_size);
    if (type_.ring != 0)
        fine = fine && place(ring(), type_.ring) && place(ring() + type_.ring, type_.ring);
    if (!fine) {
        const int error = errno;
        ::munmap(at_, length);
        at_ = nullptr;
        throw_errno(error, "mmap", name);
    }
}

unique_fd ring_segment::read_only() const {
    const std::string path = "/proc/self/fd/" + std::to_string(memory_.get());
    unique_fd again(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!again) throw_errno(errno, "open", object(type_.name));
    return again;
}

void ring_segment::swap(ring_segment& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(type_, other.type_);
    std::swap(at_, other.at_);
    std::swap(one_writer_, other.one_writer_);
}

ring_segment::~ring_segment() {
    if (at_ != nullptr) ::munmap(at_, page_size + 2 * type_.ring);
}

}  // namespace runnel::ipc::detail

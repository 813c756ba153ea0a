// SPDX-License-Identifier: MIT
#include <runnel/ipc/detail/object_memory.hpp>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <runnel/error.hpp>

namespace runnel::ipc::detail {
namespace {

constexpr std::uint64_t magic = 0x316a626f6c6e6e72;  // "rnnlobj1"
constexpr std::uint32_t version = 2;
constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

struct header {
    std::atomic<std::uint64_t> magic;  // last to be written
    std::uint32_t version;
    std::uint32_t kind;
    std::uint64_t type;
    std::uint64_t body;
    std::uint32_t guarded;
    std::uint32_t abi;  // where locks and their nodes are
};
static_assert(sizeof(header) <= object_memory::header_size);

std::uint32_t abi() {
    return static_cast<std::uint32_t>(robust_lock::node_distance() << 8 | sizeof(void*));
}

[[noreturn]] void refuse(const char* name, const std::string& why) {
    throw_error(errc::protocol, "attach", std::string("ipc ") + name + ": " + why);
}

std::size_t whole_pages(std::size_t size) {
    constexpr std::size_t page = object_memory::page_size;
    return (size + page - 1) / page * page;
}

}  // namespace

object_memory::object_memory(const object_type& what)
    : guarded_(what.guarded), body_(whole_pages(what.body)) {
    const std::string object = std::string("ipc ") + what.name;
    memory_ = unique_fd(::memfd_create("runnel", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memory_) throw_errno(errno, "memfd_create", object);
    if (::ftruncate(memory_.get(), static_cast<::off_t>(guarded_ * page_size + body_)) != 0)
        throw_errno(errno, "ftruncate", object);
    if (::fcntl(memory_.get(), F_ADD_SEALS, seals) != 0) throw_errno(errno, "seal", object);
    map(what);
    auto& head = *reinterpret_cast<header*>(at_);
    head.version = version;
    head.kind = what.kind;
    head.type = what.type;
    head.body = body_;
    head.guarded = what.guarded;
    head.abi = abi();
}

void object_memory::publish() noexcept {
    reinterpret_cast<header*>(at_)->magic.store(magic, std::memory_order_release);
}

object_memory::object_memory(unique_fd memory, const object_type& what)
    : memory_(std::move(memory)), guarded_(what.guarded) {
    struct ::stat file{};
    struct ::statfs system{};
    if (!memory_ || ::fstat(memory_.get(), &file) != 0 || !S_ISREG(file.st_mode) ||
        ::fstatfs(memory_.get(), &system) != 0 || system.f_type != TMPFS_MAGIC)
        refuse(what.name, "its memory is no memfd");
    const int found = ::fcntl(memory_.get(), F_GET_SEALS);
    if (found < 0 || (found & seals) != seals) refuse(what.name, "its memory is not sealed");
    const auto size = static_cast<std::uint64_t>(file.st_size);
    header head;
    static_assert(std::is_trivially_destructible_v<header>);
    if (size < guarded_ * page_size ||
        ::pread(memory_.get(), static_cast<void*>(&head), sizeof head, 0) != sizeof head)
        refuse(what.name, "its memory is too small");
    if (head.magic.load() != magic) refuse(what.name, "its memory holds no object");
    if (head.version != version || head.abi != abi())
        refuse(what.name, "it was made by another version");
    if (head.kind != what.kind || head.guarded != guarded_)
        refuse(what.name, "its memory is another kind of object");
    if (head.type != what.type) refuse(what.name, "it was made for another type");
    if (head.body != size - guarded_ * page_size ||
        (what.body != 0 && head.body != whole_pages(what.body)))
        refuse(what.name, "it has another size than it says");
    body_ = head.body;
    map(what);
}

void object_memory::map(const object_type& what) {
    const std::string object = std::string("ipc ") + what.name;
    const std::size_t distance = robust_lock::node_distance();
    if (distance < lock_from_end || distance > page_size ||
        static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) != page_size)
        throw_errno(ENOSYS, "lay out the memory of", object);
    mapped_ = 2 * guarded_ * page_size + (what.mirrored ? 2 : 1) * body_;
    void* at = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw_errno(errno, "mmap", object);
    at_ = static_cast<std::byte*>(at);
    const auto place = [&](std::byte* where, std::size_t size, std::size_t offset) {
        return size == 0 ||
               ::mmap(where, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
                      memory_.get(), static_cast<::off_t>(offset)) != MAP_FAILED;
    };
    bool fine = place(body(), body_, body_offset());
    if (what.mirrored) fine = fine && place(body() + body_, body_, body_offset());
    for (std::size_t i = 0; i < guarded_; ++i)
        fine = fine && place(page(i), page_size, i * page_size);
    if (!fine) {
        const int error = errno;
        ::munmap(at_, mapped_);
        at_ = nullptr;
        throw_errno(error, "mmap", object);
    }
}

void object_memory::swap(object_memory& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(at_, other.at_);
    std::swap(guarded_, other.guarded_);
    std::swap(body_, other.body_);
    std::swap(mapped_, other.mapped_);
}

object_memory::~object_memory() {
    if (at_ != nullptr) ::munmap(at_, mapped_);
}

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
#include "life_mark.hpp"

#include <cerrno>
#include <utility>

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <runnel/error.hpp>
#include <runnel/ipc/detail/robust_lock.hpp>

#include "owner.hpp"

// The list is glibc's own, of this thread: each element has the one before it in front of the link
// to the next, the head too, and the lowest bit of a link says that its mutex inherits priority.
// Robust mutexes that are locked after the mark, or unlocked, change its node as one of theirs.

namespace runnel::ipc::detail {
namespace {

::robust_list_head* own_list() noexcept {
    ::robust_list_head* head = nullptr;
    std::size_t size = 0;
    ::syscall(SYS_get_robust_list, 0, &head, &size);
    return head;
}

/// The order in which this thread dies, if it does: the compiler keeps to it.
void fence() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }

void** link_of(void* of) noexcept {
    return reinterpret_cast<void**>(reinterpret_cast<std::uintptr_t>(of) & ~std::uintptr_t{1});
}
void*& next(void* of) noexcept { return *link_of(of); }
void*& previous(void* of) noexcept { return *(link_of(of) - 1); }

/// The memory behind the word's page, which is private.
constexpr std::size_t mapped = 2 * life_mark::page_size;

}  // namespace

std::uint32_t life_mark::holder_of(const word& of) noexcept {
    const std::uint32_t seen = of.load(std::memory_order_acquire);
    return (seen & FUTEX_OWNER_DIED) != 0 ? 0 : seen & FUTEX_TID_MASK;
}
bool life_mark::dead(const word& of) noexcept {
    return (of.load(std::memory_order_acquire) & FUTEX_OWNER_DIED) != 0;
}

life_mark::got life_mark::take(int memory, std::size_t offset) {
    // Elsewhere glibc's list of robust mutexes is linked one way only.
    static_assert(sizeof(::robust_list) == sizeof(void*) && sizeof(void*) == 8);
    const std::size_t distance = robust_lock::node_distance();
    if (distance < page_size - at + sizeof(void*) || distance > page_size / 2)
        throw_errno(ENOSYS, "mark", "ipc object");
    void* both = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (both == MAP_FAILED) throw_errno(errno, "mmap", "ipc object");
    if (::mmap(both, page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory,
               static_cast<::off_t>(offset)) == MAP_FAILED) {
        const int error = errno;
        ::munmap(both, mapped);
        throw_errno(error, "mmap", "ipc object");
    }
    page_ = static_cast<std::byte*>(both);
    auto* link = reinterpret_cast<::robust_list*>(page_ + at + distance);
    ::robust_list_head* head = own_list();
    thread_ = own_tid();
    forks_ = fork_count();

    std::uint32_t seen = here().load(std::memory_order_relaxed);
    const bool is_free = (seen & FUTEX_TID_MASK) == 0 || (seen & FUTEX_OWNER_DIED) != 0;
    head->list_op_pending = link;
    fence();
    const bool taken = is_free && here().compare_exchange_strong(seen, thread_);
    if (taken) {
        void* first = head->list.next;
        next(link) = first;
        previous(link) = &head->list;
        previous(first) = link;
        fence();
        head->list.next = link;
    }
    fence();
    head->list_op_pending = nullptr;
    if (taken) return (seen & FUTEX_OWNER_DIED) != 0 ? got::from_the_dead : got::yes;
    ::munmap(std::exchange(page_, nullptr), mapped);
    return got::no;
}

void life_mark::give_up(bool dead) noexcept {
    if (page_ == nullptr) return;
    std::byte* page = page_;
    auto* link = reinterpret_cast<::robust_list*>(page + at + robust_lock::node_distance());
    const bool forked = forks_ != fork_count();  // this is a copy, and the list is empty
    if (!forked && thread_ != own_tid()) {
        page_ = nullptr;  // it stays mapped: the list of another thread leads there
        return;
    }
    if (!forked) {
        ::robust_list_head* head = own_list();
        head->list_op_pending = link;
        fence();
        previous(next(link)) = previous(link);
        next(previous(link)) = next(link);
        fence();
        std::uint32_t mine = here().load();
        const std::uint32_t left = dead ? FUTEX_OWNER_DIED : 0;
        while ((mine & FUTEX_TID_MASK) == thread_ && !here().compare_exchange_weak(mine, left)) {
        }
        fence();
        head->list_op_pending = nullptr;
    }
    page_ = nullptr;
    ::munmap(page, mapped);
}

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
#include <runnel/ipc/detail/mutex_state.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <runnel/as_result.hpp>
#include <runnel/error.hpp>
#include <runnel/fork.hpp>
#include <runnel/io.hpp>
#include <runnel/race.hpp>

#include "owner.hpp"

// The mutex is a robust pthread mutex in shared memory, taken with trylock by the thread of a loop
// for one of its tasks. A task never changes its thread, so the thread's ownership can last across
// awaits, and when the thread dies the kernel marks the mutex.
//
// Nobody waits on the mutex itself: a mark wakes one waiter only, who may die as well. A waiter
// waits for whom it has seen own the mutex: for the release by that owner, or its death.
//   waiter: seen = released; ++waits; trylock fails; owner's pidfd; owner still the same;
//           wait until released != seen or the pidfd is readable; look again
//   owner:  unlock; n = waits; ++released; if woken != n: wake all, then woken = n
// An owner does not rely on others, who may have taken the mutex since and died with it: whoever
// watches him has counted before he looks at `waits`, and is found woken, or is woken by him, or by
// his death. `woken` says what is done, never what is about to be done, so that no death on the way
// takes a wake-up along. It may fall behind (two who release store in the wrong order, waiters
// die); one needless call to the kernel mends that.
//
// Where the kernel has no futex operation for rings (before 6.7), bells are rung instead. A bell is
// a pipe whose only writing end its maker leaves, before it counts, in the register, a queue of
// descriptors in the kernel. Receiving it without taking the descriptor closes that end, in the
// same call, and this is the ringing: nobody can die between the one and the other, and no room for
// descriptors is needed. Hence anybody may ring, at any time; that is no more than a needless look.

namespace runnel::ipc::detail {

struct mutex_segment {
    std::uint64_t magic;  // last to be written; it stands for this layout
    std::uint32_t registered;
    std::atomic<std::uint32_t> released;
    std::atomic<std::uint32_t> waits;  // begun so far
    std::atomic<std::uint32_t> woken;  // those of them that have been woken
    std::atomic<std::uint64_t> task;   // of the owner
    ::pthread_mutex_t lock;
};

namespace {

constexpr std::uint64_t magic =
    0x72756e6e6c6d7432 ^ sizeof(::pthread_mutex_t) ^ (std::uint64_t{__GLIBC__} << 56);
// Without the version and what the C library makes of it.
constexpr std::uint64_t magic_of_all = 0x00ffffffffffff00;
static_assert(sizeof(::pthread_mutex_t) < 256);
constexpr const char* object = "ipc mutex";

[[noreturn]] void refuse(const char* why) {
    throw_error(errc::protocol, "attach", std::string(object) + ": " + why);
}

static_assert(std::atomic<std::uint32_t>::is_always_lock_free &&
              std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

void wake_all(std::atomic<std::uint32_t>& word) noexcept {
    ::syscall(SYS_futex, &word, FUTEX_WAKE, 0x7fffffff, nullptr, nullptr, 0);
}

}  // namespace

/// Whom a waiter waits for.
struct mutex_state::owner_watch {
    bool changed = false;  // there is no owner, or another one already
    unique_fd pidfd;       // empty: one that cannot be watched, or needs no watching
};

mutex_state::mutex_state()
    : memory_(::memfd_create("runnel-mutex", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
    if (!memory_) throw_errno(errno, "memfd_create", object);
    if (::ftruncate(memory_.get(), sizeof(mutex_segment)) != 0)
        throw_errno(errno, "ftruncate", object);
    if (::fcntl(memory_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        throw_errno(errno, "seal", object);
    const bool registered = !io::has_futex_wait();
    if (registered) {
        std::array<int, 2> ends{};
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
            throw_errno(errno, "socketpair", object);
        register_out_.reset(ends[0]);
        register_in_.reset(ends[1]);
    }
    map();
    ::pthread_mutexattr_t how;
    ::pthread_mutexattr_init(&how);
    ::pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
    ::pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
    ::pthread_mutex_init(&shared_->lock, &how);
    ::pthread_mutexattr_destroy(&how);
    shared_->registered = registered;
    shared_->magic = magic;
}

mutex_state::mutex_state(unique_fd memory, unique_fd register_out, unique_fd register_in)
    : memory_(std::move(memory)),
      register_out_(std::move(register_out)),
      register_in_(std::move(register_in)) {
    struct ::stat about{};
    const int seals = ::fcntl(memory_.get(), F_GET_SEALS);
    if (::fstat(memory_.get(), &about) != 0 || !S_ISREG(about.st_mode) || seals < 0)
        refuse("its memory is no memfd");
    if ((seals & F_SEAL_SHRINK) == 0) refuse("its memory is not sealed");
    // Before the size, which may be another one in another version.
    std::uint64_t found = 0;
    if (::pread(memory_.get(), &found, sizeof found, 0) != sizeof found ||
        ((found ^ magic) & magic_of_all) != 0)
        refuse("its memory holds no mutex");
    if (found != magic) refuse("it was made by another version, or with another C library");
    if (about.st_size != sizeof(mutex_segment)) refuse("its memory has another size");
    map();
    if ((shared_->registered != 0) != bool(register_in_) ||
        bool(register_in_) != bool(register_out_)) {
        ::munmap(shared_, sizeof(mutex_segment));
        refuse("it came with another register than it was made with");
    }
}

mutex_state::~mutex_state() {
    if (shared_ != nullptr) ::munmap(shared_, sizeof(mutex_segment));
}

void mutex_state::map() {
    void* at = ::mmap(nullptr, sizeof(mutex_segment), PROT_READ | PROT_WRITE, MAP_SHARED,
                      memory_.get(), 0);
    if (at == MAP_FAILED) throw_errno(errno, "mmap", object);
    shared_ = static_cast<mutex_segment*>(at);
}

mutex_state::taken mutex_state::try_take(std::uint64_t for_task) {
    if (in_virtual_time())
        throw std::logic_error("lock on ipc mutex: refused on a loop with virtual time");
    taken how = taken::yes;
    switch (const int error = ::pthread_mutex_trylock(&shared_->lock)) {
        case 0: break;
        case EOWNERDEAD:
            ::pthread_mutex_consistent(&shared_->lock);
            how = taken::from_the_dead;
            break;
        case EBUSY:
            if (for_task != 0 && (word_of(shared_->lock) & FUTEX_TID_MASK) == own_tid() &&
                shared_->task.load(std::memory_order_relaxed) == for_task)
                throw_error(std::make_error_code(std::errc::resource_deadlock_would_occur), "lock",
                            object);
            return taken::no;
        default: throw_errno(error, "lock", object);
    }
    shared_->task.store(for_task, std::memory_order_relaxed);
    return how;
}

std::uint64_t mutex_state::owner() const noexcept {
    return shared_->task.load(std::memory_order_relaxed);
}

held_mutex mutex_state::take(const std::shared_ptr<mutex_state>& self, std::uint64_t for_task) {
    const taken how = self->try_take(for_task);
    if (how == taken::no) return {};
    return held_mutex(self, how == taken::from_the_dead, fork_count());
}

void mutex_state::unlock(unsigned forks) noexcept {
    if (forks != fork_count()) return;  // the guard is a copy of the parent's, who unlocks his
    if ((word_of(shared_->lock) & FUTEX_TID_MASK) != own_tid()) {
        std::fprintf(stderr,
                     "runnel: fatal: a guard of an ipc mutex was dropped on another thread than "
                     "locked it\n");
        std::abort();
    }
    shared_->task.store(0, std::memory_order_relaxed);
    ::pthread_mutex_unlock(&shared_->lock);
    // Not a mere load: ordered with the increments of those who have seen the mutex held. Before
    // `released`, so that all who are counted have seen an older one and do not sleep through it.
    const std::uint32_t waits = shared_->waits.fetch_add(0);
    shared_->released.fetch_add(1);
    if (shared_->woken.load() == waits) return;
    if (shared_->registered != 0)
        ring_all();
    else
        wake_all(shared_->released);
    shared_->woken.store(waits);
}

mutex_state::owner_watch mutex_state::watch_owner() const {
    owner_watch watch;
    const std::uint32_t word = word_of(shared_->lock);
    const std::uint32_t tid = word & FUTEX_TID_MASK;
    if (tid == 0 || (word & FUTEX_OWNER_DIED) != 0) {
        watch.changed = true;
        return watch;
    }
    if (tid == own_tid()) return watch;  // another task of this loop
    watch.pidfd = open_pidfd(tid);
    const int error = errno;
    watch.changed = word_of(shared_->lock) != word;
    // A thread id that means nothing here is one of another pid namespace: its release is seen, its
    // death is not.
    if (!watch.pidfd && !watch.changed && error != ESRCH)
        throw_errno(error, "watch the owner", object);
    return watch;
}

std::shared_ptr<const unique_fd> mutex_state::bell() {
    const std::lock_guard alone(bell_lock_);
    if (bell_) {
        ::pollfd rung{bell_->get(), POLLIN, 0};
        if (::poll(&rung, 1, 0) == 0) return bell_;
    }
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno(errno, "wait", object);
    const unique_fd writing(ends[1]);
    auto made = std::make_shared<const unique_fd>(ends[0]);
    char byte = 'b';
    ::iovec part{&byte, 1};
    const int number = writing.get();
    alignas(::cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof number)> control{};
    ::msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ::cmsghdr* first = CMSG_FIRSTHDR(&message);
    first->cmsg_level = SOL_SOCKET;
    first->cmsg_type = SCM_RIGHTS;
    first->cmsg_len = CMSG_LEN(sizeof number);
    std::memcpy(CMSG_DATA(first), &number, sizeof number);
    for (bool full = false;
         ::sendmsg(register_in_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0; full = true) {
        if (full || (errno != EAGAIN && errno != ETOOMANYREFS)) throw_errno(errno, "wait", object);
        ring_all();  // it is full, of bells of the dead more likely than not
    }
    return bell_ = std::move(made);
}

void mutex_state::ring_all() noexcept {
    char byte;
    ::ssize_t n;
    do {
        n = ::recv(register_out_.get(), &byte, 1, MSG_DONTWAIT);
    } while (n > 0 || (n < 0 && errno == EINTR));
}

task<held_mutex> mutex_state::wait(std::shared_ptr<mutex_state> self, std::uint64_t for_task) {
    mutex_segment& shared = *self->shared_;
    for (;;) {
        const std::uint32_t seen = shared.released.load();
        std::shared_ptr<const unique_fd> bell;
        if (shared.registered != 0) bell = self->bell();
        shared.waits.fetch_add(1);
        held_mutex held = take(self, for_task);
        if (held) co_return held;
        const owner_watch owner = self->watch_owner();
        if (owner.changed) continue;

        const auto& word = reinterpret_cast<const std::uint32_t&>(shared.released);
        auto futex = as_result(io::futex_wait(word, seen).on(object));
        auto rung = as_result(io::poll(bell ? bell->get() : -1, POLLIN));
        auto died = as_result(io::poll(owner.pidfd.get(), POLLIN));
        std::error_code error;
        if (shared.registered == 0 && owner.pidfd) {
            auto ends = co_await race(futex, died);
            if (auto& end = std::get<0>(ends)) error = end->error();
        } else if (shared.registered == 0) {
            auto end = co_await futex;
            error = end.error();
        } else if (owner.pidfd) {
            auto ends = co_await race(rung, died);
            if (auto& end = std::get<0>(ends)) error = end->error();
        } else {
            auto end = co_await rung;
            error = end.error();
        }
        // EAGAIN: the word has changed before the wait began.
        if (error && error != std::errc::resource_unavailable_try_again &&
            error != std::errc::interrupted)
            throw_error(error, "wait", object);
    }
}

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
// The only file that speaks to io_uring. liburing sets the ring up; entries are filled and the ring
// is entered here, since one call has to submit, wait and carry the deadline.
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include <liburing.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend.hpp"
#include "diagnosis.hpp"
#include "kernel.hpp"
#include "spin.hpp"

namespace runnel::detail {
namespace {

/// What of the newer operations this kernel has.
struct kernel_features {
    bool futex = false;
    bool waitid = false;
};

class uring_backend final : public backend {
public:
    uring_backend(completion_sink& sink, unsigned entries);
    ~uring_backend() override;

    int try_now(const io_request& request) noexcept override {
        ++counts.direct_calls;
        return call_now(request);
    }
    void submit(io_op& op) noexcept override;
    void cancel(io_op& op) noexcept override;
    void flush() noexcept override;
    void poll() noexcept override;
    void wait(time_point until, sleeper& who) noexcept override;
    bool pending() const noexcept override;
    bool supports(io_code code) const noexcept override;
    void enable() override;
    void notify(int event_fd) override;

private:
    // Where an answer goes. The generation is part of user_data, so that an answer to an earlier
    // user of the slot is recognised.
    struct slot {
        io_op* op = nullptr;
        std::uint32_t generation = 0;
        std::uint32_t next_free = 0;
    };

    // What the kernel has taken is known from what it returned, so its head is not looked at.
    [[nodiscard]] bool full() const noexcept { return unsubmitted() == ring_.sq.ring_entries; }
    io_uring_sqe& entry() noexcept {
        return ring_.sq.sqes[ring_.sq.sqe_tail++ & ring_.sq.ring_mask];
    }
    void make_room() noexcept;
    [[gnu::noinline]] void submit_after_making_room(io_op& op) noexcept;
    static void prepare(io_uring_sqe& sqe, const io_request& request, std::uint64_t data) noexcept;
    [[nodiscard]] unsigned unsubmitted() const noexcept { return ring_.sq.sqe_tail - submitted_; }
    [[nodiscard]] unsigned available() const noexcept {
        return __atomic_load_n(ring_.cq.ktail, __ATOMIC_ACQUIRE) - *ring_.cq.khead;
    }
    [[nodiscard]] bool kernel_has_work() const noexcept {
        return (__atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED) &
                (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
    }
    [[nodiscard]] bool something() const noexcept { return available() != 0 || kernel_has_work(); }
    [[gnu::noinline]] void wait_longer(time_point until, sleeper& who) noexcept;
    int enter(unsigned wait_for, unsigned flags, time_point until) noexcept;
    bool reap() noexcept;
    void stash() noexcept;
    void deliver(std::uint64_t data, int result) noexcept;

    completion_sink& sink_;
    io_uring ring_{};
    unsigned submitted_ = 0;
    int enter_fd_ = -1;
    unsigned enter_flags_ = 0;
    bool deferred_ = false;
    kernel_features features_;
    std::vector<slot> slots_;
    std::uint32_t free_ = 0;  // index + 1 of the first free slot
    std::vector<std::pair<std::uint64_t, int>> stashed_;
    spin_policy spin_;
};

constexpr std::uint64_t ignored_answer = 0;

/// The ring cannot be entered at all: its descriptor was closed by somebody, or this is not its
/// thread. Nothing in flight can ever end.
[[noreturn, gnu::cold]] void abort_unusable(int error) noexcept {
    std::fprintf(stderr, "runnel: fatal: enter on ring: %s\n", std::strerror(-error));
    std::abort();
}

std::atomic<int> futex_known{-1};  // what the kernel said, once somebody has asked

kernel_features probe(io_uring& ring) noexcept {
    kernel_features found;
    if (io_uring_probe* answer = io_uring_get_probe_ring(&ring)) {
        const auto has = [&](unsigned op) {
            return op <= answer->last_op && op < answer->ops_len &&
                   (answer->ops[op].flags & IO_URING_OP_SUPPORTED) != 0;
        };
        found.futex = has(kernel::op_futex_wait) && has(kernel::op_futex_wake);
        found.waitid = has(kernel::op_waitid);
        futex_known.store(found.futex, std::memory_order_relaxed);
        io_uring_free_probe(answer);
    }
    found.futex &= !feature_disabled("futex");
    found.waitid &= !feature_disabled("waitid");
    return found;
}

uring_backend::uring_backend(completion_sink& sink, unsigned entries) : sink_(sink) {
    // Wanted flags, given up one by one where the kernel is older than they are.
    unsigned wanted = IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE |
                      IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER |
                      IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    if (feature_disabled("defer_taskrun"))
        wanted ^= IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN;
    for (;;) {
        io_uring_params params{};
        params.flags = wanted;
        params.cq_entries = entries < 16 ? 2 * entries : 16 * entries;
        const int error = io_uring_queue_init_params(entries, &ring_, &params);
        if (error == 0) break;
        if (error == -EINVAL && (wanted & IORING_SETUP_DEFER_TASKRUN)) {
            wanted ^= IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN;
        } else if (error == -ENOMEM && entries > 8) {
            entries /= 2;  // RLIMIT_MEMLOCK
        } else {
            throw_no_io_uring(-error);
        }
    }
    deferred_ = (wanted & IORING_SETUP_DEFER_TASKRUN) != 0;
    // A child that kept the mappings would keep a dead parent's operations alive.
    ::madvise(ring_.sq.ring_ptr, ring_.sq.ring_sz, MADV_DONTFORK);
    if (ring_.cq.ring_ptr != ring_.sq.ring_ptr)
        ::madvise(ring_.cq.ring_ptr, ring_.cq.ring_sz, MADV_DONTFORK);
    ::madvise(ring_.sq.sqes, *ring_.sq.kring_entries * sizeof(io_uring_sqe), MADV_DONTFORK);
    // The index array is the identity for ever, so that a submission is one store of the tail. From
    // liburing 2.6 on there is none where the kernel can do without.
    if (ring_.sq.array != nullptr)
        for (unsigned i = 0; i < ring_.sq.ring_entries; ++i) ring_.sq.array[i] = i;
    if ((ring_.features & kernel::feature_no_iowait) != 0) enter_flags_ |= kernel::enter_no_iowait;
    slots_.reserve(64);
    features_ = probe(ring_);
}

uring_backend::~uring_backend() {
    if ((enter_flags_ & IORING_ENTER_REGISTERED_RING) != 0) {
        // Another thread than the ring's is refused; that one's end takes it back.
        io_uring_rsrc_update mine{};
        mine.offset = static_cast<unsigned>(enter_fd_);
        ::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_UNREGISTER_RING_FDS, &mine, 1);
    }
    io_uring_queue_exit(&ring_);
}

bool uring_backend::supports(io_code code) const noexcept {
    switch (code) {
        case io_code::futex_wait:
        case io_code::futex_wake: return features_.futex;
        case io_code::waitid: return features_.waitid;
        default: return true;
    }
}

void uring_backend::enable() {
    // The shared liburing 2.3 exports no wrapper for it.
    if (::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) <
        0)
        throw std::system_error(errno, std::system_category(), "enable on ring");
    enter_fd_ = ring_.ring_fd;
    // Not liburing's: its newer versions take the registration back by the index alone, which is
    // another ring's where the loop is destroyed on another thread.
    io_uring_rsrc_update mine{};
    mine.offset = -1U;
    mine.data = static_cast<unsigned>(ring_.ring_fd);
    if (::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_RING_FDS, &mine, 1) == 1) {
        enter_fd_ = static_cast<int>(mine.offset);
        enter_flags_ |= IORING_ENTER_REGISTERED_RING;
    }
}

void uring_backend::notify(int event_fd) {
    io_uring_unregister_eventfd(&ring_);  // fails if there is none
    const int error = io_uring_register_eventfd(&ring_, event_fd);
    if (error < 0) throw std::system_error(-error, std::system_category(), "notify on ring");
}

// The operations in the order of io_code.
constexpr std::uint8_t opcodes[] = {
    IORING_OP_NOP,     IORING_OP_READ,     IORING_OP_WRITE,       IORING_OP_RECV,
    IORING_OP_SEND,    IORING_OP_RECVMSG,  IORING_OP_SENDMSG,     IORING_OP_ACCEPT,
    IORING_OP_CONNECT, IORING_OP_POLL_ADD, kernel::op_futex_wait, kernel::op_futex_wake,
    kernel::op_waitid, IORING_OP_FSYNC};

inline void uring_backend::prepare(io_uring_sqe& sqe, const io_request& request,
                                   std::uint64_t data) noexcept {
    sqe.opcode = opcodes[static_cast<unsigned>(request.code)];
    sqe.flags = request.apart ? IOSQE_ASYNC : 0;
    sqe.ioprio = 0;
    sqe.fd = request.fd;
    sqe.off = request.offset;
    sqe.addr = request.address;
    sqe.len = request.length;
    sqe.rw_flags = static_cast<int>(request.flags);
    sqe.user_data = data;
    sqe.buf_index = 0;
    sqe.personality = 0;
    sqe.file_index = 0;
    sqe.addr3 = request.extra;
    sqe.__pad2[0] = 0;
    // Those whose arguments stand elsewhere.
    switch (request.code) {
        case io_code::recvmsg:
        case io_code::sendmsg: sqe.len = 1; break;
        case io_code::accept:
            sqe.off = request.extra;
            sqe.addr3 = 0;
            break;
        case io_code::connect:
            sqe.off = request.length;
            sqe.len = 0;
            break;
        case io_code::futex_wait:
        case io_code::futex_wake: sqe.fd = kernel::futex2_size_u32; break;
        case io_code::waitid:
            sqe.len = P_PIDFD;
            sqe.file_index = request.flags;
            sqe.rw_flags = 0;
            sqe.addr = 0;
            sqe.off = request.address;
            break;
        default: break;
    }
}

void uring_backend::submit_after_making_room(io_op& op) noexcept {
    if (free_ == 0) {
        slots_.emplace_back();
        free_ = static_cast<std::uint32_t>(slots_.size());
    }
    make_room();
    submit(op);
}

void uring_backend::submit(io_op& op) noexcept {
    if (free_ == 0 || full()) [[unlikely]]
        return submit_after_making_room(op);
    const std::uint32_t index = free_;
    slot& mine = slots_[index - 1];
    free_ = mine.next_free;
    mine.op = &op;
    op.slot = index;
    prepare(entry(), op.request(), (std::uint64_t(mine.generation) << 32) | index);
    ++counts.submissions;
    ++counts.in_flight;
}

void uring_backend::cancel(io_op& op) noexcept {
    make_room();
    io_uring_sqe& sqe = entry();
    std::memset(&sqe, 0, sizeof sqe);
    sqe.opcode = IORING_OP_ASYNC_CANCEL;
    sqe.fd = -1;
    sqe.addr = (std::uint64_t(slots_[op.slot - 1].generation) << 32) | op.slot;
    sqe.user_data = ignored_answer;
    ++counts.submissions;
}

[[gnu::always_inline]] inline int uring_backend::enter(unsigned wait_for, unsigned flags,
                                                       time_point until) noexcept {
    const unsigned count = unsubmitted();
    if (count != 0) __atomic_store_n(ring_.sq.ktail, ring_.sq.sqe_tail, __ATOMIC_RELEASE);
    flags |= enter_flags_;
    __kernel_timespec span{};
    io_uring_getevents_arg argument{};
    void* extra = nullptr;
    std::size_t extra_size = 0;
    if (wait_for != 0 && until != time_point::max()) {
        auto left = until - clock::now();
        if (left < left.zero()) left = left.zero();
        span.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(left).count();
        span.tv_nsec = (left - std::chrono::seconds(span.tv_sec)).count();
        argument.ts = reinterpret_cast<std::uintptr_t>(&span);
        flags |= IORING_ENTER_EXT_ARG;
        extra = &argument;
        extra_size = sizeof argument;
    }
    ++counts.enters;
    const long done = kernel::enter(enter_fd_, count, wait_for, flags, extra, extra_size);
    if (done > 0) {
        submitted_ += static_cast<unsigned>(done);
        return 0;
    }
    if (done < 0 && done != -EINTR && done != -EBUSY && done != -EAGAIN && done != -ETIME)
        [[unlikely]]
        abort_unusable(static_cast<int>(done));
    return static_cast<int>(done);
}

[[gnu::always_inline]] inline void uring_backend::deliver(std::uint64_t data, int result) noexcept {
    ++counts.completions;
    const auto index = static_cast<std::uint32_t>(data);
    if (index == ignored_answer || index > slots_.size()) return;
    slot& from = slots_[index - 1];
    if (from.generation != data >> 32 || from.op == nullptr) return;
    io_op& op = *from.op;
    from.op = nullptr;
    ++from.generation;
    from.next_free = free_;
    free_ = index;
    --counts.in_flight;
    sink_.completed(op, result);
}

[[gnu::always_inline]] inline bool uring_backend::reap() noexcept {
    bool any = false;
    if (!stashed_.empty()) [[unlikely]] {
        any = true;
        const auto answers = std::exchange(stashed_, {});
        for (const auto& [data, result] : answers) deliver(data, result);
    }
    unsigned head = *ring_.cq.khead;
    // What completes while answers are given out waits for the next turn.
    const unsigned end = __atomic_load_n(ring_.cq.ktail, __ATOMIC_ACQUIRE);
    if (head == end) return any;
    const unsigned mask = *ring_.cq.kring_mask;
    // Giving out may stash what is left, which moves the head.
    while (static_cast<int>(end - head) > 0) {
        const io_uring_cqe& cqe = ring_.cq.cqes[head & mask];
        const std::uint64_t data = cqe.user_data;
        const int result = cqe.res;
        __atomic_store_n(ring_.cq.khead, head + 1, __ATOMIC_RELEASE);
        deliver(data, result);
        head = *ring_.cq.khead;
    }
    return true;
}

void uring_backend::stash() noexcept {
    unsigned head = *ring_.cq.khead;
    const unsigned end = __atomic_load_n(ring_.cq.ktail, __ATOMIC_ACQUIRE);
    for (; head != end; ++head) {
        const io_uring_cqe& cqe = ring_.cq.cqes[head & *ring_.cq.kring_mask];
        stashed_.emplace_back(cqe.user_data, cqe.res);
    }
    __atomic_store_n(ring_.cq.khead, head, __ATOMIC_RELEASE);
}

void uring_backend::make_room() noexcept {
    // A full ring is a normal event: the kernel is given what there is. If it takes nothing before
    // it has delivered (EBUSY), the answers make room and are given out later.
    while (full())
        if (enter(0, IORING_ENTER_GETEVENTS, {}) < 0) stash();
}

bool uring_backend::pending() const noexcept {
    return available() != 0 || unsubmitted() != 0 || !stashed_.empty() || kernel_has_work();
}

void uring_backend::flush() noexcept {
    while (unsubmitted() != 0)
        if (enter(0, IORING_ENTER_GETEVENTS, {}) < 0) stash();
}

void uring_backend::poll() noexcept {
    if (unsubmitted() != 0 || kernel_has_work()) enter(0, IORING_ENTER_GETEVENTS, {});
    reap();
}

void uring_backend::wait(time_point until, sleeper& who) noexcept {
    if (!stashed_.empty() || (unsubmitted() == 0 && something())) return poll();
    if (unsubmitted() != 0 && spin_.spins()) {
        // Submit, and fetch what is done at once; then watch for what comes soon.
        enter(0, IORING_ENTER_GETEVENTS, {});
        if (reap()) return;
    }
    wait_longer(until, who);
}

void uring_backend::wait_longer(time_point until, sleeper& who) noexcept {
    if (const unsigned bursts = spin_.bursts(); bursts != 0) {
        bool seen = false;
        bool yielded = false;
        time_point began = time_point::max();
        const auto anything = [&] {
            return something() || (seen = yielded ? who.look() : who.glance());
        };
        for (unsigned i = 0; i < bursts; ++i) {
            if (spin_.burst(anything)) {
                spin_.succeeded();
                if (!seen) poll();
                return;
            }
            if (who.interrupted()) {
                spin_.succeeded();
                return;
            }
            if (until != time_point::max()) {
                const time_point now = clock::now();
                if (now >= until) {
                    // Not so a deadline that was too near to sleep for.
                    if (now - began >= spin_policy::longest) spin_.failed();
                    return;
                }
                if (i == 0) began = now;
            }
            ++counts.yields;
            ::sched_yield();
            yielded = true;
        }
        spin_.failed();
    }
    if (who.about_to_sleep()) {
        ++counts.sleeps;
        enter(1, IORING_ENTER_GETEVENTS, until);
    }
    who.woken();
    reap();
}

}  // namespace

std::unique_ptr<backend> make_uring_backend(completion_sink& sink, unsigned entries) {
    return std::make_unique<uring_backend>(sink, entries);
}

bool kernel_has_futex() noexcept {
    if (futex_known.load(std::memory_order_relaxed) < 0) {
        io_uring ring{};
        if (io_uring_queue_init(1, &ring, 0) != 0) return false;
        probe(ring);
        io_uring_queue_exit(&ring);
    }
    return futex_known.load(std::memory_order_relaxed) > 0;
}

}  // namespace runnel::detail

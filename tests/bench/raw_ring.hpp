// SPDX-License-Identifier: MIT

// io_uring without a library: just what the limits need.
#pragma once

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "bench.hpp"

namespace raw {

constexpr unsigned no_sqarray = 1u << 16;  // Linux 6.6; the headers of 6.1 do not name it

class ring {
public:
    ring(unsigned entries, unsigned flags, bool register_fd) {
        io_uring_params p{};
        p.flags = flags | no_sqarray;
        fd_ = int(syscall(__NR_io_uring_setup, entries, &p));
        if (fd_ < 0 && errno == EINVAL) {
            p = {};
            p.flags = flags;
            fd_ = int(syscall(__NR_io_uring_setup, entries, &p));
        }
        if (fd_ < 0) bench::die("io_uring_setup");
        if (!(p.features & IORING_FEAT_SINGLE_MMAP))
            bench::skip("kernel without IORING_FEAT_SINGLE_MMAP");

        std::size_t queues = p.cq_off.cqes + p.cq_entries * sizeof(io_uring_cqe);
        if (!(p.flags & no_sqarray))
            queues = std::max(queues, std::size_t(p.sq_off.array + p.sq_entries * 4));
        char* base = static_cast<char*>(map(queues, IORING_OFF_SQ_RING));
        sqes_ =
            static_cast<io_uring_sqe*>(map(p.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
        auto word = [base](unsigned offset) { return reinterpret_cast<unsigned*>(base + offset); };
        sq_tail_ = word(p.sq_off.tail);
        sq_flags_ = word(p.sq_off.flags);
        sq_mask_ = p.sq_entries - 1;
        cq_head_ = word(p.cq_off.head);
        cq_tail_ = word(p.cq_off.tail);
        cq_mask_ = p.cq_entries - 1;
        cqes_ = reinterpret_cast<io_uring_cqe*>(base + p.cq_off.cqes);
        if (!(p.flags & no_sqarray))
            for (unsigned i = 0; i < p.sq_entries; ++i) word(p.sq_off.array)[i] = i;

        enter_fd_ = fd_;
        if (register_fd) {
            io_uring_rsrc_update u{};
            u.offset = ~0u;
            u.data = std::uint64_t(fd_);
            if (syscall(__NR_io_uring_register, fd_, IORING_REGISTER_RING_FDS, &u, 1) != 1)
                bench::die("IORING_REGISTER_RING_FDS");
            enter_fd_ = int(u.offset);
            enter_flags_ = IORING_ENTER_REGISTERED_RING;
        }
    }
    ring(const ring&) = delete;
    ring& operator=(const ring&) = delete;
    ~ring() { close(fd_); }  // the process ends soon after: the mappings go with it

    // The next entry, filled in. Nobody here has more outstanding than entries.
    io_uring_sqe& push(int op, int fd, void* buffer, unsigned length) {
        io_uring_sqe& s = sqes_[tail_++ & sq_mask_];
        std::memset(&s, 0, sizeof s);
        s.opcode = std::uint8_t(op);
        s.fd = fd;
        s.addr = reinterpret_cast<std::uint64_t>(buffer);
        s.len = length;
        return s;
    }
    // Submits what was pushed and waits until `wait` completions are there.
    void submit(unsigned wait) {
        unsigned n = tail_ - submitted_;
        submitted_ = tail_;
        __atomic_store_n(sq_tail_, tail_, __ATOMIC_RELEASE);
        enter(n, wait, wait ? IORING_ENTER_GETEVENTS : 0);
    }
    // Runs deferred completions without waiting.
    void collect() { enter(0, 0, IORING_ENTER_GETEVENTS); }
    bool work_pending() const {
        return __atomic_load_n(sq_flags_, __ATOMIC_RELAXED) & IORING_SQ_TASKRUN;
    }

    unsigned completed() const { return __atomic_load_n(cq_tail_, __ATOMIC_ACQUIRE) - *cq_head_; }
    int front() const { return cqes_[*cq_head_ & cq_mask_].res; }
    void pop(unsigned n) { __atomic_store_n(cq_head_, *cq_head_ + n, __ATOMIC_RELEASE); }

private:
    void* map(std::size_t size, off_t where) {
        void* p =
            mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, where);
        if (p == MAP_FAILED) bench::die("mmap of the ring");
        return p;
    }
    void enter(unsigned submit, unsigned wait, unsigned flags) {
        long r =
            syscall(__NR_io_uring_enter, enter_fd_, submit, wait, flags | enter_flags_, nullptr, 0);
        if (r < 0 && errno != EINTR) bench::die("io_uring_enter");
    }

    int fd_ = -1, enter_fd_ = -1;
    unsigned enter_flags_ = 0, tail_ = 0, submitted_ = 0;
    io_uring_sqe* sqes_ = nullptr;
    io_uring_cqe* cqes_ = nullptr;
    unsigned *sq_tail_, *sq_flags_, *cq_head_, *cq_tail_;
    unsigned sq_mask_ = 0, cq_mask_ = 0;
};

}  // namespace raw

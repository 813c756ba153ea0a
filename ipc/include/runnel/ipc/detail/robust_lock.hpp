// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include <linux/futex.h>

namespace runnel::ipc::detail {

/// A lock between processes for sections of a few instructions without an await, which survives its
/// owner: when the thread that holds it dies, in whatever way, the kernel marks the word, and the
/// next owner is told.
///
/// The word is in shared memory, and the node by which the kernel finds it (set_robust_list(2)) in
/// private memory behind it, so that no other process can make this one follow a pointer. Locks are
/// released in the reverse order of locking, and no robust pthread mutex is touched in between.
class robust_lock {
public:
    using word = std::atomic<std::uint32_t>;
    enum class got : unsigned char { no, yes, from_the_dead };

    /// How far behind the word the node is; the same in the whole process. Throws std::system_error
    /// where the C library has no robust list.
    static std::size_t node_distance();

    robust_lock() noexcept = default;
    /// `at` is followed by private memory at node_distance().
    explicit robust_lock(word& at) noexcept
        : word_(&at),
          node_(reinterpret_cast<::robust_list*>(reinterpret_cast<std::byte*>(&at) + distance_)) {}

    /// Takes it if it is free.
    got try_lock() noexcept {
        std::uint32_t seen = word_->load(std::memory_order_relaxed);
        if ((seen & FUTEX_TID_MASK) != 0) return got::no;
        const self me = own();
        me.head->list_op_pending = node_;
        std::atomic_signal_fence(std::memory_order_seq_cst);
        const bool taken = word_->compare_exchange_strong(seen, me.tid);
        if (taken) {
            node_->next = me.head->list.next;
            std::atomic_signal_fence(std::memory_order_seq_cst);
            me.head->list.next = node_;
        }
        std::atomic_signal_fence(std::memory_order_seq_cst);
        me.head->list_op_pending = nullptr;
        if (!taken) return got::no;
        return (seen & FUTEX_OWNER_DIED) != 0 ? got::from_the_dead : got::yes;
    }
    /// The same, with some patience: the owner is in the middle of a few instructions, but may have
    /// lost its CPU.
    got lock() noexcept {
        const got first = try_lock();
        return first != got::no ? first : insist();
    }
    /// The same, for those who cannot come again later: with as much patience as they have.
    got lock_within(std::chrono::milliseconds patience) noexcept;
    void unlock() noexcept {
        const self me = own();
        me.head->list_op_pending = node_;
        std::atomic_signal_fence(std::memory_order_seq_cst);
        me.head->list.next = node_->next;
        std::atomic_signal_fence(std::memory_order_seq_cst);
        word_->store(0, std::memory_order_release);
        std::atomic_signal_fence(std::memory_order_seq_cst);
        me.head->list_op_pending = nullptr;
    }
    /// Is somebody who lives, as far as one knows, in the section?
    [[nodiscard]] bool held() const noexcept { return holder() != 0; }
    /// The thread that is, or 0.
    [[nodiscard]] std::uint32_t holder() const noexcept {
        return word_->load(std::memory_order_seq_cst) & FUTEX_TID_MASK;
    }
    /// Held, and by nobody who exists: the word has been overwritten.
    [[nodiscard]] bool forged() const noexcept;

private:
    struct self {
        ::robust_list_head* head;
        std::uint32_t tid;
    };
    static self own() noexcept {
        if (own_.head == nullptr) [[unlikely]]
            find_self();
        return own_;
    }
    static void find_self() noexcept;
    got insist() noexcept;

    static inline constinit thread_local self own_{nullptr, 0};
    static inline std::size_t distance_ = 0;
    static const int forget_in_child_;

    word* word_ = nullptr;
    ::robust_list* node_ = nullptr;
};

/// A section of a robust_lock.
class robust_section {
public:
    explicit robust_section(robust_lock& of) noexcept : lock_(of), got_(of.lock()) {}
    /// With much patience.
    robust_section(robust_lock& of, std::chrono::milliseconds patience) noexcept
        : lock_(of), got_(of.lock_within(patience)) {}
    /// Without patience.
    robust_section(robust_lock& of, std::try_to_lock_t) noexcept : lock_(of), got_(of.try_lock()) {}
    robust_section(const robust_section&) = delete;
    robust_section& operator=(const robust_section&) = delete;
    ~robust_section() {
        if (got_ != robust_lock::got::no) lock_.unlock();
    }
    [[nodiscard]] explicit operator bool() const noexcept { return got_ != robust_lock::got::no; }
    /// The owner before died inside the section.
    [[nodiscard]] bool from_the_dead() const noexcept {
        return got_ == robust_lock::got::from_the_dead;
    }

private:
    robust_lock& lock_;
    robust_lock::got got_;
};

}  // namespace runnel::ipc::detail

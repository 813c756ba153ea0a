// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <runnel/ipc/detail/object_memory.hpp>
#include <runnel/unique_fd.hpp>

namespace runnel::ipc::detail {

/// The processes that get from a queue, in its memory: what each has taken and is not done with.
/// Who is dead, and what it had, is found by its pid and the time of its start.
class queue_members {
public:
    static constexpr std::size_t per_page = object_memory::page_room / 64;
    static constexpr std::size_t pages = 4;
    static constexpr std::size_t most = per_page * pages;
    static constexpr std::size_t none = ~std::size_t{0};

    /// One process. Its counts are written by itself, under the getters' lock.
    struct member {
        // Its pid, or 0, a free place; and above it the number of those who have had the place.
        std::atomic<std::uint64_t> who;  // written last
        std::uint64_t started;
        std::atomic<std::uint32_t> taken;
        std::atomic<std::uint32_t> finished;
    };
    static_assert(sizeof(member) <= 64);
    static constexpr std::uint32_t pid_of(std::uint64_t who) noexcept {
        return static_cast<std::uint32_t>(who);
    }

    /// The table lies in guarded pages `first` and those behind it.
    void place(const object_memory& in, std::size_t first) noexcept {
        memory_ = &in;
        first_ = first;
    }
    [[nodiscard]] member& at(std::size_t i) const noexcept {
        return *reinterpret_cast<member*>(memory_->page(first_ + i / per_page) + i % per_page * 64);
    }
    /// This process's place, under the getters' lock; none if there is no free one. `fresh` says
    /// that it has just been taken.
    std::size_t own(bool& fresh) noexcept;
    /// This process leaves its place, under the lock.
    void leave() noexcept;
    /// Makes the place a free one.
    void free(std::size_t i) const noexcept {
        auto& who = at(i).who;
        who.store(who.load(std::memory_order_relaxed) & ~std::uint64_t{0xffffffff});
    }
    /// Has this process a place?
    [[nodiscard]] std::size_t known() const noexcept { return valid() ? own_ : none; }
    [[nodiscard]] bool is_own(std::size_t i) const noexcept { return valid() && own_ == i; }

    /// A descriptor that becomes readable when the member ends; empty, and errno, if it is dead
    /// (ESRCH) or there is no room.
    [[nodiscard]] static unique_fd watch(const member& one) noexcept;
    [[nodiscard]] static bool dead(const member& one) noexcept;

private:
    /// Nobody else has been given the place, in error.
    [[nodiscard]] bool valid() const noexcept;
    const object_memory* memory_ = nullptr;
    std::size_t first_ = 0;
    std::size_t own_ = none;
    const member* mine_ = nullptr;
    std::uint64_t own_who_ = 0;
    unsigned forks_ = 0;  // when it was taken: a forked child is another process
};

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

#include <runnel/ipc/coder.hpp>
#include <runnel/unique_fd.hpp>

namespace runnel::ipc::detail {

/// Where those sleep who wait for a change of an object: two words in its memory. Whoever is about
/// to sleep says so in `sleepers` and looks again; whoever changes something rings if it says so.
/// All wake: a dead sleeper takes nothing with it.
struct bell {
    std::atomic<std::uint32_t> rung{0};  // counts; the futex
    // The lowest bit: somebody sleeps. Above it counts who has said so, so that one who has woken
    // all that there were can tell that nobody else has said it since.
    std::atomic<std::uint32_t> sleepers{0};

    static constexpr bool sleeps(std::uint32_t said) noexcept { return (said & 1) != 0; }
    /// One who has read `rung` is going to sleep on it.
    void will_sleep() noexcept {
        std::uint32_t said = sleepers.load(std::memory_order_relaxed);
        while (!sleepers.compare_exchange_weak(said, (said | 1) + 2)) {
        }
    }
    /// Those who had said so when `told` was read, and `rung` changed afterwards, are awake.
    void all_awake(std::uint32_t told) noexcept {
        sleepers.compare_exchange_strong(told, told & ~1u);
    }
};

/// Where the kernel has no futex operation for rings (before Linux 6.7): a queue in the kernel of
/// the write ends of pipes, whose read ends the sleepers watch. Everybody puts in at one end. The
/// ringer takes all out of the other and lets them drop, which hangs up the pipes: so a ringer who
/// dies, or has no room for descriptors, rings as well.
class bell_register {
public:
    bell_register() noexcept = default;
    /// For a new object: a register if one is needed here. Throws std::system_error.
    static bell_register make();

    [[nodiscard]] bool used() const noexcept { return bool(in_); }
    void ring_all() const noexcept;
    /// A descriptor that becomes readable (hung up) when somebody rings; empty if there are none to
    /// be had.
    [[nodiscard]] unique_fd enter() const noexcept;

    void write(encoder& out) const;
    static bell_register read(decoder& in);

private:
    unique_fd out_;
    unique_fd in_;
};

void ring_sleepers(bell& one, const bell_register& registered) noexcept;

/// Wakes who sleeps, if anybody does. To be called inside the section in which the change is made,
/// and before it is made: one who dies in between has rung, and whoever was woken sees the section
/// held until it is over (wait_hub::arm does not sleep while it is). A section taken from the dead
/// rings without asking.
inline void ring(bell& one, const bell_register& registered) noexcept {
    if (bell::sleeps(one.sleepers.load(std::memory_order_seq_cst))) [[unlikely]]
        ring_sleepers(one, registered);
}

}  // namespace runnel::ipc::detail

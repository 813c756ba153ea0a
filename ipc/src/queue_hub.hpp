// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include <runnel/ipc/detail/wait_hub.hpp>
#include <runnel/watch.hpp>

#include "queue_memory.hpp"

namespace runnel::ipc::detail {

/// One process's view of a queue.
struct queue_object {
    queue_object(const queue_settings& settings, std::uint64_t type) : memory(settings, type) {}
    queue_object(unique_fd fd, unique_fd leased, bell_register sleepers, std::uint64_t type)
        : memory(std::move(fd), std::move(leased), std::move(sleepers), type) {}

    queue_memory memory;
    // A side that ended in this process: the other one, if it is here as well, looks at once.
    std::atomic<std::uint32_t> ended{0};
};

/// One side of it. Its half of the pipe tells the others that somebody is left on this side.
struct queue_side : std::enable_shared_from_this<queue_side> {
    queue_side(std::shared_ptr<queue_object> of, unique_fd half, bool gets) noexcept
        : object(std::move(of)), life(std::move(half)), getting(gets) {}
    queue_side(const queue_side&) = delete;
    queue_side& operator=(const queue_side&) = delete;
    ~queue_side();

    /// For those who use it, handles and leases: with the last of them this process leaves the
    /// queue, though the kernel may look at the pipe for a while.
    static std::shared_ptr<queue_side> for_users(std::shared_ptr<queue_side> side);

    /// Nobody is left on the other side, as far as it is known.
    [[nodiscard]] bool other_side_gone() const noexcept {
        if (gone.load(std::memory_order_relaxed)) return true;
        if (object->ended.load(std::memory_order_relaxed) == looked.load(std::memory_order_relaxed))
            [[likely]]
            return false;
        return look();
    }
    bool look() const noexcept;

    const std::shared_ptr<queue_object> object;
    unique_fd life;
    const bool getting;
    mutable std::atomic<bool> gone{false};
    mutable std::atomic<std::uint32_t> looked{~0u};
    hub_set hubs;
    hub_set joiners;
};

/// Those who wait for items, for room, or for the end of all tasks.
class queue_hub final : public wait_hub {
public:
    /// The hub of `home` for those of `side` who wait; for those who join, if `joining`.
    static queue_hub& of(const std::shared_ptr<queue_side>& side, loop& home, bool joining);
    /// With leases: has those watched who have come since; a load if there are none. Deaths are
    /// noticed then even while there is always something to get, and nobody sleeps.
    void notice_members() noexcept;

private:
    enum class kind : unsigned char { putters, getters, joiners };
    struct member_watch;
    queue_hub(const std::shared_ptr<queue_side>& side, hub_set& set, loop& home, kind what,
              bell& bell);

    bool ready() noexcept override;
    bool settled() noexcept override;
    [[nodiscard]] std::uint32_t handled() const noexcept override;
    void hung_up() noexcept override { side_->gone.store(true); }
    bool arm_more() noexcept override;
    void retire_more() noexcept override;
    [[nodiscard]] bool more_active() const noexcept override;
    [[nodiscard]] bool watches_members() const noexcept;
    bool watch_members() noexcept;

    const std::shared_ptr<queue_side> side_;
    queue_memory& memory_;
    const kind kind_;
    std::uint32_t membership_ = 0;
    bool look_again_ = false;  // one is not watched any more, and may be there
    std::vector<std::unique_ptr<member_watch>> members_;
};

}  // namespace runnel::ipc::detail

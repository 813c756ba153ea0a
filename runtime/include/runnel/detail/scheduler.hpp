// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <runnel/detail/time.hpp>

namespace runnel::detail {

class branch;

/// What makes a logical task: who it is, for locks, names and dumps.
struct task_identity {
    std::uint64_t id = 0;
    std::string name;
};

/// Something that the loop runs once when its turn comes. Intrusive: it may be queued once.
class ready_node {
public:
    virtual void run() noexcept = 0;

protected:
    ready_node() noexcept = default;
    ready_node(const ready_node&) = delete;
    ready_node& operator=(const ready_node&) = delete;
    ~ready_node() = default;

private:
    friend class scheduler;
    ready_node* next_ = nullptr;
};

/// A deadline in the scheduler's heap.
class timer_node {
public:
    virtual void fire() noexcept = 0;
    [[nodiscard]] bool armed() const noexcept { return index_ != unarmed; }

protected:
    timer_node() noexcept = default;
    timer_node(const timer_node&) = delete;
    timer_node& operator=(const timer_node&) = delete;
    ~timer_node() = default;

private:
    friend class timer_heap;
    static constexpr std::uint32_t unarmed = std::numeric_limits<std::uint32_t>::max();
    std::uint32_t index_ = unarmed;
};

/// A 4-ary heap of deadlines, nearest first; those of one moment fire in the order of arming.
class timer_heap {
public:
    /// Makes the next arm() one that does not allocate, and so cannot fail.
    void reserve_one() {
        if (entries_.size() == entries_.capacity()) entries_.reserve(2 * entries_.size() + 16);
    }
    void arm(timer_node& node, time_point when) {
        reserve_one();
        entries_.emplace_back();
        // Before the clock began is as good as its beginning, and differences do not overflow.
        const auto at = when.time_since_epoch().count();
        up(static_cast<std::uint32_t>(entries_.size() - 1), {at > 0 ? at : 0, ++sequence_, &node});
    }
    void disarm(timer_node& node) noexcept {
        if (!node.armed()) return;
        const std::uint32_t hole = node.index_;
        node.index_ = timer_node::unarmed;
        const entry last = entries_.back();
        entries_.pop_back();
        if (hole == entries_.size()) return;
        if (hole > 0 && last.before(entries_[(hole - 1) / 4]))
            up(hole, last);
        else
            down(hole, last);
    }
    [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
    [[nodiscard]] time_point nearest() const noexcept {
        return entries_.empty() ? time_point::max() : time_point(duration(entries_.front().when));
    }
    /// Takes the nearest out if it is due.
    timer_node* pop_due(time_point now) noexcept {
        if (entries_.empty() || entries_.front().when > now.time_since_epoch().count())
            return nullptr;
        timer_node* node = entries_.front().node;
        disarm(*node);
        return node;
    }

private:
    struct entry {
        std::int64_t when;
        std::uint64_t sequence;
        timer_node* node;
        [[nodiscard]] bool before(const entry& other) const noexcept {
            return when != other.when ? when < other.when : sequence < other.sequence;
        }
    };
    void place(std::uint32_t i, const entry& e) noexcept {
        entries_[i] = e;
        e.node->index_ = i;
    }
    void up(std::uint32_t i, entry e) noexcept {
        while (i > 0) {
            const std::uint32_t parent = (i - 1) / 4;
            if (!e.before(entries_[parent])) break;
            place(i, entries_[parent]);
            i = parent;
        }
        place(i, e);
    }
    void down(std::uint32_t i, entry e) noexcept {
        const auto count = static_cast<std::uint32_t>(entries_.size());
        for (;;) {
            const std::uint32_t first = 4 * i + 1;
            if (first >= count) break;
            const std::uint32_t end = first + 4 < count ? first + 4 : count;
            std::uint32_t least = first;
            for (std::uint32_t k = first + 1; k < end; ++k)
                if (entries_[k].before(entries_[least])) least = k;
            if (!entries_[least].before(e)) break;
            place(i, entries_[least]);
            i = least;
        }
        place(i, e);
    }

    std::vector<entry> entries_;
    std::uint64_t sequence_ = 0;
};

/// The part of a loop that tasks see: the ready list, the timers, and the clock. It knows neither
/// kernel nor descriptors; `loop` drives it.
class scheduler {
public:
    scheduler() noexcept = default;
    scheduler(const scheduler&) = delete;
    scheduler& operator=(const scheduler&) = delete;

    /// Puts `node` at the end of the ready list. Any thread; see `foreign`.
    void schedule(ready_node& node) noexcept {
        if (!on_home_thread()) [[unlikely]] {
            schedule_remote(node);
            return;
        }
        schedule_local(node);
    }
    void schedule_local(ready_node& node) noexcept {
        node.next_ = nullptr;
        *tail_ = &node;
        tail_ = &node.next_;
    }
    /// From another thread: queued without a lock, and the loop is woken if it sleeps.
    void schedule_remote(ready_node& node) noexcept;

    /// One step of symmetric transfer, if the budget of this resumption still allows it: beyond
    /// that the handle goes through the ready list, so that the machine stack stays flat where
    /// the compiler makes no tail call, and others get their turn.
    [[nodiscard]] bool spend_transfer() noexcept { return transfers_left_-- > 0; }

    /// A branch whose root task has ended; the loop settles it as soon as the coroutine that is
    /// running has suspended.
    void finish(branch& ended) noexcept;

    /// An error that nobody is left to catch: handed to the loop's on_error.
    void report(std::exception_ptr error) noexcept { on_error(*this, std::move(error)); }

    void arm(timer_node& node, time_point when) { timers.arm(node, when); }
    void disarm(timer_node& node) noexcept { timers.disarm(node); }

    [[nodiscard]] time_point now() const noexcept {
        return virtual_time ? virtual_now : clock::now();
    }

    /// Runs ready nodes, at most `budget` of them. Returns how many ran.
    unsigned run_ready(unsigned budget) noexcept;
    /// Fires all timers that are due.
    void fire_timers() noexcept {
        if (!timers.empty()) fire_due();
    }
    [[nodiscard]] bool has_ready() const noexcept {
        return head_ != nullptr || finished_ != nullptr;
    }
    /// Until no other thread is inside schedule_remote: before the end.
    void wait_for_visitors() const noexcept;
    /// Moves what other threads have queued to the ready list.
    bool take_remote() noexcept {
        return remote_.load(std::memory_order_relaxed) != nullptr && take_all_remote();
    }

    /// The thread that runs the loop; none before the first turn.
    [[nodiscard]] bool on_home_thread() const noexcept {
        const std::uint64_t home = home_thread.load(std::memory_order_relaxed);
        return home == 0 || home == thread_id;
    }
    /// The same, but before the first turn false: any thread may be about to become the one.
    [[nodiscard]] bool bound_to_this_thread() const noexcept {
        return thread_id != 0 && home_thread.load(std::memory_order_relaxed) == thread_id;
    }
    void bind_to_this_thread() noexcept {
        static std::atomic<std::uint64_t> last{0};
        if (thread_id == 0) thread_id = last.fetch_add(1, std::memory_order_relaxed) + 1;
        home_thread.store(thread_id, std::memory_order_relaxed);
    }

    timer_heap timers;
    std::uint32_t coarse_ms = 0;      // when a task was suspended, for dump
    std::uint32_t turn_rotation = 0;  // where a race begins, so that no operand starves
    std::uint64_t next_task_id = 1;
    std::unordered_map<const branch*, task_identity> identities;
    bool virtual_time = false;
    time_point virtual_now{};
    std::uint64_t resumes = 0;
    std::atomic<std::uint64_t> home_thread{0};    // 0: no thread yet
    void (*wake)(scheduler&) noexcept = nullptr;  // set by the loop: wakes it from any thread
    void (*on_error)(scheduler&, std::exception_ptr) noexcept = nullptr;
    class io_driver* driver = nullptr;  // of the loop, for operations
    void* loop_object = nullptr;        // the loop that this is part of

private:
    static constexpr int transfers_per_resume = 64;
    void settle_finished() noexcept;
    void fire_due() noexcept;
    bool take_all_remote() noexcept;

    ready_node* head_ = nullptr;
    ready_node** tail_ = &head_;
    int transfers_left_ = transfers_per_resume;
    ready_node* finished_ = nullptr;
    ready_node** finished_tail_ = &finished_;
    std::atomic<ready_node*> remote_{nullptr};
    std::atomic<unsigned> visitors_{0};

    // A number and no address: addresses of thread-locals come again with a later thread.
    static inline constinit thread_local std::uint64_t thread_id = 0;
    friend class branch;
};

}  // namespace runnel::detail

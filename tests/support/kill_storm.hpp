// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include <sys/types.h>

#include <runnel/task.hpp>

// Processes that work on shared objects, and are killed at random moments and started again.

namespace runnel::test {

/// Memory that this process shares with those it forks; zero at first.
class shared_memory_block {
public:
    explicit shared_memory_block(std::size_t size);
    ~shared_memory_block();
    shared_memory_block(const shared_memory_block&) = delete;
    shared_memory_block& operator=(const shared_memory_block&) = delete;
    template <class T>
    [[nodiscard]] T* as() const noexcept {
        return static_cast<T*>(at_);
    }

private:
    void* at_;
    std::size_t size_;
};

/// What became of each of so many items, told by the processes themselves.
class item_log {
public:
    explicit item_log(std::uint64_t capacity);

    /// A number that was not used before, whose putting begins; capacity() if there is none left.
    std::uint64_t begin_put() noexcept;
    /// It was put: the operation is over.
    void put(std::uint64_t number) noexcept;
    /// It came out somewhere. Counts as corrupt if it was never put in.
    void got(std::uint64_t number) noexcept;
    /// Something came out that cannot be an item.
    void corrupt() noexcept;
    [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }

    struct sums {
        std::uint64_t begun = 0;
        std::uint64_t put = 0;
        std::uint64_t got = 0;
        std::uint64_t twice = 0;  ///< came out more than once
        std::uint64_t lost = 0;   ///< was put and did not come out
        std::uint64_t corrupt = 0;
    };
    [[nodiscard]] sums count() const;

private:
    struct item {
        std::atomic<std::uint8_t> begun, put, got;
    };
    struct head {
        std::atomic<std::uint64_t> next, corrupt;
    };
    std::uint64_t capacity_;
    shared_memory_block memory_;
    head* head_;
    item* items_;
};

/// How many kills a storm is to have.
struct storm_kills {
    /// As RUNNEL_KILLS says, and all of them; otherwise 150, or 50 with a sanitizer, and if time is
    /// short at least a tenth.
    storm_kills();
    std::uint64_t wanted;
    std::uint64_t least;
};

struct storm_options {
    unsigned workers = 4;
    storm_kills kills;                         ///< enough of them, or
    std::chrono::milliseconds budget{8000};    ///< so much time; ten times that for the least
    std::chrono::microseconds mean_gap{2000};  ///< between two kills
    std::chrono::milliseconds calm{10000};     ///< for the workers to end when they are told to
    std::uint64_t seed = 1;
};

struct storm_result {
    std::vector<std::uint64_t> kills;  ///< of each slot's workers
    std::uint64_t failed = 0;          ///< workers that ended otherwise than well
    std::uint64_t hung = 0;            ///< workers that did not end when they were told to
    std::uint64_t all = 0;             ///< kills together
    bool enough = false;               ///< as many as there had to be
    std::chrono::milliseconds took{};
    /// Kills of slots from `first` on, `count` of them.
    [[nodiscard]] std::uint64_t kills_of(unsigned first, unsigned count) const;
};
std::ostream& operator<<(std::ostream& out, const storm_result& result);

/// Starts a worker in each slot, kills one after the other and starts it again. In the end it tells
/// those who live to stop, and waits for them. Leaves no process behind, not even when it throws or
/// is killed itself.
class kill_storm {
public:
    /// What a worker of a slot does, in a fork with a loop of its own: until storm.stopping(), or
    /// until its objects say so. It fails by throwing.
    using work = std::function<task<>(const kill_storm& storm, unsigned slot)>;

    kill_storm(const storm_options& options, work worker);
    ~kill_storm();
    kill_storm(const kill_storm&) = delete;
    kill_storm& operator=(const kill_storm&) = delete;

    /// Kills until there is enough.
    void rage();
    /// Has the workers end: call it when this process has closed what keeps them waiting.
    storm_result calm();
    /// For workers: it is time to end.
    [[nodiscard]] bool stopping() const noexcept;

private:
    void start(unsigned slot);
    void end_of(unsigned slot, bool killed);
    storm_options options_;
    work work_;
    shared_memory_block memory_;
    std::atomic<bool>* stop_;
    std::vector<::pid_t> workers_;
    storm_result result_;
    std::chrono::steady_clock::time_point begun_;
};

}  // namespace runnel::test

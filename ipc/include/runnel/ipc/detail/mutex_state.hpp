// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include <runnel/task.hpp>
#include <runnel/unique_fd.hpp>

namespace runnel::ipc::detail {

struct mutex_segment;
class mutex_state;

/// A mutex that is held: unlocked when it is dropped.
class held_mutex {
public:
    held_mutex() noexcept = default;
    held_mutex(std::shared_ptr<mutex_state> of, bool owner_died, unsigned forks) noexcept
        : state_(std::move(of)), forks_(forks), owner_died_(owner_died) {}
    held_mutex(held_mutex&& other) noexcept
        : state_(std::move(other.state_)), forks_(other.forks_), owner_died_(other.owner_died_) {}
    held_mutex& operator=(held_mutex&& other) noexcept {
        if (this != &other) {
            unlock();
            state_ = std::move(other.state_);
            forks_ = other.forks_;
            owner_died_ = other.owner_died_;
        }
        return *this;
    }
    ~held_mutex() { unlock(); }
    void unlock() noexcept;
    [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }
    [[nodiscard]] bool owner_died() const noexcept { return owner_died_; }
    [[nodiscard]] const std::shared_ptr<mutex_state>& state() const noexcept { return state_; }

private:
    std::shared_ptr<mutex_state> state_;
    unsigned forks_ = 0;  // how often the process had been forked when it was locked
    bool owner_died_ = false;
};

/// One process's view of an ipc::mutex.
class mutex_state {
public:
    /// A new mutex.
    mutex_state();
    /// One that came from elsewhere. Throws std::system_error if it is none.
    mutex_state(unique_fd memory, unique_fd register_out, unique_fd register_in);
    ~mutex_state();
    mutex_state(const mutex_state&) = delete;
    mutex_state& operator=(const mutex_state&) = delete;

    /// Takes the mutex if it is free, for a task of the loop on this thread (0: for none). Throws
    /// std::system_error if that task has it already.
    static held_mutex take(const std::shared_ptr<mutex_state>& self, std::uint64_t for_task);
    /// Waits until it is taken; atomic.
    static task<held_mutex> wait(std::shared_ptr<mutex_state> self, std::uint64_t for_task);
    /// Which task has it; 0 if none or unknown.
    [[nodiscard]] std::uint64_t owner() const noexcept;

    [[nodiscard]] int memory() const noexcept { return memory_.get(); }
    [[nodiscard]] int register_out() const noexcept { return register_out_.get(); }
    [[nodiscard]] int register_in() const noexcept { return register_in_.get(); }

private:
    friend class held_mutex;
    struct owner_watch;
    enum class taken : unsigned char { no, yes, from_the_dead };
    taken try_take(std::uint64_t for_task);
    void unlock(unsigned forks) noexcept;
    void map();
    owner_watch watch_owner() const;
    std::shared_ptr<const unique_fd> bell();
    void ring_all() noexcept;

    unique_fd memory_;
    mutex_segment* shared_ = nullptr;
    // Where the kernel has no futex operation: a queue in the kernel of the bells of those who wait.
    // Everybody puts in at one end, and whoever releases takes out at the other.
    unique_fd register_out_;
    unique_fd register_in_;
    // Until it rings, one bell serves all who wait in this process, and who give up waiting.
    std::mutex bell_lock_;
    std::shared_ptr<const unique_fd> bell_;
};

inline void held_mutex::unlock() noexcept {
    if (const auto state = std::move(state_)) state->unlock(forks_);
}

}  // namespace runnel::ipc::detail

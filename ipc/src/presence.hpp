// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <runnel/ipc/detail/shared_object.hpp>
#include <runnel/watch.hpp>

#include "life_mark.hpp"

// Who is there: each loop that takes part in an object has a place in its memory, as long as it
// lives. A place is held by a mark of the loop's thread, so the kernel itself says, in one store,
// that its holder has died, and what is written in the place counts no more from then on.
// Who waits watches the threads of the others by their pidfds.

namespace runnel::ipc::detail {

struct place {
    std::atomic<std::uint64_t> state;  // the object's; zero when the place is taken
    std::atomic<std::uint32_t> turn;   // of those who have held the place: each has its own
};

class presence_table {
public:
    static constexpr std::size_t most = 128;  // loops that take part in one object at a time
    /// Each is at the end of a page of its own, as its mark has to be.
    static constexpr std::size_t size = most * life_mark::page_size;

    /// In the body of an object's memory.
    presence_table(const object_memory& of, std::atomic<std::uint32_t>& used) noexcept
        : memory_(of.fd()), offset_(of.body_offset()), places_(of.body()), used_(used) {}

    [[nodiscard]] place& operator[](std::size_t i) const noexcept {
        return *reinterpret_cast<place*>(page(i) + object_memory::page_room);
    }
    /// No place behind has ever been taken.
    [[nodiscard]] std::size_t used() const noexcept;
    /// Its holder lives.
    [[nodiscard]] bool held(std::size_t i) const noexcept;
    /// Its holder died, and nobody has taken the place since.
    [[nodiscard]] bool dead(std::size_t i) const noexcept;
    [[nodiscard]] std::uint32_t holder(std::size_t i) const noexcept;

    /// Takes a place for this thread, of a kind that may still be `wanted` (a dead one may be
    /// needed as it is), as long as the mark is. Throws std::system_error if there is none.
    template <class Wanted>
    std::size_t take(shared_object& of, life_mark& mark, Wanted&& wanted) const;
    /// Makes the place of somebody who died a free one.
    void bury(shared_object& of, std::size_t i) const {
        life_mark mark;
        try_take(of, mark, i);
    }

private:
    bool try_take(shared_object& of, life_mark& mark, std::size_t i) const;
    [[noreturn]] static void full(const shared_object& of);
    [[nodiscard]] std::byte* page(std::size_t i) const noexcept {
        return places_ + i * life_mark::page_size;
    }
    [[nodiscard]] life_mark::word& mark_of(std::size_t i) const noexcept {
        return *reinterpret_cast<life_mark::word*>(page(i) + life_mark::at);
    }
    int memory_;
    std::size_t offset_;
    std::byte* places_;
    std::atomic<std::uint32_t>& used_;
};

template <class Wanted>
std::size_t presence_table::take(shared_object& of, life_mark& mark, Wanted&& wanted) const {
    for (std::size_t i = 0; i < most; ++i)
        if (!held(i) && wanted(i) && try_take(of, mark, i)) return i;
    full(of);
}

/// A hub of an object with a presence_table: the loop's place, and its watches over the others.
class presence_hub : public wait_hub {
public:
    static constexpr std::size_t none = presence_table::most;
    presence_hub(std::shared_ptr<shared_object> of, presence_table table, loop& home)
        : wait_hub(of->hubs, home, of->rings(), of->registered(), -1),
          object_(std::move(of)),
          table_(table) {}
    ~presence_hub() override;

    /// The loop's place; none if it has not got one.
    [[nodiscard]] std::size_t own() const noexcept { return own_; }
    /// Takes one if there is none.
    template <class Wanted>
    std::size_t take_place(Wanted&& wanted) {
        if (own_ == none) own_ = table_.take(*object_, mark_, wanted);
        return own_;
    }

protected:
    /// Is it waited for what that holder has?
    [[nodiscard]] virtual bool concerns(std::size_t i) noexcept = 0;
    [[nodiscard]] shared_object& object() const noexcept { return *object_; }

private:
    struct watched final : io::standing {
        explicit watched(presence_hub& of) noexcept : hub(of) {}
        void completed() noexcept override { hub.one_ended(); }
        presence_hub& hub;
        std::uint32_t thread = 0;  // 0: not in use
        unique_fd pidfd;
    };
    bool settled() noexcept override { return object_->settled(); }
    bool arm_more() noexcept override;
    void retire_more() noexcept override;
    bool more_active() const noexcept override;
    bool watch_holder(std::size_t i) noexcept;
    void one_ended() noexcept;
    void give_up_place() noexcept;

    std::shared_ptr<shared_object> object_;
    presence_table table_;
    std::size_t own_ = none;
    life_mark mark_;                                 // of the own place
    std::vector<std::unique_ptr<watched>> watched_;  // one a place
};

}  // namespace runnel::ipc::detail

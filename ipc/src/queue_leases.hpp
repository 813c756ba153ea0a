// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include <runnel/ipc/detail/object_memory.hpp>
#include <runnel/unique_fd.hpp>

namespace runnel::ipc::detail {

/// Items that were taken and are not done with: copies, so that the ring goes on. A lease is one
/// word, its state, its owner and its deliveries, which changes in one store.
class queue_leases {
public:
    static constexpr std::size_t per_page = object_memory::page_room / 32;
    static constexpr std::size_t pages = 2;
    static constexpr std::size_t most = per_page * pages;
    enum state : std::uint8_t {
        free,
        taking,
        leased,  // to an object
        got,     // and waits for task_done
        again    // to be delivered once more
    };

    struct lease {
        std::atomic<std::uint64_t> word;
        std::uint32_t order;  // older ones are delivered again first
        std::uint32_t length;
    };
    static_assert(sizeof(lease) <= 32);

    static constexpr std::uint64_t pack(state s, std::size_t owner,
                                        std::uint32_t deliveries) noexcept {
        return (std::uint64_t{deliveries} << 32) | (std::uint64_t{owner} << 8) | s;
    }
    static constexpr state state_of(std::uint64_t word) noexcept {
        return static_cast<state>(word & 0xff);
    }
    static constexpr std::size_t owner_of(std::uint64_t word) noexcept {
        return word >> 8 & 0xffffff;
    }
    static constexpr std::uint32_t deliveries_of(std::uint64_t word) noexcept {
        return static_cast<std::uint32_t>(word >> 32);
    }

    /// Is it in somebody's hands?
    static constexpr bool is_out(std::uint64_t word) noexcept {
        return state_of(word) == leased || state_of(word) == got;
    }

    /// Makes room for copies of up to `item` bytes, or attaches it.
    void make(std::size_t item);
    void attach(unique_fd memory, std::size_t item);
    /// The table lies in guarded pages `first` and those behind it.
    void place(const object_memory& in, std::size_t first) noexcept {
        table_ = &in;
        first_ = first;
    }
    [[nodiscard]] lease& at(std::size_t i) const noexcept {
        return *reinterpret_cast<lease*>(table_->page(first_ + i / per_page) + i % per_page * 32);
    }
    [[nodiscard]] std::span<std::byte> copy(std::size_t i) const noexcept {
        return {copies_.body() + i * room_, room_};
    }
    /// The first that was put of those whose word is as `which` says; `most` if there is none.
    template <class F>
    [[nodiscard]] std::size_t oldest(F&& which) const noexcept {
        std::size_t found = most;
        for (std::size_t i = 0; i < most; ++i)
            // Orders wrap around; the distance tells.
            if (which(at(i).word.load()) &&
                (found == most || static_cast<std::int32_t>(at(i).order - at(found).order) < 0))
                found = i;
        return found;
    }
    /// It is done with. What a long item took is given back afterwards: one who dies in between has
    /// not spoilt what is to be delivered again.
    void end(std::size_t i) noexcept;
    [[nodiscard]] int fd() const noexcept { return copies_.fd(); }

private:
    const object_memory* table_ = nullptr;
    std::size_t first_ = 0;
    std::size_t room_ = 0;
    object_memory copies_;
};

}  // namespace runnel::ipc::detail

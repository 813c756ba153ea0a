// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace runnel::ipc::detail {

/// A word in shared memory that says which thread lives: its id, to which the kernel adds
/// FUTEX_OWNER_DIED when that thread dies, in whatever way. Like a robust_lock that is held for
/// long, and released in any order: robust pthread mutexes may be locked and unlocked meanwhile.
///
/// As there, the node by which the kernel finds the word is in private memory behind it. The word is
/// in the last line of a page, which is mapped once more for that, as long as the mark is held.
class life_mark {
public:
    enum class got : unsigned char { no, yes, from_the_dead };
    using word = std::atomic<std::uint32_t>;
    static constexpr std::size_t page_size = 4096;
    /// Where the word is in its page.
    static constexpr std::size_t at = page_size - 16;

    life_mark() noexcept = default;
    life_mark(const life_mark&) = delete;
    life_mark& operator=(const life_mark&) = delete;
    ~life_mark() { give_up(); }

    /// Marks the word of the page at `offset` of a file for this thread, if nobody who lives has it.
    /// Throws std::system_error if there is no memory to map it.
    got take(int memory, std::size_t offset);
    [[nodiscard]] bool taken() const noexcept { return page_ != nullptr; }
    /// Gives the word back; as that of a dead one, if nothing has come of taking it from him. On
    /// another thread than the one that took it, it stays until that ends.
    void give_up(bool dead = false) noexcept;

    [[nodiscard]] static std::uint32_t holder_of(const word& of) noexcept;
    [[nodiscard]] static bool dead(const word& of) noexcept;

private:
    [[nodiscard]] word& here() const noexcept { return *reinterpret_cast<word*>(page_ + at); }
    std::byte* page_ = nullptr;
    std::uint32_t thread_ = 0;
    unsigned forks_ = 0;
};

}  // namespace runnel::ipc::detail

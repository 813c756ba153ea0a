// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include <runnel/ipc/detail/shared_object.hpp>

namespace runnel::ipc::detail {

// Words that others may write meanwhile. A reader that sees a word of a writer also sees what that
// writer had seen before.
inline void read_words(const std::uint64_t* from, std::span<std::uint64_t> to) noexcept {
    for (std::uint64_t& word : to) word = __atomic_load_n(from++, __ATOMIC_ACQUIRE);
}
inline void write_words(std::span<const std::uint64_t> from, std::uint64_t* to) noexcept {
    for (const std::uint64_t word : from) __atomic_store_n(to++, word, __ATOMIC_RELEASE);
}

/// Something of one or more words, untyped. One word: it stands in the head, and is changed by one
/// store. More: there are two copies, and a version, whose lowest bit says which of them is whole;
/// a writer fills the other one, and one store of the version makes it the value. So a writer that
/// is killed leaves the value as it was, and readers wait for nobody.
class value_state final : public shared_object {
public:
    value_state(std::uint64_t type, std::span<const std::uint64_t> initial);
    value_state(std::uint64_t type, std::size_t words, decoder& in);
    wait_hub* make_hub(std::shared_ptr<shared_object> self, loop& home) override;

    /// Changes with the value: the word, or the version.
    [[nodiscard]] std::uint64_t stamp() const noexcept {
        return own().stamp.load(std::memory_order_acquire);
    }
    /// A whole value, and its stamp.
    std::uint64_t read(std::span<std::uint64_t> to) const noexcept {
        if (to.size() == 1) return to[0] = stamp();
        for (std::uint64_t seen = stamp();;) {
            read_words(copy(seen, to.size()), to);
            const std::uint64_t now = stamp();
            if (now == seen) return seen;
            seen = now;
        }
    }
    /// In a section.
    void write(object_section& inside, std::span<const std::uint64_t> from) noexcept {
        std::uint64_t next = from[0];
        if (from.size() != 1) {
            next = stamp() + 1;
            write_words(from, copy(next, from.size()));
        }
        inside.ring();
        own().stamp.store(next, std::memory_order_seq_cst);
    }

private:
    struct value_head {
        bell rings;
        std::atomic<std::uint64_t> stamp;
    };
    [[nodiscard]] value_head& own() const noexcept {
        return *reinterpret_cast<value_head*>(head());
    }
    [[nodiscard]] std::uint64_t* copy(std::uint64_t version, std::size_t words) const noexcept {
        return reinterpret_cast<std::uint64_t*>(memory_.body()) + (version & 1) * words;
    }
};

/// The part of value::until that knows no type.
class value_waiter : public object_waiter {
public:
    bool await_suspend(waiter who);

protected:
    explicit value_waiter(object_pointer use) noexcept : object_waiter(std::move(use), "until") {}
    ~value_waiter() = default;
    [[nodiscard]] const value_state& state() const noexcept { return use_->as<value_state>(); }
};

}  // namespace runnel::ipc::detail

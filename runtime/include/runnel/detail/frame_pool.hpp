// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

// Recycled blocks would hide use after free from AddressSanitizer.
#if defined(__SANITIZE_ADDRESS__)
#define RUNNEL_DETAIL_NO_FRAME_POOL 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RUNNEL_DETAIL_NO_FRAME_POOL 1
#endif
#endif

namespace runnel::detail {

/// Coroutine frames and task records, recycled per thread in size classes. A block may be freed on
/// another thread than it came from: it then serves that one.
class frame_pool {
public:
    static void* allocate(std::size_t size) {
#ifndef RUNNEL_DETAIL_NO_FRAME_POOL
        const std::size_t index = class_of(size);
        if (index < classes) [[likely]] {
            frame_pool& pool = instance;
            if (block* found = pool.free_[index]) [[likely]] {
                pool.free_[index] = found->next;
                --pool.count_[index];
                return found;
            }
            return allocate_slow(index);
        }
#endif
        ++instance.from_heap_;
        return ::operator new(rounded(size));
    }
    static void release(void* memory, [[maybe_unused]] std::size_t size) noexcept {
#ifndef RUNNEL_DETAIL_NO_FRAME_POOL
        const std::size_t index = class_of(size);
        if (index < classes) [[likely]] {
            frame_pool& pool = instance;
            if (pool.count_[index] < pool.limit_) [[likely]] {
                pool.free_[index] = new (memory) block{pool.free_[index]};
                ++pool.count_[index];
                return;
            }
            ::operator delete(memory);
            return;
        }
#endif
        ::operator delete(memory);
    }

    /// How many blocks this thread has got from the heap.
    static std::uint64_t from_heap() noexcept { return instance.from_heap_; }

private:
    struct block {
        block* next;
    };
    // glibc's chunks hold 24, 40, 56, ... bytes: classes of these sizes waste nothing.
    static constexpr std::size_t classes = 128;
    static constexpr std::size_t class_of(std::size_t size) noexcept { return (size + 7) / 16; }
    /// Whole classes everywhere: what is allocated under ASan may be released elsewhere.
    static constexpr std::size_t rounded(std::size_t size) noexcept {
        return class_of(size) * 16 + 8;
    }
    static void* allocate_slow(std::size_t index);

    block* free_[classes]{};
    unsigned count_[classes]{};
    std::uint64_t from_heap_ = 0;
    unsigned limit_ = 0;  // blocks kept in a class: none before the first use and after thread exit

    friend struct frame_pool_guard;
    static constinit thread_local frame_pool instance;
};

inline constinit thread_local frame_pool frame_pool::instance{};

}  // namespace runnel::detail

// SPDX-License-Identifier: MIT
#include <runnel/detail/frame_pool.hpp>

namespace runnel::detail {

// Gives a thread's blocks back when it ends. Destructors of other thread-locals that run later
// find a limit of zero and free at once.
struct frame_pool_guard {
    frame_pool_guard() { frame_pool::instance.limit_ = 4096; }
    ~frame_pool_guard() {
        frame_pool& pool = frame_pool::instance;
        pool.limit_ = 0;
        for (std::size_t i = 0; i < frame_pool::classes; ++i) {
            while (frame_pool::block* b = pool.free_[i]) {
                pool.free_[i] = b->next;
                ::operator delete(b);
            }
            pool.count_[i] = 0;
        }
    }
};

void* frame_pool::allocate_slow(std::size_t index) {
    static thread_local frame_pool_guard guard;
    (void)guard;
    ++instance.from_heap_;
    return ::operator new(index * 16 + 8);
}

}  // namespace runnel::detail

// SPDX-License-Identifier: MIT

// A cure for GCC PR106188, in g++ before 13. A coroutine whose body declares nothing at its own
// scope, and awaits in the condition of an if, while, for, do or switch,
//
//     task<> f(source& s) { while (co_await s.next()) use(s); }
//
// gets a frame in which the compiler's variables for those conditions come first, before what the
// handle's address must point to:
//
//     frame -> conditions | resume | destroy | promise | handle of itself | parameters ...
//                          ^ address of the handle that get_return_object makes of the promise
//
// The functions at `resume` and `destroy` are sound but expect `frame`, and coroutine_handle calls
// them with its own address. So they are replaced by two that know the frame; the coroutine's own
// handle, which it passes to await_suspend, is put right too. The layout has been the same in every
// release that has the bug, and what is relied on is checked.

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <unordered_map>

#include <runnel/detail/await.hpp>

namespace runnel::detail {
namespace {

struct functions {
    void (*resume)(void*);
    void (*destroy)(void*);
};
struct misplaced {
    void* frame;
    functions of;
};

// Process-wide, since tasks may be made on another thread than they run on, and never destroyed:
// tasks may be older than any static object.
class registry {
public:
    static registry& instance() {
        static registry& only = *new registry;
        return only;
    }
    void add(void* handle, misplaced what) {
        const std::lock_guard lock(mutex_);
        all_.insert_or_assign(handle, what);
    }
    misplaced find(void* handle) {
        const std::lock_guard lock(mutex_);
        return all_.at(handle);
    }
    misplaced remove(void* handle) {
        const std::lock_guard lock(mutex_);
        return all_.extract(handle).mapped();
    }

private:
    std::mutex mutex_;
    std::unordered_map<void*, misplaced> all_;
};

void resume_misplaced(void* handle) {
    const misplaced found = registry::instance().find(handle);
    found.of.resume(found.frame);
}

void destroy_misplaced(void* handle) {
    const misplaced found = registry::instance().remove(handle);
    found.of.destroy(found.frame);
}

}  // namespace

void mend_frame(promise_base& promise, void* frame, std::size_t size, std::size_t align) noexcept {
    void* const handle = promise.handle().address();
    const std::size_t end = reinterpret_cast<std::size_t>(&promise) + size;
    void** const own_handle =
        reinterpret_cast<void**>((end + alignof(void*) - 1) & ~(alignof(void*) - 1));
    // Before an over-aligned promise there is a gap, so that the functions are not at the handle.
    if (align > alignof(void*) || handle < frame || *own_handle != frame) {
        std::fputs(
            "runnel: fatal: the body of a task would never run: g++ before 13 miscompiles a "
            "coroutine that declares no local variable and has a co_await in the condition of its "
            "if, while, for, do or switch (GCC PR106188). Declare a local variable first\n",
            stderr);
        std::abort();
    }
    auto& head = *static_cast<functions*>(handle);
    registry::instance().add(handle, {frame, head});
    head = {resume_misplaced, destroy_misplaced};
    *own_handle = handle;
}

}  // namespace runnel::detail

#endif

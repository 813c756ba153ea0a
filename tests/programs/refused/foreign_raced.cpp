// SPDX-License-Identifier: MIT
// advice: uncancellable
#include <runnel/ipc.hpp>
using namespace runnel;
struct foreign {
    bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<>) {}
    void await_resume() {}
};
task<> f() { co_await race(foreign(), yield()); }

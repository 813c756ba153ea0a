// SPDX-License-Identifier: MIT
// advice: task
#include <runnel/ipc.hpp>
using namespace runnel;
task<> f() {
    co_await open_nursery([](nursery&) {});
}

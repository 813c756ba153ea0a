// SPDX-License-Identifier: MIT
// advice: pointer
#include <runnel/ipc.hpp>
using namespace runnel;
task<> f() {
    auto p = ipc::pipe<int*>(ipc::simplex);
    co_await p.sender.send(nullptr);
}

// SPDX-License-Identifier: MIT
// advice: view|own
#include <runnel/ipc.hpp>
using namespace runnel;
task<> f() {
    auto p = ipc::pipe<std::string_view>(ipc::simplex);
    co_await p.sender.send("x");
}

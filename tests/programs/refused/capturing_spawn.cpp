// SPDX-License-Identifier: MIT
// advice: capture
#include <runnel/ipc.hpp>
using namespace runnel;
void f(int n) {
    auto p = ipc::spawn([n] { return n; });
}

// SPDX-License-Identifier: MIT
// advice: deleted|std::move
#include <runnel/ipc.hpp>
using namespace runnel;
task<> g() { co_return; }
void f(nursery& n) {
    auto t = g();
    n.start(t);
}

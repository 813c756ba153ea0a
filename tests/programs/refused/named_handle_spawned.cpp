// SPDX-License-Identifier: MIT
// advice: share|move
#include <runnel/ipc.hpp>
using namespace runnel;
task<> child(ipc::receiver<int>) { co_return; }
void f(ipc::receiver<int> in) { auto p = ipc::spawn(child, in); }

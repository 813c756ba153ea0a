// SPDX-License-Identifier: MIT
// advice: nodiscard|ignoring|discard
#include <runnel/ipc.hpp>
using namespace runnel;
task<> g() { co_return; }
void f() { g(); }

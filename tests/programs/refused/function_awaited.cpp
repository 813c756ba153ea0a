// SPDX-License-Identifier: MIT
// advice: f\(\)
#include <runnel/ipc.hpp>
using namespace runnel;
task<int> g() { co_return 1; }
task<> f() { co_await g; }

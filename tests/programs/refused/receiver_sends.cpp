// SPDX-License-Identifier: MIT
// advice: no member named|has no member
#include <runnel/ipc.hpp>
using namespace runnel;
task<> f(ipc::receiver<int> in) { co_await in.send(1); }

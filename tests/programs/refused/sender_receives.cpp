// SPDX-License-Identifier: MIT
// advice: no member named|has no member
#include <runnel/ipc.hpp>
using namespace runnel;
task<> f(ipc::sender<int> out) { co_await out.recv(); }

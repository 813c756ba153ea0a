// SPDX-License-Identifier: MIT
// advice: deleted
#include <runnel/ipc.hpp>
using namespace runnel;
void f(const ipc::sender<int>& out) { ipc::sender<int> other(out); }

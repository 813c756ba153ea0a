// SPDX-License-Identifier: MIT
// advice: task
#include <runnel/ipc.hpp>
using namespace runnel;
int f() { return 1; }
void g(nursery& n) { n.start(f); }

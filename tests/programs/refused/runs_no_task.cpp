// SPDX-License-Identifier: MIT
// advice: task
#include <runnel/ipc.hpp>
using namespace runnel;
int main() {
    run([] { return 1; });
}

// SPDX-License-Identifier: MIT
// accepted
#include <runnel/ipc.hpp>
using namespace runnel;
task<int> f() { co_return 1; }
int main() {
    return run([]() -> task<int> { co_return co_await f() - 1; });
}

// SPDX-License-Identifier: MIT
// advice: name the lambda|by reference
// only: gnu12
#include <runnel/ipc.hpp>
using namespace runnel;
task<> f(std::string s) {
    co_await open_nursery([s](nursery&) -> task<> { co_return; });
}

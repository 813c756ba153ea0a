// SPDX-License-Identifier: MIT
// advice: send_a_named_lvalue
// only: gnu12
#include <runnel/ipc.hpp>
using namespace runnel;
struct job {
    std::string name;
};
task<> f(ipc::sender<job> out) { co_await out.send(job{"x"}); }

// SPDX-License-Identifier: MIT
// One process sends numbers, two print them: whoever is free takes the next.
#include <chrono>
#include <cstdio>
#include <utility>

#include <runnel/ipc.hpp>

using namespace runnel;
using namespace std::chrono_literals;

task<> add_count(ipc::sender<int> out) {
    for (int i = 0; i < 500; ++i) co_await out.send(i);
}

task<> get_count(ipc::receiver<int> in, ipc::mutex print_lock) {
    while (auto i = co_await in.recv()) {  // empty once every sender is gone
        co_await sleep_for(5ms);
        auto held = co_await print_lock.lock();
        std::printf("%d %s\n", *i, ipc::this_process::name().c_str());
        std::fflush(stdout);  // while the lock is held, or lines tear
    }
}

int main() {
    return run([]() -> task<int> {
        auto ends = ipc::pipe<int>(ipc::simplex);
        ipc::mutex print_lock;
        auto p1 = ipc::spawn(add_count, std::move(ends.sender));
        auto p2 = ipc::spawn(get_count, ends.receiver.share(), print_lock.share());
        auto p3 = ipc::spawn(get_count, std::move(ends.receiver), print_lock.share());
        co_await when_all(p1.join(), p2.join(), p3.join());
        co_return 0;
    });
}

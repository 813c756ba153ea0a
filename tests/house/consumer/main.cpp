// SPDX-License-Identifier: MIT
#include <runnel/ipc.hpp>
#include <runnel/runnel.hpp>

using namespace runnel;

task<int> twice(ipc::receiver<int> in, ipc::mutex lock) {
    const auto held = co_await lock.lock();
    const auto n = co_await in.recv();
    co_return 2 * n.value();
}

int main() {
    return run([]() -> task<int> {
        auto ends = ipc::pipe<int>(ipc::simplex);
        ipc::mutex lock;
        auto child = ipc::spawn(twice, std::move(ends.receiver), lock.share());
        co_await ends.sender.send(21);
        const int n = co_await child.join();
        co_return n - 42;
    });
}

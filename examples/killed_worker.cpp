// SPDX-License-Identifier: MIT
// A work queue between processes, with leases: one worker is killed in the middle of a job, which is
// then done by another. Every square is printed once.
#include <csignal>
#include <cstdio>
#include <vector>

#include <runnel/ipc.hpp>

using namespace runnel;

struct square {
    int number;
    int result;
    unsigned deliveries;
};

task<> work(ipc::getter<int> jobs, ipc::putter<square> results, ipc::event stuck) {
    while (auto job = co_await jobs.get_leased()) {
        // The first one to get 13 never finishes.
        if (**job == 13 && job->deliveries() == 1) {
            stuck.set();
            co_await sleep_for(std::chrono::hours(1));
        }
        const square done{**job, **job * **job, job->deliveries()};
        co_await results.put(done);
        job->done();
    }
}

int main() {
    return run([]() -> task<int> {
        constexpr int count = 20;
        auto jobs = ipc::queue<int>({.lease = true});
        auto results = ipc::queue<square>();
        ipc::event stuck;

        // One worker alone, until it is stuck; then it is killed, and two others go on.
        for (int i = 1; i <= count; ++i) co_await jobs.putter.put(i);
        auto unlucky = ipc::spawn(work, jobs.getter.share(), results.putter.share(), stuck.share());
        co_await stuck.wait();
        unlucky.kill();
        auto one = ipc::spawn(work, jobs.getter.share(), results.putter.share(), stuck.share());
        auto two = ipc::spawn(work, jobs.getter.share(), results.putter.share(), stuck.share());

        jobs.putter.close();
        jobs.getter.close();
        results.putter.close();
        while (auto done = co_await results.getter.get())  // empty once all workers have ended
            std::printf("%d squared is %d, delivered %u time(s)\n", done->number, done->result,
                        done->deliveries);
        const auto status = co_await unlucky.wait();
        co_await when_all(one.join(), two.join());
        co_return status.signal() == SIGKILL ? 0 : 1;
    });
}

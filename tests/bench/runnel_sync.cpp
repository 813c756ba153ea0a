// SPDX-License-Identifier: MIT

// sync: mutex, semaphore and event between processes.
#include <runnel/ipc.hpp>

#include "sync.hpp"

using namespace runnel;

namespace {

task<> lock_alone(const bench::options& opt) {
    ipc::mutex m;
    bench::meter t(opt);
    while (t.more(1000))
        for (int i = 0; i < 1000; ++i) auto held = co_await m.lock();
    bench::report("ns_per_lock", t.median_ns());
}

template <class More>
task<std::uint64_t> lock_often(ipc::mutex& m, bench::contention& s, More more) {
    std::uint64_t n = 0;
    for (; more(); ++n) {
        auto held = co_await m.lock();
        s.count = s.count + 1;
    }
    co_return n;
}

task<> post_back(ipc::semaphore& in, ipc::semaphore& out, bench::board& b) {
    for (;;) {
        co_await in.acquire();
        if (b.quit) co_return;
        out.release();
    }
}

task<> post_and_wait(ipc::semaphore& out, ipc::semaphore& in, const bench::options& opt) {
    bench::meter t(opt);
    while (t.more(200))
        for (int i = 0; i < 200; ++i) {
            out.release();
            co_await in.acquire();
        }
    bench::report("roundtrip_ns", t.median_ns());
}

task<> wait_for(ipc::event& e, bench::board& b) {
    for (;;) {
        co_await e.wait();
        if (b.quit) co_return;
        const std::uint64_t now = bench::now_ns();
        e.clear();
        b.woken(now);
    }
}

bench::job sync_jobs("sync", "runnel", [](const bench::options& opt) {
    bench::board& b = *bench::shared<bench::board>();
    if (opt.is("op", "lock")) return run(lock_alone(opt));
    if (opt.is("op", "contended")) {
        ipc::mutex m;
        return bench::contended(opt, [&](bench::contention& s, auto more) {
            std::uint64_t n = 0;
            run([](ipc::mutex& l, bench::contention& c, auto go, std::uint64_t& all) -> task<> {
                all = co_await lock_often(l, c, go);
            }(m, s, more, n));
            return n;
        });
    }
    if (opt.is("op", "semaphore")) {
        ipc::semaphore there(0);
        ipc::semaphore back(0);
        bench::child other(opt, [&] { run(post_back(there, back, b)); });
        run(post_and_wait(there, back, opt));
        b.quit = true;
        there.release();
        return other.wait();
    }
    ipc::event e;
    bench::child waiter(opt, [&] { run(wait_for(e, b)); });
    bench::wake_meter w(opt, b);
    while (w.more()) e.set();
    w.report();
    b.quit = true;
    e.set();
    waiter.wait();
});

}  // namespace

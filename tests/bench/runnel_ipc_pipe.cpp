// SPDX-License-Identifier: MIT

// ipc_pipe: pipe<T> with messages of the sizes that the others send: arrays where the size is
// small, vectors above.
#include <array>
#include <vector>

#include <runnel/ipc.hpp>

#include "bench.hpp"

using namespace runnel;

namespace {

template <class T>
task<> echo(ipc::connection<T> peer) {
    while (auto m = co_await peer.recv()) co_await peer.send(*m);
}

template <class T>
task<> swallow(ipc::connection<T> peer, int count) {
    const T answer{};
    for (int i = 1; auto m = co_await peer.recv(); ++i)
        if (i % count == 0) co_await peer.send(answer);
}

template <class T>
task<> there_and_back(ipc::connection<T> peer, const T& m, int slice, const bench::options& opt) {
    bench::meter t(opt);
    while (t.more(std::uint64_t(slice)))
        for (int i = 0; i < slice; ++i) {
            co_await peer.send(m);
            const auto back = co_await peer.recv();
            if (!back) bench::die("the other side left");
        }
    bench::report("roundtrip_ns", t.median_ns());
}

template <class T>
task<> one_way(ipc::connection<T> peer, const T& m, int count, const bench::options& opt) {
    bench::meter t(opt);
    while (t.more(std::uint64_t(count))) {
        for (int i = 0; i < count; ++i) co_await peer.send(m);
        const auto answer = co_await peer.recv();
        if (!answer) bench::die("the other side left");
    }
    bench::report("msgs_per_s", 1e9 / t.median_ns());
}

/// Runs `theirs` in a forked process and `mine` here, each with an end of a pipe.
template <class T, class Theirs, class Mine>
void between(const bench::options& opt, Theirs theirs, Mine mine) {
    auto ends = ipc::pipe<T>();
    bench::child other(opt, [&] {
        ends.first.close();
        run(theirs(std::move(ends.second)));
    });
    ends.second.close();
    run(mine(std::move(ends.first)));
    other.wait();
}

template <class T>
void measure(const bench::options& opt, const T& m, long size) {
    const int slice = size <= 1024 ? 200 : 20;
    between<T>(
        opt, [](auto end) { return echo<T>(std::move(end)); },
        [&](auto end) { return there_and_back<T>(std::move(end), m, slice, opt); });
    const int count = bench::one_way_count(size);
    between<T>(
        opt, [&](auto end) { return swallow<T>(std::move(end), count); },
        [&](auto end) { return one_way<T>(std::move(end), m, count, opt); });
}

bench::job pipe_job("ipc_pipe", "runnel", [](const bench::options& opt) {
    const long size = opt.number("msg", 64);
    switch (size) {
        case 8: return measure(opt, std::uint64_t{1}, size);
        case 64: return measure(opt, std::array<std::uint64_t, 8>{1}, size);
        case 1024: return measure(opt, std::array<std::uint64_t, 128>{1}, size);
        default: return measure(opt, std::vector<std::byte>(std::size_t(size)), size);
    }
});

}  // namespace

// SPDX-License-Identifier: MIT

// ipc_pingpong and ipc_stream over channel<T>: written into the loan, looked at in the view.
#include <array>
#include <cstring>
#include <utility>

#include <runnel/ipc.hpp>

#include "messages.hpp"

using namespace runnel;

namespace {

/// One side of two channels.
template <class T>
struct link {
    link(ipc::channel_writer<T> o, ipc::channel_reader<T> i)
        : out(std::move(o)), in(std::move(i)) {}
    void close() {
        out.close();
        in.close();
    }
    ipc::channel_writer<T> out;
    ipc::channel_reader<T> in;
};

template <class T>
std::pair<link<T>, link<T>> make_links() {
    // As much memory as the rings of raw: four of the large ones do not leave room for headers.
    const ipc::channel_options options{.capacity = sizeof(T) > 65536  ? 3
                                                   : sizeof(T) > 1024 ? 15
                                                                      : 1024};
    auto there = ipc::channel<T>(options);
    auto back = ipc::channel<T>(options);
    return {link<T>(std::move(there.writer), std::move(back.reader)),
            link<T>(std::move(back.writer), std::move(there.reader))};
}

template <class T>
task<> echo(link<T> peer, bench::board& b) {
    for (;;) {
        auto m = co_await peer.in.receive();
        if (!m) co_return;
        if (b.stamp) b.woken();
        auto place = co_await peer.out.loan();
        *place = **m;
        m->drop();
        place.publish();
    }
}

template <class T>
task<> swallow(link<T> peer, int count) {
    for (int i = 1;; ++i) {
        auto m = co_await peer.in.receive();
        if (!m) co_return;
        bench::look(reinterpret_cast<const char*>(m->data()), sizeof(T));
        m->drop();
        if (i % count != 0) continue;
        auto place = co_await peer.out.loan();
        place.publish();
    }
}

template <class T>
task<> turn(link<T>& peer, const T& m) {
    auto place = co_await peer.out.loan();
    *place = m;
    place.publish();
    auto back = co_await peer.in.receive();
    if (!back) bench::die("the other side left");
    bench::look(reinterpret_cast<const char*>(back->data()), sizeof(T));
}

template <class T>
task<> there_and_back(link<T> peer, const T& m, bench::board& b, const bench::options& opt) {
    const int slice = sizeof(T) <= 1024 ? 200 : 20;
    bench::meter t(opt);
    while (t.more(std::uint64_t(slice)))
        for (int i = 0; i < slice; ++i) co_await turn(peer, m);
    bench::report("roundtrip_ns", t.median_ns());
    bench::wake_meter w(opt, b);
    while (w.more()) co_await turn(peer, m);
    w.report();
}

template <class T>
task<> one_way(link<T> peer, const T& m, int count, const bench::options& opt) {
    bench::meter t(opt);
    while (t.more(std::uint64_t(count))) {
        for (int i = 0; i < count; ++i) {
            auto place = co_await peer.out.loan();
            *place = m;
            place.publish();
        }
        auto answer = co_await peer.in.receive();
        if (!answer) bench::die("the other side left");
    }
    bench::report("msgs_per_s", 1e9 / t.median_ns());
}

/// Calls f(m) with a message of `size` bytes.
template <class F>
void with_message(long size, F f) {
    static std::array<std::byte, 65536> large{};
    static std::array<std::byte, 1048576> huge{};
    switch (size) {
        case 8: return f(std::uint64_t{1});
        case 64: return f(std::array<std::uint64_t, 8>{1});
        case 1024: return f(std::array<std::uint64_t, 128>{1});
        case 65536: return f(large);
        case 1048576: return f(huge);
        default: return bench::skip("another size");
    }
}

/// Runs `theirs` in a forked process and `mine` here, each with its side.
template <class T, class Theirs, class Mine>
void between(const bench::options& opt, Theirs theirs, Mine mine) {
    auto ends = make_links<T>();
    bench::child other(opt, [&] {
        ends.first.close();
        run(theirs(std::move(ends.second)));
    });
    ends.second.close();
    run(mine(std::move(ends.first)));
    other.wait();
}

bench::job pingpong("ipc_pingpong", "runnel_channel", [](const bench::options& opt) {
    with_message(opt.number("msg", 64), [&]<class T>(const T& m) {
        bench::board& b = *bench::shared<bench::board>();
        between<T>(
            opt, [&](auto peer) { return echo<T>(std::move(peer), b); },
            [&](auto peer) { return there_and_back<T>(std::move(peer), m, b, opt); });
    });
});

bench::job stream("ipc_stream", "runnel_channel", [](const bench::options& opt) {
    const long size = opt.number("msg", 64);
    const int count = bench::one_way_count(size);
    with_message(size, [&]<class T>(const T& m) {
        between<T>(
            opt, [&](auto peer) { return swallow<T>(std::move(peer), count); },
            [&](auto peer) { return one_way<T>(std::move(peer), m, count, opt); });
    });
});

}  // namespace

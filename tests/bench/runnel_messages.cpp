// SPDX-License-Identifier: MIT

// ipc_pingpong and ipc_stream over queue<T> and pipe<T>, and mp_queue. Small items are arrays, large
// ones vectors.
#include <array>
#include <type_traits>
#include <vector>

#include <runnel/ipc.hpp>

#include "messages.hpp"

using namespace runnel;

namespace {

/// One side of two queues.
template <class T>
struct queue_link {
    queue_link(ipc::putter<T> o, ipc::getter<T> i) : out(std::move(o)), in(std::move(i)) {}
    auto send(const T& m) { return out.put(m); }
    auto recv() { return in.get(); }
    void close() {
        out.close();
        in.close();
    }
    static std::pair<queue_link, queue_link> make(long size) {
        const ipc::queue_options options{.max_items = 1024,
                                         .max_bytes = size > 4096 ? 8 * std::size_t(size) : 0};
        auto there = ipc::queue<T>(options);
        auto back = ipc::queue<T>(options);
        return {queue_link(std::move(there.putter), std::move(back.getter)),
                queue_link(std::move(back.putter), std::move(there.getter))};
    }
    ipc::putter<T> out;
    ipc::getter<T> in;
};

template <class T>
struct pipe_link {
    explicit pipe_link(ipc::connection<T> e) : end(std::move(e)) {}
    auto send(const T& m) { return end.send(m); }
    auto recv() { return end.recv(); }
    void close() { end.close(); }
    static std::pair<pipe_link, pipe_link> make(long) {
        auto ends = ipc::pipe<T>();
        return {pipe_link(std::move(ends.first)), pipe_link(std::move(ends.second))};
    }
    ipc::connection<T> end;
};

template <class Link>
task<> echo(Link link, bench::board& b) {
    while (auto m = co_await link.recv()) {
        if (b.stamp) b.woken();
        co_await link.send(*m);
    }
}

template <class Link>
task<> swallow(Link link, int count) {
    for (int i = 1; auto m = co_await link.recv(); ++i)
        if (i % count == 0) co_await link.send(*m);
}

template <class Link, class T>
task<> there_and_back(Link link, const T& m, int slice, bench::board& b,
                      const bench::options& opt) {
    bench::meter t(opt);
    while (t.more(std::uint64_t(slice)))
        for (int i = 0; i < slice; ++i) {
            co_await link.send(m);
            const auto back = co_await link.recv();
            if (!back) bench::die("the other side left");
        }
    bench::report("roundtrip_ns", t.median_ns());
    bench::wake_meter w(opt, b);
    while (w.more()) {
        co_await link.send(m);
        const auto back = co_await link.recv();
        if (!back) bench::die("the other side left");
    }
    w.report();
}

template <class Link, class T>
task<> one_way(Link link, const T& m, int count, const bench::options& opt) {
    bench::meter t(opt);
    while (t.more(std::uint64_t(count))) {
        for (int i = 0; i < count; ++i) co_await link.send(m);
        const auto answer = co_await link.recv();
        if (!answer) bench::die("the other side left");
    }
    bench::report("msgs_per_s", 1e9 / t.median_ns());
}

/// Calls f(m) with a message of `size` bytes.
template <class F>
void with_message(long size, F f) {
    switch (size) {
        case 8: return f(std::uint64_t{1});
        case 64: return f(std::array<std::uint64_t, 8>{1});
        case 1024: return f(std::array<std::uint64_t, 128>{1});
        default: return f(std::vector<std::byte>(std::size_t(size)));
    }
}

template <template <class> class Link>
struct link_jobs {
    explicit link_jobs(const char* impl)
        : pingpong("ipc_pingpong", impl,
                   [](const bench::options& opt) {
                       with_message(opt.number("msg", 64), [&](const auto& m) {
                           using link = Link<std::remove_cvref_t<decltype(m)>>;
                           auto ends = link::make(opt.number("msg", 64));
                           bench::board& b = *bench::shared<bench::board>();
                           bench::child other(opt, [&] {
                               ends.first.close();
                               run(echo<link>(std::move(ends.second), b));
                           });
                           ends.second.close();
                           run(there_and_back(std::move(ends.first), m, 200, b, opt));
                           other.wait();
                       });
                   }),
          stream("ipc_stream", impl, [](const bench::options& opt) {
              const long size = opt.number("msg", 64);
              with_message(size, [&](const auto& m) {
                  using link = Link<std::remove_cvref_t<decltype(m)>>;
                  auto ends = link::make(size);
                  const int count = bench::one_way_count(size);
                  bench::child other(opt, [&] {
                      ends.first.close();
                      run(swallow<link>(std::move(ends.second), count));
                  });
                  ends.second.close();
                  run(one_way(std::move(ends.first), m, count, opt));
                  other.wait();
              });
          }) {}
    bench::job pingpong, stream;
};

link_jobs<queue_link> over_queues("runnel_queue");
link_jobs<pipe_link> over_pipes("runnel_pipe");

using item = std::array<std::uint64_t, 8>;

task<> put_many(ipc::putter<item> out, bench::crowd& c) {
    const item m{};
    while (c.more()) co_await out.put(m);
}

task<> get_many(ipc::getter<item> in, bench::crowd& c, long me) {
    for (std::uint64_t n = 1; auto m = co_await in.get(); ++n) c.has_got(me, n);
}

bench::job many_job("mp_queue", "runnel", [](const bench::options& opt) {
    auto q = ipc::queue<item>({.max_items = 1024});
    bench::many(
        opt,
        [&](bench::crowd& c) {
            q.getter.close();
            run(put_many(std::move(q.putter), c));
        },
        [&](bench::crowd& c, long me) {
            q.putter.close();
            run(get_many(std::move(q.getter), c, me));
        },
        [&](long) { q.putter.close(); });
});

}  // namespace

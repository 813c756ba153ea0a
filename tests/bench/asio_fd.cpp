// SPDX-License-Identifier: MIT

// fd_pingpong over pipes and a socket pair; ipc_pipe over a stream socket pair, ipc_pingpong and
// ipc_stream over pipes, messages of a size both sides know.
#include <array>
#include <vector>

#include "asio.hpp"

namespace {

using bytes = std::vector<char>;

template <class In, class Out>
co<> echo(In& in, Out& out, bytes& m) {
    error_code ec;
    for (;;) {
        co_await asio::async_read(in, asio::buffer(m), asio::redirect_error(use, ec));
        if (ec) co_return;
        co_await asio::async_write(out, asio::buffer(m), use);
    }
}

template <class In, class Out>
co<> ping(In& in, Out& out, bytes& m, const bench::options& opt) {
    int slice = m.size() <= 1024 ? 200 : 20;
    bench::meter t(opt);
    while (t.more(std::uint64_t(slice)))
        for (int i = 0; i < slice; ++i) {
            co_await asio::async_write(out, asio::buffer(m), use);
            co_await asio::async_read(in, asio::buffer(m), use);
        }
    bench::report("roundtrip_ns", t.median_ns());
}

template <class In, class Out>
co<> take(In& in, Out& out, bytes& m) {
    error_code ec;
    std::array<char, 1> answer{};
    for (;;) {
        for (int i = bench::one_way_count(long(m.size())); i; --i) {
            co_await asio::async_read(in, asio::buffer(m), asio::redirect_error(use, ec));
            if (ec) co_return;
        }
        co_await asio::async_write(out, asio::buffer(answer), use);
    }
}

template <class In, class Out>
co<> stream(In& in, Out& out, bytes& m, const bench::options& opt) {
    int count = bench::one_way_count(long(m.size()));
    std::array<char, 1> answer{};
    bench::meter t(opt);
    while (t.more(std::uint64_t(count))) {
        for (int i = 0; i < count; ++i) co_await asio::async_write(out, asio::buffer(m), use);
        co_await asio::async_read(in, asio::buffer(answer), use);
    }
    bench::report("msgs_per_s", 1e9 / t.median_ns());
}

// Runs what `body(in, out)` returns on a context of this process.
template <class Body>
void with_streams(bench::ends e, Body body) {
    asio::io_context ctx(1);
    if (e.in == e.out) {
        socket_stream s(ctx, asio::local::stream_protocol(), e.in);
        asio::co_spawn(ctx, body(s, s), rethrow);
        ctx.run();
    } else {
        pipe_stream in(ctx, e.in), out(ctx, e.out);
        asio::co_spawn(ctx, body(in, out), rethrow);
        ctx.run();
    }
}

void there_and_back(const bench::options& opt, bench::link l, std::size_t size) {
    bytes m(size, 1);
    bench::child other(opt, [&] {
        with_streams(l.keep(1), [&](auto& in, auto& out) { return echo(in, out, m); });
    });
    with_streams(l.keep(0), [&](auto& in, auto& out) { return ping(in, out, m, opt); });
    other.wait();
}

void one_way(const bench::options& opt, bench::link l, std::size_t size) {
    bytes m(size, 1);
    bench::child other(opt, [&] {
        with_streams(l.keep(1), [&](auto& in, auto& out) { return take(in, out, m); });
    });
    with_streams(l.keep(0), [&](auto& in, auto& out) { return stream(in, out, m, opt); });
    other.wait();
}

bench::job pingpong_job("fd_pingpong", "asio", [](const bench::options& opt) {
    there_and_back(opt, bench::link::open(opt), 64);
});

std::size_t size_of(const bench::options& opt) { return std::size_t(opt.number("msg", 64)); }

bench::job messages_job("ipc_pipe", "asio", [](const bench::options& opt) {
    there_and_back(opt, bench::link::sockets(SOCK_STREAM), size_of(opt));
    one_way(opt, bench::link::sockets(SOCK_STREAM), size_of(opt));
});

bench::job pingpong_pipe_job("ipc_pingpong", "asio", [](const bench::options& opt) {
    there_and_back(opt, bench::link::pipes(), size_of(opt));
});

bench::job stream_pipe_job("ipc_stream", "asio", [](const bench::options& opt) {
    one_way(opt, bench::link::pipes(), size_of(opt));
});

}  // namespace

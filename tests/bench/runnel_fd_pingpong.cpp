// SPDX-License-Identifier: MIT

// fd_pingpong: the low-level operations on the descriptors that the raw programs use.
#include <array>

#include <runnel/runnel.hpp>

#include "bench.hpp"

using namespace runnel;

namespace {

using message = std::array<std::byte, 64>;

auto receive(bool socket, int fd, message& m) { return socket ? io::recv(fd, m) : io::read(fd, m); }
auto transmit(bool socket, int fd, const message& m) {
    return socket ? io::send(fd, m) : io::write(fd, m);
}

task<> echo(bench::ends e, bool socket) {
    message m{};
    for (;;) {
        const auto n = co_await as_result(receive(socket, e.in, m));
        if (!n || *n == 0) co_return;
        co_await transmit(socket, e.out, m);
    }
}

task<> measure(bench::ends e, bool socket, const bench::options& opt) {
    message m{};
    bench::meter t(opt);
    while (t.more(200))
        for (int i = 0; i < 200; ++i) {
            co_await transmit(socket, e.out, m);
            const std::size_t n = co_await receive(socket, e.in, m);
            if (n != m.size()) bench::die("the other side left");
        }
    bench::report("roundtrip_ns", t.median_ns());
}

bench::job pingpong_job("fd_pingpong", "runnel", [](const bench::options& opt) {
    const bool socket = opt.is("link", "socket");
    bench::link l = bench::link::open(opt);
    bench::child other(opt, [&] { run(echo(l.keep(1), socket)); });
    bench::ends mine = l.keep(0);
    run(measure(mine, socket, opt));
    mine.close();
    other.wait();
});

}  // namespace

// SPDX-License-Identifier: MIT

// ipc_pipe: whole messages over a SEQPACKET socket pair with blocking calls: there and back, and
// one way.
#include <vector>

#include "bench.hpp"

namespace {

// A packet must fit the send buffer, whose limit for ordinary users (net.core.wmem_max) is 208 KiB
// by default.
void fit_buffer(int fd, long size) {
    if (size <= 65536) return;
    int bytes = int(4 * size), got = 0;
    socklen_t length = sizeof got;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes))
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &got, &length);
    if (got < size + 4096)
        bench::skip("a packet of this size needs CAP_NET_ADMIN or a larger net.core.wmem_max");
}

bool receive(int fd, std::vector<char>& m) {
    ssize_t n = recv(fd, m.data(), m.size(), 0);
    if (n < 0 && errno != ECONNRESET) bench::die("recv");
    return n > 0;
}

bool transmit(int fd, const std::vector<char>& m) {
    ssize_t n = send(fd, m.data(), m.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EPIPE) bench::die("send");
    return n > 0;
}

void there_and_back(const bench::options& opt, long size) {
    bench::link l = bench::link::sockets(SOCK_SEQPACKET);
    for (auto& side : l.side) fit_buffer(side.out, size);
    std::vector<char> m(std::size_t(size), 1);
    bench::child echo(opt, [&] {
        int fd = l.keep(1).in;
        while (receive(fd, m) && transmit(fd, m)) {
        }
    });
    int fd = l.keep(0).in, slice = size <= 1024 ? 200 : 20;
    bench::meter t(opt);
    while (t.more(std::uint64_t(slice)))
        for (int i = 0; i < slice; ++i)
            if (!transmit(fd, m) || !receive(fd, m)) bench::die("the other side left");
    bench::report("roundtrip_ns", t.median_ns());
    close(fd);
    echo.wait();
}

void one_way(const bench::options& opt, long size) {
    bench::link l = bench::link::sockets(SOCK_SEQPACKET);
    for (auto& side : l.side) fit_buffer(side.out, size);
    int count = bench::one_way_count(size);
    std::vector<char> m(std::size_t(size), 1);
    bench::child reader(opt, [&] {
        int fd = l.keep(1).in;
        std::vector<char> answer(1);
        for (;;) {
            for (int i = 0; i < count; ++i)
                if (!receive(fd, m)) return;
            transmit(fd, answer);
        }
    });
    int fd = l.keep(0).in;
    bench::meter t(opt);
    std::vector<char> answer(1);
    while (t.more(std::uint64_t(count))) {
        for (int i = 0; i < count; ++i) transmit(fd, m);
        if (!receive(fd, answer)) bench::die("the other side left");
    }
    bench::report("msgs_per_s", 1e9 / t.median_ns());
    close(fd);
    reader.wait();
}

bench::job pipe_job("ipc_pipe", "raw", [](const bench::options& opt) {
    long size = opt.number("msg", 64);
    there_and_back(opt, size);
    one_way(opt, size);
});

}  // namespace

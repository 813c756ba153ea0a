// SPDX-License-Identifier: MIT

// Messages through the kernel with blocking calls: a pipe, a SEQPACKET and a stream socket pair
// and a POSIX message queue, which for mp_queue are one that all processes share.
#include <fcntl.h>
#include <mqueue.h>

#include <memory>

#include "messages.hpp"

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

enum kind { pipes, packets, bytes };

// Descriptors: fd_[0] to read and fd_[1] to write.
template <kind Kind>
class line {
public:
    explicit line(long size) : buffer_(new char[std::size_t(size)]) {
        if (Kind == pipes
                ? pipe(fd_)
                : socketpair(AF_UNIX, Kind == packets ? SOCK_SEQPACKET : SOCK_STREAM, 0, fd_))
            bench::die("pipe or socketpair");
        if (Kind == packets) fit_buffer(fd_[1], size);
    }
    void send(const char* m, long n) {
        for (long r; n; m += r, n -= r)
            if ((r = write(fd_[1], m, std::size_t(n))) <= 0) bench::die("write");
    }
    template <class F>
    void recv(long n, F f) {
        for (long r, done = 0; done < n; done += r)
            if ((r = read(fd_[0], buffer_.get() + done, std::size_t(n - done))) <= 0)
                bench::die("read");
        f(buffer_.get());
    }

private:
    std::unique_ptr<char[]> buffer_;
    int fd_[2];
};

// Without privilege at most 10 messages of 8 KiB.
class posix_queue {
public:
    explicit posix_queue(long size) : size_(size) {
        mq_attr a{};
        a.mq_maxmsg = 10, a.mq_msgsize = size;
        char name[40];
        std::snprintf(name, sizeof name, "/runnel-bench-%d", getpid());
        queue_ = mq_open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600, &a);
        if (queue_ < 0 && errno == EINVAL) bench::skip("above the limit of POSIX message queues");
        if (queue_ < 0) bench::die("mq_open");
        mq_unlink(name);
        buffer_.reset(new char[std::size_t(size)]);
    }
    void send(const char* m, long n) {
        if (mq_send(queue_, m, std::size_t(n), 0)) bench::die("mq_send");
    }
    template <class F>
    void recv(long n, F f) {
        if (mq_receive(queue_, buffer_.get(), std::size_t(size_), nullptr) != n)
            bench::die("mq_receive");
        f(buffer_.get());
    }

private:
    long size_;
    mqd_t queue_;
    std::unique_ptr<char[]> buffer_;
};

bench::line_jobs<line<pipes>> pipe_jobs("raw_pipe");
bench::line_jobs<line<packets>> packet_jobs("raw_seqpacket");
bench::peer_jobs<bench::both_ways<line<bytes>>> stream_jobs("raw_stream");
bench::line_jobs<posix_queue> posix_jobs("raw_posix_mq");

template <kind Kind>
void ipc_pipe(const bench::options& opt) {
    long size = opt.number("msg", 64);
    bench::round_trip<bench::both_ways<line<Kind>>>(opt, size, false);
    bench::one_way<bench::both_ways<line<Kind>>>(opt, size);
}
bench::job pipe_packets("ipc_pipe", "raw", ipc_pipe<packets>);
bench::job pipe_bytes("ipc_pipe", "raw_stream", ipc_pipe<bytes>);

}  // namespace

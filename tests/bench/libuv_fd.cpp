// SPDX-License-Identifier: MIT

// fd_pingpong with uv_pipe_t, which takes pipes and sockets alike.
#include <uv.h>

#include "bench.hpp"

namespace {

constexpr unsigned size = 64;

struct side {
    uv_loop_t* loop = uv_default_loop();
    uv_pipe_t in, out;
    uv_pipe_t* writer = &in;
    char message[size] = {};
    unsigned got = 0;
    bench::meter* meter = nullptr;  // only the measuring side has one
    int left = 0;

    explicit side(bench::ends e) {
        uv_pipe_init(loop, &in, 0);
        uv_pipe_open(&in, e.in);
        in.data = this;
        if (e.out != e.in) {
            uv_pipe_init(loop, &out, 0);
            uv_pipe_open(&out, e.out);
            writer = &out;
        }
    }
    void write() {
        uv_buf_t b = uv_buf_init(message, size);
        if (uv_try_write(reinterpret_cast<uv_stream_t*>(writer), &b, 1) != int(size))
            bench::die("uv_try_write");  // there is never more than one message under way
    }
    void stop() {
        uv_close(reinterpret_cast<uv_handle_t*>(&in), nullptr);
        if (writer != &in) uv_close(reinterpret_cast<uv_handle_t*>(&out), nullptr);
    }
    void received(ssize_t n) {
        if (n < 0) return stop();
        got += unsigned(n);
        if (got < size) return;
        got = 0;
        if (meter && --left == 0) {
            if (!meter->more(200)) return stop();
            left = 200;
        }
        write();
    }
    void run() {
        uv_read_start(
            reinterpret_cast<uv_stream_t*>(&in),
            [](uv_handle_t* h, std::size_t, uv_buf_t* b) {
                side& s = *static_cast<side*>(h->data);
                *b = uv_buf_init(s.message + s.got, size - s.got);
            },
            [](uv_stream_t* h, ssize_t n, const uv_buf_t*) {
                static_cast<side*>(h->data)->received(n);
            });
        uv_run(loop, UV_RUN_DEFAULT);
    }
};

bench::job pingpong_job("fd_pingpong", "libuv", [](const bench::options& opt) {
    bench::link l = bench::link::open(opt);
    bench::child echo(opt, [&] { side(l.keep(1)).run(); });
    side mine(l.keep(0));
    bench::meter m(opt);
    mine.meter = &m;
    m.more(200);
    mine.left = 200;
    mine.write();
    mine.run();
    bench::report("roundtrip_ns", m.median_ns());
    echo.wait();
});

}  // namespace

// SPDX-License-Identifier: MIT

// ZeroMQ's PAIR over ipc:// with an abstract name; a context each, made after the fork.
#include <zmq.h>

#include <string>

#include "messages.hpp"

namespace {

class pair {
public:
    explicit pair(long) {}
    void open(int role) {
        socket_ = zmq_socket(zmq_ctx_new(), ZMQ_PAIR);
        if (role ? zmq_connect(socket_, name_.c_str()) : zmq_bind(socket_, name_.c_str()))
            bench::die("zmq_bind or zmq_connect");
    }
    void send(const char* m, long n) {
        if (zmq_send(socket_, m, std::size_t(n), 0) != n) bench::die("zmq_send");
    }
    template <class F>
    void recv(long n, F f) {
        zmq_msg_t m;
        zmq_msg_init(&m);
        if (zmq_msg_recv(&m, socket_, 0) != n) bench::die("zmq_msg_recv");
        f(static_cast<const char*>(zmq_msg_data(&m)));
        zmq_msg_close(&m);
    }

private:
    std::string name_ = "ipc://@runnel-bench-" + std::to_string(getpid());
    void* socket_ = nullptr;
};

bench::peer_jobs<pair> jobs("zeromq");

}  // namespace

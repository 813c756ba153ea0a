// SPDX-License-Identifier: MIT

// nng's pair0 over an abstract Unix socket, buffers of 128 messages.
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>

#include <string>

#include "messages.hpp"

namespace {

void check(int error, const char* what) {
    if (!error) return;
    std::fprintf(stderr, "%s: %s\n", what, nng_strerror(error));
    _exit(2);
}

class pair {
public:
    explicit pair(long) {}
    void open(int role) {
        check(nng_pair0_open(&socket_), "nng_pair0_open");
        check(nng_socket_set_int(socket_, NNG_OPT_SENDBUF, 128), "NNG_OPT_SENDBUF");
        check(nng_socket_set_int(socket_, NNG_OPT_RECVBUF, 128), "NNG_OPT_RECVBUF");
        check(nng_socket_set_size(socket_, NNG_OPT_RECVMAXSZ, 0), "NNG_OPT_RECVMAXSZ");
        if (role == 0) return check(nng_listen(socket_, name_.c_str(), nullptr, 0), "nng_listen");
        while (int error = nng_dial(socket_, name_.c_str(), nullptr, 0)) {
            if (error != NNG_ECONNREFUSED && error != NNG_ENOENT) check(error, "nng_dial");
            usleep(1000);
        }
    }
    void send(const char* m, long n) {
        check(nng_send(socket_, const_cast<char*>(m), std::size_t(n), 0), "nng_send");
    }
    template <class F>
    void recv(long, F f) {
        nng_msg* m;
        check(nng_recvmsg(socket_, &m, 0), "nng_recvmsg");
        f(static_cast<const char*>(nng_msg_body(m)));
        nng_msg_free(m);
    }

private:
    std::string name_ = "abstract://runnel-bench-" + std::to_string(getpid());
    nng_socket socket_{};
};

bench::peer_jobs<pair> jobs("nng");

}  // namespace

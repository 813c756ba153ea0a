// SPDX-License-Identifier: MIT
// Bytes, batches and the waiting for many, at every moment at which a completion and a cancellation
// can meet.

#include <runnel/ipc/pipe.hpp>
#include <runnel/ipc/wait_any.hpp>
#include <runnel/testing/no_loss.hpp>

#include "message_tools.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"
#include "support/proof.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

/// Takes all datagrams out; how many are messages and not filling. Descriptors are dropped.
int drain(int fd) {
    static char text[200000];
    int found = 0;
    while (::recv(fd, text, sizeof text, MSG_DONTWAIT) > 0)
        if (text[0] != '#') ++found;
    return found;
}
void fill(int fd) {
    const std::string filling(1000, '#');
    while (raw_message::post_bytes(fd, filling)) {
    }
}

/// What receives from `in`; complete() sends one message to `out`.
struct receives {
    int in = -1, out = -1;
    raw_message message = message_of(7);
    int sent = 0;
    void complete() {
        ++sent;
        REQUIRE(message.post(out));
    }
    bool balanced(bool delivered) const {
        const int taken = sent - drain(in);
        return delivered ? taken >= 1 : taken == 0;
    }
};
/// What sends to `out`, which is full until complete().
struct sends {
    int in = -1, out = -1;
    int found = 0;
    void complete() { found += drain(in); }
    bool balanced(bool delivered) {
        found += drain(in);
        return delivered ? found >= 1 : found == 0;
    }
};

template <class T>
struct simplex_receives : receives {
    ipc::simplex_pipe<T> ends = ipc::pipe<T>(ipc::simplex);
    ipc::receiver<T>& from() { return ends.receiver; }
    simplex_receives() {
        in = ends.receiver.native_handle();
        out = ends.sender.native_handle();
    }
};
template <class T>
struct duplex_receives : receives {
    ipc::duplex_pipe<T> ends = ipc::pipe<T>();
    ipc::connection<T>& from() { return ends.first; }
    duplex_receives() {
        in = ends.first.native_handle();
        out = ends.second.native_handle();
    }
};
template <class T>
struct simplex_sends : sends {
    ipc::simplex_pipe<T> ends = ipc::pipe<T>(ipc::simplex);
    ipc::sender<T>& to() { return ends.sender; }
    simplex_sends() {
        in = ends.receiver.native_handle();
        out = ends.sender.native_handle();
        fill(out);
    }
};
template <class T>
struct duplex_sends : sends {
    ipc::duplex_pipe<T> ends = ipc::pipe<T>();
    ipc::connection<T>& to() { return ends.first; }
    duplex_sends() {
        in = ends.second.native_handle();
        out = ends.first.native_handle();
        fill(out);
    }
};

template <class From>
struct takes_bytes : From {
    auto operation() { return this->from().recv_bytes(); }
};
template <class From>
struct takes_bytes_into : From {
    std::array<std::byte, 100> buffer{};
    auto operation() { return this->from().recv_bytes_into(buffer, 50); }
};
template <class From>
struct takes_batch : From {
    auto operation() { return this->from().recv_batch(3); }
};
template <class To, std::size_t Size>
struct gives_bytes : To {
    std::vector<std::byte> buffer = std::vector<std::byte>(Size);
    auto operation() { return this->to().send_bytes(buffer, 1); }
};
template <class To>
struct gives_batch : To {
    std::array<int, 3> values{1, 2, 3};
    auto operation() { return this->to().send_batch(values); }
};

struct waits_for_two : receives {
    ipc::simplex_pipe<int> one = ipc::pipe<int>(ipc::simplex);
    ipc::duplex_pipe<ipc::bytes> other = ipc::pipe<ipc::bytes>();
    waits_for_two() {
        in = one.receiver.native_handle();
        out = one.sender.native_handle();
    }
    auto operation() { return ipc::wait_any(other.first, one.receiver); }
    bool balanced(bool) const { return receives::balanced(false); }
};

}  // namespace

TEST_CASE("bytes and batches are received, or stay for the next") {
    const descriptor_count before;
    testing::no_loss proof;
    using ipc::bytes;
    proof.put<takes_bytes<simplex_receives<bytes>>>("ipc::receiver.recv_bytes");
    proof.put<takes_bytes<duplex_receives<bytes>>>("ipc::connection.recv_bytes");
    proof.put<takes_bytes_into<simplex_receives<bytes>>>("ipc::receiver.recv_bytes_into");
    proof.put<takes_bytes_into<duplex_receives<bytes>>>("ipc::connection.recv_bytes_into");
    proof.put<takes_batch<simplex_receives<int>>>("ipc::receiver.recv_batch");
    proof.put<takes_batch<duplex_receives<int>>>("ipc::connection.recv_batch");
    proof.put<waits_for_two>("ipc::wait_any");
    require_proven(proof);
    CHECK(before.unchanged());
}

TEST_CASE("bytes and batches are sent, or have no effect") {
    const descriptor_count before;
    testing::no_loss proof;
    using ipc::bytes;
    proof.put<gives_bytes<simplex_sends<bytes>, 10>>("ipc::sender.send_bytes");
    proof.put<gives_bytes<duplex_sends<bytes>, 10>>("ipc::connection.send_bytes");
    proof.put<gives_bytes<simplex_sends<bytes>, 200000>>("ipc::sender.send_bytes, large");
    proof.put<gives_batch<simplex_sends<int>>>("ipc::sender.send_batch");
    proof.put<gives_batch<duplex_sends<int>>>("ipc::connection.send_batch");
    require_proven(proof);
    CHECK(before.unchanged());
}

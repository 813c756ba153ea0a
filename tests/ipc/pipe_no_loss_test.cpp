// SPDX-License-Identifier: MIT
// Sending and receiving messages at every moment at which a completion and a cancellation can meet.

#include <runnel/ipc/pipe.hpp>
#include <runnel/testing/no_loss.hpp>

#include "message_tools.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"
#include "support/proof.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

// Takes all datagrams out; how many are messages and not filling.
int drain(int fd) {
    static char bytes[200000];
    int found = 0;
    for (;;) {
        alignas(::cmsghdr) char control[CMSG_SPACE(16 * sizeof(int))];
        ::iovec part{bytes, sizeof bytes};
        ::msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        const auto n = ::recvmsg(fd, &message, MSG_DONTWAIT);
        if (n <= 0) return found;
        for (::cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
            for (std::size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
                int number = -1;
                std::memcpy(&number, CMSG_DATA(c) + i * sizeof(int), sizeof number);
                ::close(number);
            }
        }
        if (bytes[0] != '#') ++found;
    }
}

template <class T>
struct receives {
    ipc::simplex_pipe<T> ends = ipc::pipe<T>(ipc::simplex);
    int sent = 0;
    auto operation() { return ends.receiver.recv(); }
    void complete() {
        ++sent;
        post(ends.sender.native_handle());
    }
    bool balanced(bool delivered) {
        return sent == drain(ends.receiver.native_handle()) + (delivered ? 1 : 0);
    }
    static void post(int fd) {
        raw_message message;
        unique_fd file;
        if constexpr (std::is_same_v<T, unique_fd>) {
            message.head.handles = 1;
            message.head.serial = 77;
            message.body = "\1";
            message.descriptors = {0};
        } else if constexpr (std::is_same_v<T, std::string>) {
            message = message_of(std::string("text"));
        } else if constexpr (std::is_same_v<T, std::u16string>) {
            raw_message inner = message_of(std::u16string(50000, u'x'));
            file = segment_file(inner.body);
            message.head.kind = ipc::detail::frame_header::in_segment;
            message.head.length = inner.body.size();
            message.head.serial = 78;
            message.descriptors = {file.get()};
        } else {
            message = message_of(7);
        }
        message.head.length = file ? message.head.length : message.body.size();
        REQUIRE(message.post(fd));
    }
};

/// The same by the handle that does both.
struct receives_on_connection {
    ipc::duplex_pipe<int> ends = ipc::pipe<int>();
    int sent = 0;
    auto operation() { return ends.first.recv(); }
    void complete() {
        ++sent;
        receives<int>::post(ends.second.native_handle());
    }
    bool balanced(bool delivered) {
        return sent == drain(ends.first.native_handle()) + (delivered ? 1 : 0);
    }
};
struct polls_connection : receives_on_connection {
    auto operation() { return ends.first.poll(std::chrono::seconds(20)); }
    bool balanced(bool) { return receives_on_connection::balanced(false); }
};

template <int Size>
struct sends {
    ipc::simplex_pipe<std::string> ends = ipc::pipe<std::string>(ipc::simplex);
    std::string text = std::string(Size, 't');
    int found = 0;
    sends() {
        const std::string filling(1000, '#');
        while (raw_message::post_bytes(ends.sender.native_handle(), filling)) {
        }
    }
    auto operation() { return ends.sender.send(text); }
    void complete() { found += drain(ends.receiver.native_handle()); }
    bool balanced(bool delivered) {
        found += drain(ends.receiver.native_handle());
        return found == (delivered ? 1 : 0);
    }
};

struct sends_on_connection {
    ipc::duplex_pipe<std::string> ends = ipc::pipe<std::string>();
    std::string text = std::string(10, 't');
    int found = 0;
    sends_on_connection() {
        const std::string filling(1000, '#');
        while (raw_message::post_bytes(ends.first.native_handle(), filling)) {
        }
    }
    auto operation() { return ends.first.send(text); }
    void complete() { found += drain(ends.second.native_handle()); }
    bool balanced(bool delivered) {
        found += drain(ends.second.native_handle());
        return found == (delivered ? 1 : 0);
    }
};

struct polls {
    ipc::simplex_pipe<int> ends = ipc::pipe<int>(ipc::simplex);
    int sent = 0;
    auto operation() { return ends.receiver.poll(std::chrono::seconds(20)); }
    void complete() {
        ++sent;
        receives<int>::post(ends.sender.native_handle());
    }
    bool balanced(bool) { return drain(ends.receiver.native_handle()) == sent; }
};

}  // namespace

TEST_CASE("a message is received, or stays for the next") {
    const descriptor_count before;
    testing::no_loss proof;
    proof.put<receives<int>>("ipc::receiver.recv");
    proof.put<receives<std::string>>("ipc::receiver.recv, of variable size");
    proof.put<receives<unique_fd>>("ipc::receiver.recv, of a descriptor");
    proof.put<receives<std::u16string>>("ipc::receiver.recv, of a large body");
    proof.put<polls>("ipc::receiver.poll");
    proof.put<receives_on_connection>("ipc::connection.recv");
    proof.put<polls_connection>("ipc::connection.poll");
    require_proven(proof);
    CHECK(before.unchanged());
}

TEST_CASE("a message is sent, or has no effect") {
    const descriptor_count before;
    testing::no_loss proof;
    proof.put<sends<10>>("ipc::sender.send");
    proof.put<sends_on_connection>("ipc::connection.send");
    proof.put<sends<200000>>("ipc::sender.send, of a large body");
    require_proven(proof);
    CHECK(before.unchanged());
}

// SPDX-License-Identifier: MIT
// The operations of byte streams at every moment at which a completion and a cancellation can meet:
// no byte is lost, none comes twice, and all stay in order.
#include <string>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <runnel/runnel.hpp>
#include <runnel/testing/no_loss.hpp>

#include "support/catch.hpp"
#include "support/proof.hpp"

using namespace runnel;

namespace {

void put(int fd, std::string_view text) {
    REQUIRE(::write(fd, text.data(), text.size()) == ::ssize_t(text.size()));
}
/// All that can be read from a descriptor now.
std::string rest_of(int fd) {
    REQUIRE(::fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    std::string all;
    char data[4096];
    for (::ssize_t n; (n = ::read(fd, data, sizeof data)) > 0;) all.append(data, std::size_t(n));
    REQUIRE(::fcntl(fd, F_SETFL, 0) == 0);
    return all;
}

/// A pipe in which the beginning of what is waited for lies already.
struct reading {
    pipe_ends ends = make_pipe();
    std::string put_in;
    std::array<char, 5> data{};

    void add(std::string_view text) {
        put(ends.writer.native_handle(), text);
        put_in += text;
    }
    std::span<std::byte> place() { return std::as_writable_bytes(std::span(data)); }
    /// What was put in and not taken, in order.
    std::string left() {
        const auto ahead = ends.reader.buffered();
        return std::string(reinterpret_cast<const char*>(ahead.data()), ahead.size()) +
               rest_of(ends.reader.native_handle());
    }
    bool taken(bool delivered, std::string_view wanted) {
        return (delivered ? std::string(wanted) : std::string()) + left() == put_in;
    }
    std::string_view got() const { return {data.data(), data.size()}; }
};
struct reads : reading {
    auto operation() { return ends.reader.read(place()); }
    void complete() { add("x"); }
    bool balanced(bool delivered) { return taken(delivered, "x") && (data[0] == 'x') == delivered; }
};
struct reads_exactly : reading {
    reads_exactly() { add("ab"); }
    auto operation() { return ends.reader.read_exactly(place()); }
    void complete() { add("cdefg"); }
    bool balanced(bool delivered) {
        return taken(delivered, "abcde") && (got() == "abcde") == delivered;
    }
};
struct reads_until : reading {
    reads_until() { add("hel"); }
    auto operation() { return ends.reader.read_until('\n'); }
    void complete() { add("lo\nnext"); }
    bool balanced(bool delivered) { return taken(delivered, "hello\n"); }
};
struct reads_until_words : reading {
    reads_until_words() { add("one-"); }
    auto operation() { return ends.reader.read_until("--"); }
    void complete() { add("-two--"); }
    bool balanced(bool delivered) { return taken(delivered, "one--"); }
};
struct reads_all : reading {
    reads_all() { add("be"); }
    auto operation() { return ends.reader.read_all(100); }
    void complete() {
        add("gin");
        ends.writer.close();
    }
    bool balanced(bool delivered) { return taken(delivered, "begin"); }
};

/// A socket with room for a part of what is written.
struct writing {
    std::pair<byte_stream, byte_stream> ends = make_socket_pair();
    std::string taken;

    writing() { set_room(8 * 1024); }
    void set_room(int bytes) {
        REQUIRE(::setsockopt(ends.first.native_handle(), SOL_SOCKET, SO_SNDBUF, &bytes,
                             sizeof bytes) == 0);
    }
    void complete() {
        taken += rest_of(ends.second.native_handle());
        set_room(100 * 1024);
    }
    std::string all() { return taken + rest_of(ends.second.native_handle()); }
};
struct writes : writing {
    std::size_t filling = 0;
    writes() {
        const std::string some(512, '-');
        for (::ssize_t n = 0; n >= 0; filling += std::size_t(n)) {
            n = ::send(ends.first.native_handle(), some.data(), some.size(), MSG_DONTWAIT);
            if (n < 0) break;
        }
    }
    auto operation() { return ends.first.write("x"); }
    bool balanced(bool delivered) {
        return all() == std::string(filling, '-') + (delivered ? "x" : "");
    }
};
// Composed: what was written is what *written says, wherever it was stopped.
struct writes_all : writing {
    std::string text;
    std::size_t written = 0;
    writes_all() {
        for (int i = 0; text.size() < 40000; ++i) text += std::to_string(i) + ' ';
    }
    auto operation() { return ends.first.write_all(text, &written); }
    bool balanced(bool delivered) {
        return all() == text.substr(0, written) && (written == text.size() || !delivered);
    }
};

}  // namespace

TEST_CASE("what a stream reads is delivered or stays to be read") {
    testing::no_loss proof;
    proof.put<reads>("byte_stream.read");
    proof.put<reads_exactly>("byte_stream.read_exactly");
    proof.put<reads_until>("byte_stream.read_until");
    proof.put<reads_until_words>("byte_stream.read_until, words");
    proof.put<reads_all>("byte_stream.read_all");
    test::require_proven(proof);
}

TEST_CASE("what a stream has written is what it says") {
    testing::no_loss proof;
    proof.put<writes>("byte_stream.write");
    proof.put<writes_all>("byte_stream.write_all");
    test::require_proven(proof);
}

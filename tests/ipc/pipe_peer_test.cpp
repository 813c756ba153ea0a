// SPDX-License-Identifier: MIT
// What a peer, or whoever shares a socket, can do to a pipe's messages: odd datagrams, options of the
// socket, descriptors that nobody needs.
#include <algorithm>
#include <string>
#include <vector>

#include <runnel/ipc/pipe.hpp>
#include <runnel/runnel.hpp>

#include "message_tools.hpp"
#include "peer_tools.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"

using namespace runnel;
using namespace runnel::test;

TEST_CASE("an empty datagram before others, or before the end, is not taken for the end") {
    run([]() -> task<> {
        const raw_message number = message_of(7), text = message_of(std::string("x"));
        auto ints = ipc::pipe<int>();
        auto texts = ipc::pipe<std::string>();
        auto batch = ipc::pipe<int>();
        for (const int to : {ints.first.native_handle(), batch.first.native_handle()}) {
            REQUIRE(raw_message::post_bytes(to, ""));
            REQUIRE(number.post(to));
        }
        REQUIRE(raw_message::post_bytes(texts.first.native_handle(), ""));
        REQUIRE(text.post(texts.first.native_handle()));
        ints.first.close();
        texts.first.close();
        batch.first.close();
        const std::string a = co_await refusal(ints.second);
        const std::string b = co_await refusal(texts.second);
        CHECK(says(a, "an empty datagram"));
        CHECK(says(b, "an empty datagram"));
        std::string c;
        try {
            auto got = co_await batch.second.recv_batch();
            c = got.empty() ? "the end" : "messages";
        } catch (const std::system_error& e) {
            c = e.what();
        }
        CHECK(says(c, "an empty datagram"));
    });
}

TEST_CASE("what others have asked the socket for neither leaks nor harms") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            constexpr int pass_pidfd = 76;  // SO_PASSPIDFD, which old headers lack
            auto ints = ipc::pipe<int>();
            auto texts = ipc::pipe<std::string>();
            auto files = ipc::pipe<unique_fd>();
            const int on = 1;
            bool knows_pidfd = true;
            for (const int fd : {ints.second.native_handle(), texts.second.native_handle(),
                                 files.second.native_handle()}) {
                REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
                knows_pidfd &= ::setsockopt(fd, SOL_SOCKET, pass_pidfd, &on, sizeof on) == 0;
            }
            CHECK((knows_pidfd || errno == ENOPROTOOPT));
            const std::string long_text(300000, 'x');
            std::size_t open = 0;
            for (int i = 0; i < 4; ++i) {
                co_await ints.first.send(i);
                auto one = co_await ints.second.recv();
                CHECK(one == i);
                co_await ints.first.send(i);
                co_await ints.first.send(i + 1);
                auto two = co_await ints.second.recv_batch();
                CHECK((two == std::vector<int>{i, i + 1}));
                const std::string small = "text";
                co_await texts.first.send(small);
                auto text = co_await texts.second.recv();
                CHECK(text == small);
                co_await texts.first.send(long_text);
                text = co_await texts.second.recv();
                CHECK((text == long_text));
                const unique_fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
                co_await files.first.send(null);
                auto file = co_await files.second.recv();
                REQUIRE(file);
                CHECK(*file);
                file.reset();
                if (i == 0) open = open_descriptors();
                CHECK(open_descriptors() == open);
            }
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("no more descriptors are taken from a message than its type can need") {
    // Room for one and a few; the kernel drops the rest.
    raw_message many = message_of(std::string("x"));
    many.descriptors.assign(253, 0);
    CHECK(says(refused<std::string>(many), "number of descriptors"));
    const unique_fd file = segment_file(many.body);
    raw_message in_file = in_segment(file, many.body.size());
    in_file.descriptors.resize(253, 0);
    CHECK(says(refused<std::string>(in_file), "number of descriptors"));
}

TEST_CASE("an end's limit from a peer is cut to what memory can hold, and its options are known") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            auto ends = ipc::pipe<int>(ipc::simplex);
            ipc::encoder out;
            ipc::encode(out, ends.sender);
            const auto arrives = [&](std::size_t at, int with, std::size_t count) {
                ipc::bytes made(out.bytes().begin(), out.bytes().end());
                std::fill_n(made.begin() + static_cast<std::ptrdiff_t>(at), count,
                            static_cast<std::byte>(with));
                std::vector<unique_fd> handles;
                handles.emplace_back(::dup(ends.sender.native_handle()));
                return ipc::decode<ipc::sender<int>>(made, handles);
            };
            CHECK_THROWS_AS(arrives(16, 2, 1), std::system_error);
            auto sender = arrives(8, 0xff, 8);
            co_await sender.send(5);
            auto got = co_await ends.receiver.recv();
            CHECK(got == 5);
            ipc::encoder again;
            ipc::encode(again, sender);
            CHECK(again.bytes()[15] == std::byte{0x7f});  // the last of the limit
        }
        CHECK(before.unchanged());
    });
}

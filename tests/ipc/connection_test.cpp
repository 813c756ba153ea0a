// SPDX-License-Identifier: MIT
#include <runnel/ipc/connection.hpp>

#include <csignal>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <sys/resource.h>

#include <runnel/ipc/pipe.hpp>
#include <runnel/runnel.hpp>

#include "message_tools.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

using ipc::detail::frame_header;

struct request {
    int id = 0;
    std::vector<unique_fd> files;
    std::map<std::string, ipc::sender<std::string>> answers;
    std::optional<ipc::receiver<int>> more;
};
// A type that contains a handle of itself.
struct visitor {
    std::string name;
    std::vector<ipc::connection<visitor>> friends;
};
static_assert(ipc::carries_handles<request>);
static_assert(ipc::signature_of<ipc::sender<int>> != ipc::signature_of<ipc::sender<long long>>);
static_assert(ipc::signature_of<ipc::sender<int>> != ipc::signature_of<ipc::receiver<int>>);
static_assert(ipc::signature_of<visitor> != 0);

/// "" or why recv failed; the code must be `code`.
template <class T>
task<std::string> refusal(ipc::connection<T>& at, std::error_code code = errc::protocol) {
    std::string text = "nothing was refused";
    try {
        auto got = co_await at.recv();
        if (!got) text = "the end";
    } catch (const std::system_error& e) {
        text = e.what();
        if (e.code() != code) text = "another code: " + text;
    }
    co_return text;
}
bool says(const std::string& text, const char* what) {
    UNSCOPED_INFO(text);
    return text.starts_with("recv on pipe ") && text.find(what) != std::string::npos;
}

/// What a receiver of T says of `message`, which closes it.
template <class T>
std::string refused(const raw_message& message) {
    std::string text;
    run([&]() -> task<> {
        const descriptor_count before;
        auto ends = ipc::pipe<T>();
        REQUIRE(message.post(ends.first.native_handle()));
        text = co_await refusal(ends.second);
        CHECK(ends.second.closed());
        ends.first.close();
        CHECK(before.unchanged());
    });
    return text;
}

raw_message in_segment(const unique_fd& file, std::size_t length) {
    raw_message made;
    made.head.kind = frame_header::in_segment;
    made.head.length = length;
    made.head.serial = 5;
    made.descriptors = {file.get()};
    return made;
}

}  // namespace

TEST_CASE("handles travel inside of messages, and work where they arrive") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            auto ends = ipc::pipe<request>(ipc::simplex);
            auto answers = ipc::pipe<std::string>(ipc::simplex);
            auto numbers = ipc::pipe<int>(ipc::simplex);
            {
                request out;
                out.id = 7;
                out.files.emplace_back(::dup(1));
                out.files.emplace_back();
                out.answers.emplace("a", std::move(answers.sender));
                out.more = std::move(numbers.receiver);
                co_await ends.sender.send(out);
            }
            auto got = co_await ends.receiver.recv();
            REQUIRE(got.has_value());
            CHECK(got->id == 7);
            CHECK(got->files.at(0));
            CHECK(!got->files.at(1));
            const std::string yes = "yes";
            co_await got->answers.at("a").send(yes);
            auto answer = co_await answers.receiver.recv();
            CHECK(answer == "yes");
            co_await numbers.sender.send(3);
            auto number = co_await got->more->recv();
            CHECK(number == 3);
            got.reset();
            auto end = co_await answers.receiver.recv();
            CHECK(!end);
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("a handle sent by rvalue leaves when it was sent, and only then") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::sender<int>>(ipc::simplex);
        auto numbers = ipc::pipe<int>(ipc::simplex);
        co_await ends.sender.send(std::move(numbers.sender));
        CHECK(numbers.sender.closed());
        auto there = co_await ends.receiver.recv();
        there.reset();
        auto end = co_await numbers.receiver.recv();
        CHECK(!end);

        auto more = ipc::pipe<int>(ipc::simplex);
        for (bool room = true; room;)  // what there is room for is sent at once
            room = co_await with_timeout(ends.sender.send(more.sender), 1ms);
        const bool sent = co_await with_timeout(ends.sender.send(std::move(more.sender)), 1ms);
        CHECK(!sent);
        CHECK(!more.sender.closed());
    });
}

TEST_CASE("a closed handle travels as a closed handle") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::sender<int>>();
        const ipc::sender<int> none;
        co_await ends.first.send(none);
        auto got = co_await ends.second.recv();
        REQUIRE(got.has_value());
        CHECK(got->closed());
    });
}

TEST_CASE("a type may contain ends of pipes of itself") {
    run([]() -> task<> {
        auto ends = ipc::pipe<visitor>();
        auto own = ipc::pipe<visitor>();
        visitor v;
        v.name = "v";
        v.friends.push_back(std::move(own.first));
        co_await ends.first.send(v);
        auto got = co_await ends.second.recv();
        REQUIRE(got.has_value());
        visitor w;
        w.name = "w";
        co_await got->friends.at(0).send(w);
        auto back = co_await own.second.recv();
        REQUIRE(back.has_value());
        CHECK(back->name == "w");
    });
}

TEST_CASE("handles come along with a large body") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            auto ends = ipc::pipe<std::pair<std::string, std::vector<unique_fd>>>();
            std::pair<std::string, std::vector<unique_fd>> out;
            out.first.assign(300000, 'x');
            for (int i = 0; i < 252; ++i) out.second.emplace_back(::dup(1));
            co_await ends.first.send(out);
            auto got = co_await ends.second.recv();
            REQUIRE(got.has_value());
            CHECK((got->first == out.first));
            CHECK(got->second.size() == 252);
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("more descriptors than the kernel passes are refused with their number") {
    run([]() -> task<> {
        auto ends = ipc::pipe<std::vector<unique_fd>>();
        std::vector<unique_fd> all;
        for (int i = 0; i < 253; ++i) all.emplace_back(::dup(1));
        co_await ends.first.send(all);
        auto got = co_await ends.second.recv();
        REQUIRE(got.has_value());
        CHECK(got->size() == 253);
        all.emplace_back(::dup(1));
        std::string text;
        try {
            co_await ends.first.send(all);
        } catch (const std::invalid_argument& e) {
            text = e.what();
        }
        CHECK(text.find("254") != std::string::npos);
    });
}

TEST_CASE("the end of another pipe's type is refused on arrival") {
    run([]() -> task<> {
        auto ends = ipc::pipe<ipc::sender<int>>();
        auto other = ipc::pipe<ipc::sender<unsigned>>();
        auto numbers = ipc::pipe<unsigned>(ipc::simplex);
        ipc::encoder out;
        ipc::encode(out, numbers.sender);
        raw_message made;
        made.body.assign(reinterpret_cast<const char*>(out.bytes().data()), out.bytes().size());
        made.head.length = made.body.size();
        made.head.handles = 1;
        made.descriptors = {numbers.sender.native_handle()};
        REQUIRE(made.post(other.first.native_handle()));
        auto right = co_await other.second.recv();
        CHECK(right.has_value());
        REQUIRE(made.post(ends.first.native_handle()));
        const std::string wrong = co_await refusal(ends.second);
        CHECK(says(wrong, "another direction or carries another type"));

        auto again = ipc::pipe<ipc::sender<unsigned>>();
        made.descriptors = {1};
        REQUIRE(made.post(again.first.native_handle()));
        const std::string file = co_await refusal(again.second);
        CHECK(says(file, "not a socket of packets"));
    });
}

// Room for two descriptors is left while it fails, since clang's vptr sanitizer needs a pipe.
TEST_CASE("without room for descriptors recv throws EMFILE, and the message stays") {
    const ::pid_t child = in_child([] {
        int result = 1;
        run([&]() -> task<> {
            using files = std::vector<unique_fd>;
            auto ends = ipc::pipe<files>();
            auto large = ipc::pipe<std::pair<std::string, files>>();
            files four;
            std::pair<std::string, files> most(std::string(200000, 'x'), files());
            for (int i = 0; i < 4; ++i) four.emplace_back(::dup(1));
            for (int i = 0; i < 3; ++i) most.second.emplace_back(::dup(1));
            co_await ends.first.send(four);
            co_await large.first.send(most);

            const int next = ::dup(0);  // all numbers below are taken
            ::close(next);
            ::rlimit old{};
            ::getrlimit(RLIMIT_NOFILE, &old);
            const auto leave_room = [&](int count) {
                ::rlimit limit = old;
                limit.rlim_cur = static_cast<::rlim_t>(next + count);
                ::setrlimit(RLIMIT_NOFILE, &limit);
            };
            const std::error_code full(EMFILE, std::system_category());
            for (const int room : {2, 3, 2}) {
                leave_room(room);
                const std::string a = co_await refusal(ends.second, full);
                const std::string b = co_await refusal(large.second, full);
                if (!a.starts_with("recv on pipe") || !b.starts_with("recv on pipe")) ::_exit(2);
            }
            leave_room(4);
            auto got = co_await ends.second.recv();
            ::setrlimit(RLIMIT_NOFILE, &old);
            if (!got || got->size() != 4 || !got->front() || !got->back()) ::_exit(3);
            got.reset();
            leave_room(4);
            auto whole = co_await large.second.recv();
            ::setrlimit(RLIMIT_NOFILE, &old);
            if (!whole || whole->first != most.first || whole->second.size() != 3) ::_exit(4);
            result = 0;
        });
        return result;
    });
    CHECK(exit_of(child) == 0);
}

TEST_CASE("bytes that are no message close the channel, with the reason") {
    CHECK(says(refused<int>({}), "decode at byte 0 of 0: the message ends inside a value"));
    raw_message good = message_of(7);
    const auto with = [&](auto change) {
        raw_message made = good;
        change(made);
        return made;
    };
    CHECK(says(refused<int>(with([](auto& m) { m.head.magic = 1; })), "not a message"));
    CHECK(says(refused<int>(with([](auto& m) { m.head.version = 9; })), "version"));
    CHECK(says(refused<int>(with([](auto& m) { m.head.kind = 2; })), "unknown kind"));
    CHECK(says(refused<int>(with([](auto& m) { m.head.length = 5; })), "another length"));
    CHECK(says(refused<int>(with([](auto& m) { m.head.length = ~0ull; })), "another length"));
    CHECK(says(refused<int>(with([](auto& m) { m.head.handles = 1; })), "descriptors"));
    CHECK(says(refused<int>(with([](auto& m) { m.head.handles = ~0u; })), "descriptors"));
    CHECK(says(refused<int>(with([](auto& m) { m.body += 'x'; })), "larger than any message"));
    CHECK(says(refused<std::string>(with([](auto& m) { m.descriptors = {0}; })), "number of desc"));
    CHECK(says(refused<unique_fd>(with([](auto& m) {
                   m.body = "\2";
                   m.head.length = 1;
               })),
               "a descriptor is named that did not come along"));
    CHECK(says(refused<std::string>(with([](auto& m) {
                   m.body = "\377";
                   m.head.length = 1;
               })),
               "decode at byte 1 of 1"));
    CHECK(says(refused<std::string>(with([](auto& m) {
                   m.head.kind = 1;
                   m.body.clear();
               })),
               "number of descriptors"));
    for (const std::size_t size :
         {std::size_t{1}, sizeof(frame_header) - 1, std::size_t{140000}, std::size_t{150000}}) {
        run([&]() -> task<> {
            auto ints = ipc::pipe<int>();
            auto texts = ipc::pipe<std::string>();
            const std::string bytes(size, '\0');
            REQUIRE(raw_message::post_bytes(ints.first.native_handle(), bytes));
            REQUIRE(raw_message::post_bytes(texts.first.native_handle(), bytes));
            const std::string a = co_await refusal(ints.second);
            const std::string b = co_await refusal(texts.second);
            const char* why = size < 100 ? "without a header" : "larger than any message";
            CHECK(says(a, why));
            CHECK(says(b, why));
        });
    }
    run([&]() -> task<> {
        auto ends = ipc::pipe<int>();
        REQUIRE(raw_message::post_bytes(ends.first.native_handle(), ""));
        const std::string empty = co_await refusal(ends.second);
        CHECK(says(empty, "an empty datagram"));
    });
}

TEST_CASE("descriptors that a small type has no place for are dropped") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            const std::size_t count = open_descriptors();
            auto ends = ipc::pipe<int>();
            raw_message message = message_of(7);
            message.descriptors = {0, 1};
            REQUIRE(message.post(ends.first.native_handle()));
            auto got = co_await ends.second.recv();
            CHECK(got == 7);
            CHECK(open_descriptors() == 2 + count);
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("a segment that is not what it says is never read") {
    const raw_message inner = message_of(std::string(100000, 'x'));
    const std::size_t size = inner.body.size();
    const auto why = [&](const unique_fd& file, std::size_t length) {
        return refused<std::string>(in_segment(file, length));
    };
    const auto sized = [&](std::size_t bytes) { return memory_file(inner.body, bytes, 0); };
    CHECK(says(why(segment_file(inner.body), size + 1), "smaller than it says"));
    CHECK(says(why(segment_file(inner.body), std::size_t{1} << 29), "smaller than it says"));
    CHECK(says(why(sized(0), 1), "smaller than it says"));
    CHECK(says(why(sized(4095), 1), "smaller than it says"));
    CHECK(says(why(memory_file("", 4096 + (1 << 20), 0), 1 << 20), "holes"));
    CHECK(says(why(segment_file(""), 0), "another length"));
    CHECK(
        says(why(unique_fd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)), size), "not a memfd"));
    int two[2];
    REQUIRE(::pipe2(two, O_CLOEXEC) == 0);
    const unique_fd in(two[0]), out(two[1]);
    CHECK(says(why(in, size), "not a file"));
    const unique_fd right = segment_file(inner.body);
    raw_message both = in_segment(right, 8);
    both.body = "all of it";
    CHECK(says(refused<std::string>(both), "another length"));
}

TEST_CASE("a segment may be sealed against writing, or written to later") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            auto ends = ipc::pipe<std::string>();
            const std::string text(200000, 'x');
            const raw_message inner = message_of(text);
            const unique_fd file = segment_file(inner.body);
            const unique_fd writable = segment_file(inner.body);
            REQUIRE(::fcntl(file.get(), F_ADD_SEALS, all_seals) == 0);
            REQUIRE(in_segment(file, inner.body.size()).post(ends.first.native_handle()));
            REQUIRE(in_segment(writable, inner.body.size()).post(ends.first.native_handle()));
            for (int i = 0; i < 2; ++i) {
                auto got = co_await ends.second.recv();
                CHECK((got == text));
            }
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("a message beyond max_message is lost, and the channel stays") {
    run([]() -> task<> {
        const descriptor_count before;
        {
            auto ends = ipc::pipe<std::string>(ipc::simplex, {.max_message = 1000});
            const int to = ends.sender.native_handle();
            ipc::connection<std::string> none;
            const raw_message small = message_of(std::string(10, 'x'));
            const raw_message large = message_of(std::string(2000, 'x'));
            const unique_fd file = segment_file(std::string(5000, 'x'));
            const raw_message huge = in_segment(file, 5000);
            REQUIRE(large.post(to));
            REQUIRE(huge.post(to));
            REQUIRE(small.post(to));
            for (int i = 0; i < 2; ++i) {
                std::error_code code;
                try {
                    auto got = co_await ends.receiver.recv();
                    (void)got;
                } catch (const std::system_error& e) {
                    code = e.code();
                }
                CHECK(code == errc::message_too_long);
            }
            auto got = co_await ends.receiver.recv();
            CHECK(got == std::string(10, 'x'));
        }
        CHECK(before.unchanged());
    });
}

TEST_CASE("random bytes and descriptors never do more than close the channel") {
    const std::uint64_t first = announced_seed("connection_test");
    INFO("RUNNEL_SEED=" << first);
    const descriptor_count before;
    std::mt19937_64 random(first);
    for (int round = 0; round < 2000; ++round) {
        run([&]() -> task<> {
            auto ends = ipc::pipe<std::pair<std::string, std::vector<unique_fd>>>();
            raw_message message;
            message.body.resize(random() % 40);
            for (char& c : message.body) c = static_cast<char>(random() % 4);
            message.head.length = message.body.size();
            message.head.handles = static_cast<std::uint32_t>(random() % 4);
            message.head.serial = random() % 2;
            for (auto n = random() % 4; n != 0; --n) message.descriptors.push_back(1);
            std::string bytes(reinterpret_cast<char*>(&message.head), sizeof message.head);
            bytes += message.body;
            if (random() % 2 == 0) bytes[random() % bytes.size()] ^= static_cast<char>(random());
            REQUIRE(
                raw_message::post_bytes(ends.first.native_handle(), bytes, message.descriptors));
            try {
                auto got = co_await ends.second.recv();
                (void)got;
            } catch (const std::system_error& e) {
                if (e.code() != errc::message_too_long) CHECK(ends.second.closed());
            }
        });
    }
    CHECK(before.unchanged());
}

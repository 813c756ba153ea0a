// SPDX-License-Identifier: MIT
#include <runnel/ipc/pipe.hpp>

#include <csignal>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <runnel/runnel.hpp>

#include "message_tools.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/fds.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

struct point {
    int x = 0;
    double y = 0;
    bool operator==(const point&) const = default;
};
struct owning {
    std::string text;
};
struct sized {
    std::array<std::byte, 64> bytes;
};

std::string text_of(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + i / 251);
    return text;
}

template <class Pipe>
task<> send_all_of(Pipe& out, std::vector<int> values) {
    for (const int v : values) co_await out.send(v);
}

template <class Code>
bool fails_with(const std::exception_ptr& error, Code code) {
    try {
        if (error) std::rethrow_exception(error);
    } catch (const std::system_error& e) {
        return e.code() == code;
    } catch (...) {
    }
    return false;
}

template <class A>
task<std::exception_ptr> failure_of(A awaited) {
    std::exception_ptr error;
    try {
        co_await std::move(awaited);
    } catch (...) {
        error = std::current_exception();
    }
    co_return error;
}

template <class T>
concept can_send = requires(T& t) { t.send(1); };
template <class T>
concept can_recv = requires(T& t) { t.recv(); };
template <class T, class V>
concept takes_temporary = requires(T& t, V v) { t.send(std::move(v)); };

static_assert(can_send<ipc::sender<int>> && !can_recv<ipc::sender<int>>);
static_assert(can_recv<ipc::receiver<int>> && !can_send<ipc::receiver<int>>);
static_assert(can_send<ipc::connection<int>> && can_recv<ipc::connection<int>>);
static_assert(!std::is_copy_constructible_v<ipc::connection<int>>);
static_assert(std::is_nothrow_move_constructible_v<ipc::sender<int>>);
static_assert(atomic_awaitable<
              decltype(std::declval<ipc::sender<owning>&>().send(std::declval<const owning&>()))>);
static_assert(atomic_awaitable<decltype(std::declval<ipc::receiver<owning>&>().recv())>);
static_assert(atomic_awaitable<decltype(std::declval<ipc::receiver<owning>&>().poll(1s))>);
static_assert(takes_temporary<ipc::sender<std::string>, std::string>);
#if defined(__clang__)
static_assert(takes_temporary<ipc::sender<owning>, owning>);
#else
static_assert(takes_temporary<ipc::sender<owning>, owning> == (__GNUC__ >= 13));
#endif

}  // namespace

TEST_CASE("a message of any size comes out as it went in") {
    run([]() -> task<> {
        auto ends = ipc::pipe<std::string>(ipc::simplex);
        constexpr std::size_t limit = ipc::detail::largest_datagram_body;
        // A string is preceded by its count: three bytes at these sizes.
        for (const std::size_t size :
             {std::size_t{0}, std::size_t{1}, std::size_t{64}, limit - 4, limit - 3, limit - 2,
              limit, limit + 1, std::size_t{1} << 20, std::size_t{16} << 20}) {
            const std::string text = text_of(size);
            co_await ends.sender.send(text);
            auto got = co_await ends.receiver.recv();
            REQUIRE(got.has_value());
            CHECK((*got == text));
        }
    });
}

TEST_CASE("values of fixed size, small and large, come out as they went in") {
    run([]() -> task<> {
        auto points = ipc::pipe<point>();
        const point one{3, 0.5};
        co_await points.first.send(one);
        auto got = co_await points.second.recv();
        CHECK(got == one);

        using block = std::array<std::uint32_t, 100000>;
        auto blocks = ipc::pipe<block>();
        const auto big = std::make_unique<block>();
        for (std::size_t i = 0; i < big->size(); ++i) (*big)[i] = static_cast<std::uint32_t>(i);
        co_await blocks.second.send(*big);
        const auto same = std::make_unique<std::optional<block>>(co_await blocks.first.recv());
        CHECK((**same == *big));
    });
}

TEST_CASE("both ends of a duplex pipe send and receive") {
    run([]() -> task<> {
        auto [one, other] = ipc::pipe<int>();
        co_await one.send(1);
        co_await other.send(2);
        auto at_one = co_await one.recv();
        auto at_other = co_await other.recv();
        CHECK(at_one == 2);
        CHECK(at_other == 1);
    });
}

TEST_CASE("an empty message is not the end, which comes when every sender is gone") {
    run([]() -> task<> {
        auto ends = ipc::pipe<std::vector<int>>(ipc::simplex);
        auto second = ends.sender.share();
        const std::vector<int> none;
        co_await ends.sender.send(none);
        ends.sender.close();
        co_await second.send(none);
        second = {};
        for (int i = 0; i < 2; ++i) {
            auto got = co_await ends.receiver.recv();
            CHECK(got == none);
        }
        for (int i = 0; i < 2; ++i) {
            auto end = co_await ends.receiver.recv();
            CHECK(!end);
        }
    });
}

TEST_CASE("what was sent before both sides closed is received before the end") {
    run([]() -> task<> {
        auto [one, other] = ipc::pipe<int>();
        co_await other.send(9);  // never read: the peer's end then reports a reset
        co_await one.send(1);
        co_await one.send(2);
        one.close();
        auto a = co_await other.recv();
        auto b = co_await other.recv();
        auto end = co_await other.recv();
        CHECK(a == 1);
        CHECK(b == 2);
        CHECK(!end);
    });
}

TEST_CASE("sending to nobody throws broken_pipe and raises no signal") {
    run([]() -> task<> {
        auto ends = ipc::pipe<int>(ipc::simplex);
        co_await ends.sender.send(1);
        ends.receiver.close();  // with a message unread
        for (int i = 0; i < 2; ++i) {
            const auto error = co_await failure_of(ends.sender.send(i));
            CHECK(fails_with(error, std::errc::broken_pipe));
        }
    });
}

TEST_CASE("a sender that waits for room learns that the receiver has gone") {
    run([]() -> task<> {
        auto ends = ipc::pipe<sized>(ipc::simplex);
        std::exception_ptr error;
        const auto fill = [&]() -> task<> {
            const sized message{};
            try {
                for (;;) co_await ends.sender.send(message);
            } catch (...) {
                error = std::current_exception();
            }
        };
        const auto leave = [&]() -> task<> {
            co_await sleep_for(5ms);
            ends.receiver.close();
        };
        co_await when_all(fill(), leave());
        CHECK(fails_with(error, std::errc::broken_pipe));
    });
}

TEST_CASE("closing or dropping a handle ends what waits on it") {
    run([]() -> task<> {
        const descriptor_count before;
        auto ends = ipc::pipe<int>(ipc::simplex);
        CHECK(ends.receiver.native_handle() >= 0);
        std::exception_ptr first, second;
        auto in = std::make_unique<ipc::receiver<int>>(std::move(ends.receiver));
        CHECK(ends.receiver.closed());
        const auto wait = [&](std::exception_ptr& error) -> task<> {
            error = co_await failure_of(in->recv());
        };
        const auto drop = [&]() -> task<> {
            co_await yield();
            in.reset();
        };
        co_await when_all(wait(first), wait(second), drop());
        CHECK(fails_with(first, errc::closed));
        CHECK(fails_with(second, errc::closed));

        ends.sender.close();
        ends.sender.close();
        CHECK(ends.sender.closed());
        CHECK(ends.sender.native_handle() == -1);
        const auto error = co_await failure_of(ends.sender.send(1));
        CHECK(fails_with(error, errc::closed));
        const auto of_none = co_await failure_of(ends.receiver.recv());
        CHECK(fails_with(of_none, errc::closed));
        CHECK(before.unchanged());
    });
}

TEST_CASE("poll says whether a message or the end is there, and takes nothing") {
    run([]() -> task<> {
        auto ends = ipc::pipe<std::string>(ipc::simplex);
        auto early = co_await ends.receiver.poll();
        auto later = co_await ends.receiver.poll(2ms);
        CHECK(!early);
        CHECK(!later);
        const auto wait = [&]() -> task<bool> {
            const bool there = co_await ends.receiver.poll(20s);
            co_return there;
        };
        const auto send = [&]() -> task<> {
            co_await yield();
            const std::string text;
            co_await ends.sender.send(text);
        };
        const auto both = co_await when_all(wait(), send());
        CHECK(std::get<0>(both));
        for (int i = 0; i < 2; ++i) {
            auto again = co_await ends.receiver.poll();
            CHECK(again);
        }
        auto got = co_await ends.receiver.recv();
        CHECK(got == "");
        auto empty = co_await ends.receiver.poll(-1s);
        CHECK(!empty);
        ends.sender.close();
        auto end = co_await ends.receiver.poll();
        CHECK(end);
    });
}

TEST_CASE("those who wait on one handle are served in order") {
    run([]() -> task<> {
        auto ends = ipc::pipe<std::string>(ipc::simplex);
        std::vector<std::string> order;
        const auto take = [&](int who) -> task<> {
            auto got = co_await ends.receiver.recv();
            order.push_back(std::to_string(who) + got.value_or("end"));
        };
        const auto send = [&]() -> task<> {
            for (const char* text : {"a", "b", "c"}) {
                const std::string message(text);
                co_await ends.sender.send(message);
            }
        };
        co_await when_all(take(1), take(2), take(3), send());
        CHECK(order == std::vector<std::string>{"1a", "2b", "3c"});
    });
}

TEST_CASE("a message beyond max_message is refused before it is sent") {
    run([]() -> task<> {
        auto ends = ipc::pipe<std::string>(ipc::simplex, {.max_message = 101});
        const std::string right(100, 'x');
        const std::string wrong(101, 'x');
        const auto error = co_await failure_of(ends.sender.send(wrong));
        CHECK(fails_with(error, errc::message_too_long));
        co_await ends.sender.send(right);
        auto got = co_await ends.receiver.recv();
        CHECK(got == right);
    });
}

TEST_CASE("what a small send buffer cannot hold travels in memory of its own") {
    run([]() -> task<> {
        auto ends = ipc::pipe<std::string>(ipc::simplex);
        const int least = 1;
        REQUIRE(::setsockopt(ends.sender.native_handle(), SOL_SOCKET, SO_SNDBUF, &least,
                             sizeof least) == 0);
        const std::string text = text_of(60000);
        co_await ends.sender.send(text);
        auto got = co_await ends.receiver.recv();
        CHECK((got == text));
    });
}

TEST_CASE("nothing is allocated for a message, neither sent nor received, waiting or not") {
    run([]() -> task<> {
        auto fixed = ipc::pipe<sized>();
        auto text = ipc::pipe<std::string>();
        const sized block{};
        const std::string word = "short";
        const std::string page(4000, 'x');
        const auto answer = [&]() -> task<> {
            for (int i = 0; i < 210; ++i) {
                auto got = co_await fixed.second.recv();
                co_await fixed.second.send(*got);
                auto more = co_await text.second.recv();
                co_await text.second.send(word);
                (void)more;
            }
        };
        std::size_t before = 0;
        const auto ask = [&]() -> task<> {
            for (int i = 0; i < 210; ++i) {
                if (i == 10) before = allocations();
                co_await fixed.first.send(block);
                auto back = co_await fixed.first.recv();
                co_await text.first.send(page);
                auto got = co_await text.first.recv();
                (void)back;
            }
            before = allocations() - before;
        };
        co_await when_all(answer(), ask());
        CHECK(before <= 200);  // the page that becomes a std::string
    });
}

TEST_CASE("with chaos below, every message arrives once and in order") {
    const std::uint64_t first = announced_seed("pipe_test");
    for (std::uint64_t s = first; s < first + 8; ++s) {
        INFO("RUNNEL_SEED=" << s);
        const auto work = []() -> task<> {
            auto ends = ipc::pipe<std::string>(ipc::simplex);
            const auto send = [&]() -> task<> {
                for (int i = 0; i < 300; ++i) {
                    const std::string text =
                        std::to_string(i) + ":" + text_of(i % 50 == 0 ? 140000 : i % 97 * 31);
                    co_await ends.sender.send(text);
                }
                ends.sender.close();
            };
            const auto take = [&]() -> task<int> {
                int next = 0;
                while (auto got = co_await ends.receiver.recv()) {
                    if (std::atoi(got->c_str()) != next) break;
                    ++next;
                }
                co_return next;
            };
            const auto both = co_await when_all(send(), take());
            CHECK(std::get<1>(both) == 300);
        };
        run(work, loop_options{.chaos = {.seed = s}});
    }
}

TEST_CASE("a timeout that races with the sender loses no message") {
    const std::uint64_t first = announced_seed("pipe_test");
    INFO("RUNNEL_SEED=" << first);
    for (const bool chaos : {false, true}) {
        const auto work = [first]() -> task<> {
            auto ends = ipc::pipe<std::string>(ipc::simplex);
            std::mt19937_64 random(first);
            const auto send = [&]() -> task<> {
                for (int i = 0; i < 500; ++i) {
                    const std::string text = std::to_string(i);
                    for (;;) {
                        const auto limit = std::chrono::microseconds(random() % 50);
                        const bool sent = co_await with_timeout(ends.sender.send(text), limit);
                        if (sent) break;
                    }
                    if (random() % 3 == 0) co_await sleep_for(std::chrono::microseconds(30));
                }
                ends.sender.close();
            };
            const auto take = [&]() -> task<int> {
                for (int next = 0;;) {
                    const auto limit = std::chrono::microseconds(random() % 50);
                    auto got = co_await with_timeout(ends.receiver.recv(), limit);
                    if (!got) continue;
                    if (!*got || **got != std::to_string(next)) co_return next;
                    ++next;
                }
            };
            const auto both = co_await when_all(send(), take());
            CHECK(std::get<1>(both) == 500);
        };
        run(work, loop_options{.chaos = {.seed = chaos ? first : 0}});
    }
}

TEST_CASE("a loop can be destroyed while its tasks wait on pipes") {
    const descriptor_count before;
    {
        auto ends = ipc::pipe<std::string>();
        auto quiet = ipc::pipe<std::string>();
        loop l;
        const auto wait = [](ipc::connection<std::string> on) -> task<> {
            auto never = co_await on.recv();
            (void)never;
        };
        const auto fill = [](ipc::connection<std::string>& on) -> task<> {
            const std::string text(1000, 'x');
            for (;;) co_await on.send(text);
        };
        l.start(wait, std::move(quiet.first));
        l.start(fill, std::ref(ends.second));
        for (int i = 0; i < 10; ++i) l.poll();
    }
    CHECK(before.unchanged());
}

TEST_CASE("every message goes to exactly one of the readers in several processes") {
    constexpr int writers = 2, readers = 3, each = 3000;
    auto work = ipc::pipe<std::vector<int>>(ipc::simplex);
    auto result = ipc::pipe<std::vector<int>>(ipc::simplex);
    std::vector<::pid_t> children;
    for (int w = 0; w < writers; ++w) {
        children.push_back(in_child([&] {
            work.receiver.close();
            result.receiver.close();
            run([&]() -> task<> {
                const std::vector<int> none;
                for (int i = 0; i < each; ++i) {
                    // Now and then a large one.
                    std::vector<int> message(i % 500 == 0 ? 40000 : 1 + i % 10, w * each + i);
                    co_await work.sender.send(message);
                }
            });
            return 0;
        }));
    }
    work.sender.close();
    for (int r = 0; r < readers; ++r) {
        children.push_back(in_child([&] {
            result.receiver.close();
            run([&]() -> task<> {
                std::vector<int> seen;
                // Two tasks a process, each with a handle of its own.
                auto second = work.receiver.share();
                const auto take = [&](ipc::receiver<std::vector<int>>& in) -> task<> {
                    while (auto got = co_await in.recv()) {
                        for (const int v : *got)
                            if (v != got->front()) ::_exit(3);
                        seen.push_back(got->front());
                    }
                };
                co_await when_all(take(work.receiver), take(second));
                co_await result.sender.send(seen);
            });
            return 0;
        }));
    }
    work.receiver.close();
    result.sender.close();
    std::map<int, int> count;
    run([&]() -> task<> {
        while (auto got = co_await result.receiver.recv())
            for (const int v : *got) ++count[v];
    });
    for (const ::pid_t child : children) CHECK(exit_of(child) == 0);
    CHECK(count.size() == writers * each);
    for (const auto& [value, times] : count)
        if (times != 1) FAIL("message " << value << " came " << times << " times");
}

TEST_CASE("a sender that is killed leaves no part of a message behind") {
    const std::uint64_t first = announced_seed("pipe_test");
    INFO("RUNNEL_SEED=" << first);
    std::mt19937_64 random(first);
    for (int round = 0; round < 30; ++round) {
        auto ends = ipc::pipe<std::string>(ipc::simplex);
        const ::pid_t child = in_child([&] {
            ends.receiver.close();
            run([&]() -> task<> {
                for (int i = 0;; ++i) {
                    const std::string text(i % 3 == 0 ? 200000 : i % 1000, char('a' + i % 26));
                    co_await ends.sender.send(text);
                }
            });
            return 0;
        });
        ends.sender.close();
        const auto delay = std::chrono::microseconds(random() % 20000);
        run([&]() -> task<> {
            const auto kill = [&]() -> task<> {
                co_await sleep_for(delay);
                ::kill(child, SIGKILL);
            };
            const auto take = [&]() -> task<> {
                for (int i = 0;; ++i) {
                    auto got = co_await ends.receiver.recv();
                    if (!got) break;
                    const std::string text(i % 3 == 0 ? 200000 : i % 1000, char('a' + i % 26));
                    if (*got != text) FAIL("message " << i << " is not what was sent");
                }
            };
            co_await when_all(kill(), take());
        });
        CHECK(exit_of(child) == 128 + SIGKILL);
    }
}

// SPDX-License-Identifier: MIT
// Random cancels of random operations, and a ledger: nothing is lost, nothing comes twice.
// RUNNEL_SEED repeats a run; RUNNEL_TORTURE says how many cancels.
#include <cstdlib>
#include <iostream>
#include <random>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RUNNEL_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RUNNEL_TEST_SANITIZED 1
#endif
#endif
#ifdef RUNNEL_TEST_SANITIZED
constexpr std::uint64_t default_cancels = 50'000;
#else
constexpr std::uint64_t default_cancels = 1'000'000;
#endif

/// What all the tasks of a run share: three things to be taken, with a ledger for each.
class world {
public:
    explicit world(std::uint64_t seed) : random(seed) {
        int fds[2];
        REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
        pipe_out.reset(fds[0]);
        pipe_in.reset(fds[1]);
        REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0);
        packets_out.reset(fds[0]);
        packets_in.reset(fds[1]);
    }
    std::uint64_t pick(std::uint64_t n) { return random() % n; }

    std::mt19937_64 random;
    unique_fd pipe_out, pipe_in, packets_out, packets_in;
    semaphore permits{0};
    std::uint64_t put[3]{}, taken[3]{};
    std::uint64_t rounds = 0, cancelled = 0;
};

/// Takes one item of a random kind, cancelled in a random way after a random while.
class taker {
public:
    explicit taker(world& of) : w_(of) {}

    task<> run() {
        while (w_.rounds > 0) {
            --w_.rounds;
            std::size_t got = 0;
            switch (w_.pick(3)) {
                case 0: got = co_await cancelled_in_some_way(read(w_.pipe_out)); break;
                case 1: got = co_await cancelled_in_some_way(recv(w_.packets_out)); break;
                default: got = co_await cancelled_in_some_way(acquire()); break;
            }
            if (got == 0) ++w_.cancelled;
        }
    }

private:
    // Each leaves its trace in the ledger only when it was delivered.
    task<std::size_t> read(const unique_fd& fd) {
        char c = 0;
        const std::size_t n = co_await io::read(fd.get(), std::as_writable_bytes(std::span(&c, 1)));
        w_.taken[0] += n;
        co_return n;
    }
    task<std::size_t> recv(const unique_fd& fd) {
        char c = 0;
        const std::size_t n = co_await io::recv(fd.get(), std::as_writable_bytes(std::span(&c, 1)));
        w_.taken[1] += n;
        co_return n;
    }
    task<std::size_t> acquire() {
        co_await w_.permits.acquire();
        ++w_.taken[2];
        co_return 1;
    }
    task<> after_a_while(std::uint64_t way) {
        switch (way % 4) {
            case 0: break;
            case 1: co_await yield(); break;
            case 2: co_await io::nop(); break;
            default: co_await sleep_for(std::chrono::microseconds(way % 16)); break;
        }
    }
    task<std::size_t> cancelled_in_some_way(task<std::size_t> work) {
        const std::uint64_t way = w_.random();
        std::size_t got = 0;
        switch ((way >> 8) % 5) {
            case 0: {
                auto one =
                    co_await with_timeout(std::move(work), std::chrono::microseconds(way % 20));
                got = one.value_or(0);
                break;
            }
            case 1: {
                auto both = co_await race(std::move(work), after_a_while(way));
                auto& first = std::get<0>(both);
                got = first ? *first : 0;
                break;
            }
            case 2: {
                co_await open_nursery([&](nursery& n) -> task<> {
                    n.start([](task<std::size_t> take,
                               std::size_t& into) -> task<> { into = co_await std::move(take); },
                            std::move(work), std::ref(got));
                    co_await after_a_while(way);
                    n.cancel();
                });
                break;
            }
            case 3: {
                std::stop_source stop;
                co_await open_nursery([&](nursery& n) -> task<> {
                    n.start(
                        [](task<> wait, std::stop_source& s) -> task<> {
                            co_await std::move(wait);
                            s.request_stop();
                        },
                        after_a_while(way), std::ref(stop));
                    auto one = co_await cancel_on(stop.get_token(), std::move(work));
                    got = one.value_or(0);
                });
                break;
            }
            default: {
                auto nested =
                    co_await race(with_timeout(std::move(work), 10us), after_a_while(way));
                auto& first = std::get<0>(nested);
                got = first && *first ? **first : 0;
                break;
            }
        }
        co_return got;
    }
    world& w_;
};

task<> feed(world& w) {
    while (w.rounds > 0) {
        const std::uint64_t kind = w.pick(3);
        if (w.pick(4) == 0 && w.put[kind] - w.taken[kind] < 20) {
            const char c = 'x';
            const auto one = std::as_bytes(std::span(&c, 1));
            switch (kind) {
                case 0: w.put[0] += co_await io::write(w.pipe_in.get(), one); break;
                case 1: w.put[1] += co_await io::send(w.packets_in.get(), one); break;
                default:
                    w.permits.release();
                    ++w.put[2];
                    break;
            }
        }
        co_await yield();
    }
}

void torture(std::uint64_t seed, std::uint64_t rounds, bool chaos) {
    INFO("RUNNEL_SEED=" << seed << " chaos " << chaos);
    world w(seed);
    w.rounds = rounds;
    loop_options options;
    if (chaos) options.chaos.seed = seed | 1;
    std::vector<taker> takers(8, taker(w));
    run(
        [&]() -> task<> {
            co_await open_nursery([&](nursery& n) -> task<> {
                for (taker& each : takers)
                    n.start([](taker& t) { return t.run(); }, std::ref(each));
                n.start(feed, std::ref(w));
                co_return;
            });
        },
        options);
    int left = 0;
    REQUIRE(::ioctl(w.pipe_out.get(), FIONREAD, &left) == 0);
    std::uint64_t packets = 0;
    char c = 0;
    while (::recv(w.packets_out.get(), &c, 1, MSG_DONTWAIT) == 1) ++packets;
    CHECK(w.put[0] == w.taken[0] + std::uint64_t(left));
    CHECK(w.put[1] == w.taken[1] + packets);
    CHECK(w.put[2] == w.taken[2] + w.permits.available());
    std::cout << "seed " << seed << (chaos ? ", chaos" : "") << ": " << rounds << " operations, "
              << w.cancelled << " cancelled\n";
}

}  // namespace

TEST_CASE("a million random cancels lose no byte, packet or permit") {
    const std::uint64_t seed = number_from("RUNNEL_SEED", std::random_device()());
    const std::uint64_t cancels = number_from("RUNNEL_TORTURE", default_cancels);
    std::cout << "RUNNEL_SEED=" << seed << '\n';
    // In portions, and no longer than a test may take.
    const auto begun = std::chrono::steady_clock::now();
    for (std::uint64_t done = 0, i = 0; done < cancels; ++i) {
        const std::uint64_t portion = std::min<std::uint64_t>(cancels - done, 50'000);
        torture(seed + i, portion, i % 4 == 3);
        done += portion;
        if (std::chrono::steady_clock::now() - begun > 40s) {
            std::cout << "stopped after " << done << " of " << cancels << '\n';
            break;
        }
    }
}

// SPDX-License-Identifier: MIT
// Channels whose other side is killed, at whatever moment, or does not keep to the rules.
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <runnel/ipc/broadcast.hpp>
#include <runnel/ipc/channel.hpp>
#include <runnel/ipc/spawn.hpp>
#include <runnel/sleep.hpp>

#include "stamped.hpp"
#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

/// Publishes for ever, with loans out, batches, and waits now and then.
task<> publish_for_ever(ipc::channel_writer<stamped> to) {
    for (std::uint64_t i = 0;; i += 2) {
        auto one = co_await to.loan();
        auto two = co_await to.loan();
        stamp(*two, i + 1);
        two.publish();
        stamp(*one, i);
        if (i % 5 == 0)
            one.stage();
        else
            one.publish();
        if (i % 64 == 0) co_await sleep_for(20us);
    }
}
/// Receives for ever, with several views held.
task<> receive_for_ever(ipc::channel_reader<stamped> from) {
    std::array<std::optional<ipc::channel_view<stamped>>, 3> held;
    for (std::uint64_t i = 0;; ++i) {
        auto view = co_await from.receive();
        if (!view) co_return;
        held[i * 7 % 3] = std::move(view);
        if (i % 64 == 0) co_await sleep_for(20us);
    }
}

/// All memory that the holder of a handle can write, as a hostile one maps it.
class stolen {
public:
    template <class Handle>
    explicit stolen(const Handle& handle) {
        ipc::encoder out;
        ipc::encode(out, handle);
        const int fd = out.handles()[0];
        size_ = static_cast<std::size_t>(::lseek(fd, 0, SEEK_END));
        void* at = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        REQUIRE(at != MAP_FAILED);
        at_ = static_cast<std::byte*>(at);
        // The other segment cannot be had for writing.
        CHECK(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, out.handles()[1], 0) ==
              MAP_FAILED);
        CHECK(::ftruncate(fd, 0) == -1);
    }
    ~stolen() { ::munmap(at_, size_); }
    stolen(const stolen&) = delete;
    stolen& operator=(const stolen&) = delete;

    [[nodiscard]] std::byte* at(std::size_t offset) const { return at_ + offset; }
    [[nodiscard]] std::size_t size() const { return size_; }
    template <class T>
    void store(std::size_t offset, T value) {
        std::memcpy(at_ + offset, &value, sizeof value);
    }

private:
    std::byte* at_;
    std::size_t size_;
};

constexpr std::size_t position_at = 128;  // in a segment
constexpr std::size_t records_at = 4096;

/// A number that is more often a little wrong than a lot.
std::uint64_t wrong(std::mt19937_64& random) {
    switch (random() % 4) {
        case 0: return random();
        case 1: return random() % 64 * 8;
        case 2: return 0 - random() % 64;
        default: return (random() % 8192) << (random() % 40);
    }
}

task<> scribble(ipc::channel_writer<std::byte> to, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    const stolen all(to);
    const auto until = std::chrono::steady_clock::now() + 20ms;
    while (std::chrono::steady_clock::now() < until) {
        for (int i = 0; i < 100; ++i) {
            const std::size_t where =
                random() % 4 == 0 ? position_at : records_at + random() % 256 * 8;
            const std::uint64_t what = wrong(random);
            std::memcpy(all.at(where), &what, sizeof what);
        }
    }
    co_return;
}

}  // namespace

TEST_CASE("a writer that is killed at any moment leaves whole records, and an end", "[channel]") {
    std::mt19937_64 random(announced_seed("channel_kill_test"));
    for (const bool futex : {true, false})
        one_way(futex, [&]() -> task<> {
            for (int i = 0; i < 60; ++i) {
                auto ends = ipc::channel<stamped>({.capacity = 1 + random() % 40 + 1});
                auto writer = ipc::spawn(publish_for_ever, std::move(ends.writer));
                const auto count = random() % 500;
                std::uint64_t next = 0;
                bool whole = true;
                while (next < count) {
                    auto view = co_await ends.reader.receive();
                    if (!view) break;
                    whole &= (*view)->number == next++ && is_whole(**view);
                }
                CHECK(next == count);
                std::optional<ipc::channel_view<stamped>> held = co_await ends.reader.receive();
                ++next;
                if (random() % 2 == 0)
                    co_await sleep_for(std::chrono::microseconds(random() % 300));
                writer.kill();
                while (auto view = co_await ends.reader.receive())
                    whole &= (*view)->number == next++ && is_whole(**view);
                CHECK(whole);
                CHECK(is_whole(**held));
                CHECK(ends.reader.ended());
                co_await writer.wait();
            }
        });
}

TEST_CASE("a reader that is killed at any moment leaves the writer a broken pipe", "[channel]") {
    std::mt19937_64 random(announced_seed("channel_kill_test"));
    for (const bool futex : {true, false})
        one_way(futex, [&]() -> task<> {
            for (int i = 0; i < 60; ++i) {
                auto ends = ipc::channel<stamped>({.capacity = 4 + random() % 40});
                auto reader = ipc::spawn(receive_for_ever, std::move(ends.reader));
                const auto count = random() % 500;
                std::error_code code;
                for (std::uint64_t k = 0; !code; ++k) {
                    code = co_await error_of([&]() -> task<> {
                        auto place = co_await ends.writer.loan();
                        stamp(*place, k);
                        place.publish();
                    });
                    if (k == count) {
                        if (random() % 2 == 0)
                            co_await sleep_for(std::chrono::microseconds(random() % 300));
                        reader.kill();
                    }
                }
                CHECK(code == std::errc::broken_pipe);
                co_await reader.wait();
            }
        });
}

TEST_CASE("a loop that never sleeps learns that the other side has been killed", "[channel]") {
    for (const bool futex : {true, false})
        one_way(futex, [] {
            return never_asleep([]() -> task<> {
                auto in = ipc::channel<stamped>({.capacity = 4});
                auto writer = ipc::spawn(publish_for_ever, std::move(in.writer));
                co_await in.reader.receive();
                writer.kill();
                while (auto view = co_await in.reader.receive()) CHECK(is_whole(**view));
                CHECK(in.reader.ended());
                co_await writer.wait();

                auto out = ipc::channel<stamped>({.capacity = 4});
                auto reader = ipc::spawn(receive_for_ever, std::move(out.reader));
                {
                    auto place = co_await out.writer.loan();
                }
                reader.kill();
                std::error_code code;
                while (!code)
                    code = co_await error_of([&]() -> task<> {
                        auto place = co_await out.writer.loan();
                        place.publish();
                    });
                CHECK(code == std::errc::broken_pipe);
                co_await reader.wait();
            }());
        });
}

TEST_CASE("whatever a hostile writer's memory holds, the reader gets records or a protocol error",
          "[channel]") {
    std::mt19937_64 random(announced_seed("channel_kill_test"));
    int refused = 0;
    int received = 0;
    for (int i = 0; i < 4000; ++i) {
        auto ends = ipc::channel<std::byte>({.capacity = 4096});
        stolen all(ends.writer);
        for (std::size_t n = 0; n < 5; ++n) ends.writer.try_loan(n * 30).value().publish();
        for (auto n = random() % 6; n != 0; --n) {
            const std::size_t where =
                random() % 3 == 0 ? position_at : records_at + random() % 40 * 16;
            all.store(where, wrong(random));
        }
        const std::error_code code = code_of([&] {
            std::vector<ipc::channel_view<std::byte>> views;
            for (int k = 0; k < 300; ++k) {
                auto view = ends.reader.try_receive();
                if (!view) break;
                // It lies within the ring, twice mapped.
                CHECK(view->size() <= 4096);
                unsigned sum = 0;
                for (std::byte each : view->span()) sum += std::to_integer<unsigned>(each);
                static_cast<void>(sum);
                ++received;
                if (random() % 2 == 0) views.push_back(std::move(*view));
                if (random() % 8 == 0) views.clear();
            }
        });
        if (code) {
            ++refused;
            CHECK(code == errc::protocol);
            CHECK(ends.reader.closed());
            CHECK(code_of([&] { (void)ends.reader.try_receive(); }) == errc::protocol);
        }
    }
    CHECK(refused > 500);
    CHECK(received > 500);
}

TEST_CASE("a hostile writer that scribbles all the time", "[channel]") {
    const std::uint64_t seed = announced_seed("channel_kill_test");
    for (const bool futex : {true, false})
        one_way(futex, [&]() -> task<> {
            for (std::uint64_t i = 0; i < 10; ++i) {
                auto ends = ipc::channel<std::byte>({.capacity = 4096});
                auto writer = ipc::spawn(scribble, std::move(ends.writer), std::uint64_t{seed + i});
                const std::error_code code = co_await error_of([&]() -> task<> {
                    while (auto view = co_await ends.reader.receive()) {
                        const std::vector<std::byte> copy(view->span().begin(), view->span().end());
                        CHECK(copy.size() <= 4096);
                    }
                });
                CHECK((!code || code == errc::protocol));
                co_await writer.join();
            }
        });
}

TEST_CASE("whatever a hostile reader's memory holds, the writer gets loans or a protocol error",
          "[channel]") {
    std::mt19937_64 random(announced_seed("channel_kill_test"));
    int refused = 0;
    for (int i = 0; i < 4000; ++i) {
        auto ends = ipc::channel<stamped>({.capacity = 8});
        stolen all(ends.reader);
        for (int k = 0; k < 5; ++k) ends.writer.try_loan().value().publish();
        for (auto n = random() % 3; n != 0; --n)
            all.store(position_at + random() % 2 * 128, wrong(random));
        const std::error_code code = code_of([&] {
            std::vector<ipc::channel_loan<stamped>> loans;
            for (int k = 0; k < 100; ++k) {
                auto place = ends.writer.try_loan();
                if (!place) break;
                stamp(**place, std::uint64_t(k));
                if (random() % 2 == 0)
                    loans.push_back(std::move(*place));
                else
                    place->publish();
                if (random() % 8 == 0) loans.clear();
            }
        });
        if (code) {
            ++refused;
            CHECK((code == errc::protocol || code == std::errc::broken_pipe));
        }
    }
    CHECK(refused > 500);
}

TEST_CASE("whatever a hostile writer of a broadcast does, readers get records or a protocol error",
          "[channel]") {
    std::mt19937_64 random(announced_seed("channel_kill_test"));
    int refused = 0;
    int received = 0;
    for (int i = 0; i < 3000; ++i) {
        const auto policy = i % 2 == 0 ? ipc::when_behind::wait : ipc::when_behind::overwrite;
        auto ends = ipc::broadcast<std::byte>({.capacity = 4096, .policy = policy});
        stolen all(ends.writer);
        for (std::size_t n = 0; n < 5; ++n) ends.writer.try_loan(n * 30).value().publish();
        for (auto n = random() % 6; n != 0; --n) {
            const std::size_t places[] = {position_at, 1024, records_at + random() % 40 * 16};
            all.store(places[random() % 3], wrong(random));
        }
        const std::error_code code = code_of([&] {
            std::vector<ipc::broadcast_view<std::byte>> views;
            for (int k = 0; k < 300; ++k) {
                auto view = ends.reader.try_receive();
                if (!view) break;
                CHECK(view->size() <= 4096);
                unsigned sum = 0;
                for (std::byte each : view->span()) sum += std::to_integer<unsigned>(each);
                static_cast<void>(sum);
                ++received;
                if (random() % 2 == 0) views.push_back(std::move(*view));
                if (random() % 8 == 0) views.clear();
            }
        });
        if (code) ++refused;
        CHECK((!code || code == errc::protocol));
    }
    CHECK(refused > 300);
    CHECK(received > 300);
}

TEST_CASE("whatever a hostile reader of a broadcast does, its writer goes on", "[channel]") {
    std::mt19937_64 random(announced_seed("channel_kill_test"));
    for (int i = 0; i < 1000; ++i) {
        const auto policy = i % 2 == 0 ? ipc::when_behind::wait : ipc::when_behind::overwrite;
        auto ends = ipc::broadcast<stamped>({.capacity = 8, .policy = policy});
        auto hostile = ends.reader.share();
        stolen all(hostile);
        for (int k = 0; k < 5; ++k) ends.writer.try_loan().value().publish();
        for (auto n = random() % 6; n != 0; --n) {
            // The words of all, and those of each slot.
            const std::size_t slot = records_at + random() % 16 * 384;
            all.store(
                random() % 4 == 0 ? position_at + random() % 2 * 128 : slot + random() % 3 * 128,
                wrong(random));
        }
        const std::error_code code = code_of([&] {
            for (int k = 0; k < 100; ++k) {
                auto place = ends.writer.try_loan();
                if (!place) break;
                place->publish();
            }
            static_cast<void>(ends.writer.readers());
        });
        CHECK(!code);
        hostile = {};
    }
}

TEST_CASE("a handle of something else is no end of a channel", "[channel]") {
    auto ends = ipc::channel<int>();
    ipc::encoder out;
    ipc::encode(out, ends.reader);
    const auto handles = [&] {
        std::vector<unique_fd> copies;
        for (int fd : out.handles()) copies.push_back(unique_fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)));
        return copies;
    };
    const auto refuses = [&](auto as, std::vector<unique_fd> with) {
        using end = typename decltype(as)::type;
        return code_of([&] { (void)ipc::decode<end>(out.bytes(), with); }) == errc::protocol;
    };
    using right = std::type_identity<ipc::channel_reader<int>>;
    CHECK(refuses(std::type_identity<ipc::channel_reader<unsigned>>(), handles()));
    CHECK(refuses(std::type_identity<ipc::channel_writer<int>>(), handles()));
    auto swapped = handles();
    std::swap(swapped[0], swapped[1]);
    CHECK(refuses(right(), std::move(swapped)));
    auto without = handles();
    without[2] = unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    CHECK(refuses(right(), std::move(without)));
    auto unsealed = handles();
    unsealed[1] = unique_fd(::memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    CHECK(::ftruncate(unsealed[1].get(), 1 << 21) == 0);
    CHECK(refuses(right(), std::move(unsealed)));
    auto other = ipc::channel<unsigned>();
    ipc::encoder another;
    ipc::encode(another, other.reader);
    auto mixed = handles();
    mixed[1] = unique_fd(::fcntl(another.handles()[1], F_DUPFD_CLOEXEC, 0));
    CHECK(refuses(right(), std::move(mixed)));
    // A header that says something else than it should; a lower limit is no lie.
    for (const std::size_t at : {0, 4, 8, 12, 16, 20, 24, 28, 36, 40, 44}) {
        auto one = ipc::channel<int>();
        stolen all(one.writer);
        const std::uint32_t before = *reinterpret_cast<const std::uint32_t*>(all.at(at));
        all.store(at, before ^ 0x1010);
        out.clear();
        ipc::encode(out, one.reader);
        INFO(at);
        CHECK(refuses(right(), handles()));
    }
    out.clear();
    ipc::encode(out, ends.reader);
    std::vector<unique_fd> own = handles();
    const auto same = ipc::decode<ipc::channel_reader<int>>(out.bytes(), own);
    CHECK(!same.closed());
}

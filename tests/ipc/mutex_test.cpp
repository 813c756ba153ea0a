// SPDX-License-Identifier: MIT
#include <runnel/ipc/mutex.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/ipc/spawn.hpp>
#include <runnel/loop.hpp>
#include <runnel/nursery.hpp>
#include <runnel/race.hpp>
#include <runnel/run.hpp>
#include <runnel/sleep.hpp>
#include <runnel/when_all.hpp>
#include <runnel/with_timeout.hpp>
#include <runnel/yield.hpp>

#include "support/catch.hpp"
#include "support/forked.hpp"
#include "support/leaks.hpp"
#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

/// Takes the mutex, says so, and keeps it.
task<> hold(ipc::mutex m, unique_fd say) {
    auto held = co_await m.lock();
    tell(say);
    co_await sleep_for(1h);
}
/// Takes the mutex, says so, and keeps it until it is told.
task<> hold_until_told(ipc::mutex m, unique_fd say, unique_fd hear) {
    auto held = co_await m.lock();
    tell(say);
    co_await told(hear);
}
/// Counts in a file, with a read and a write that another could come between.
task<> count(ipc::mutex m, unique_fd file, int times) {
    for (int i = 0; i < times; ++i) {
        auto held = co_await m.lock();
        std::uint64_t n = 0;
        if (::pread(file.get(), &n, sizeof n, 0) != sizeof n) std::abort();
        if (i % 16 == 0) co_await sleep_for(10us);
        ++n;
        if (::pwrite(file.get(), &n, sizeof n, 0) != sizeof n) std::abort();
    }
}
unique_fd zeros() {
    unique_fd file(::memfd_create("counter", MFD_CLOEXEC));
    const std::uint64_t zero = 0;
    if (::pwrite(file.get(), &zero, sizeof zero, 0) != sizeof zero) std::abort();
    return file;
}

}  // namespace

TEST_CASE("an ipc mutex that is free is taken at once") {
    both_ways([]() -> task<> {
        ipc::mutex m;
        auto held = co_await m.lock();
        CHECK(held);
        CHECK(!held.owner_died());
        CHECK(!m.try_lock());
        held.unlock();
        CHECK(!held);
        auto again = m.try_lock();
        CHECK(again.has_value());
    });
    STATIC_REQUIRE(atomic_awaitable<decltype(std::declval<ipc::mutex&>().lock())>);
}

TEST_CASE("tasks of one loop exclude each other by an ipc mutex") {
    both_ways([]() -> task<> {
        ipc::mutex m;
        int inside = 0;
        int most = 0;
        int turns = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 5; ++i)
                n.start([&]() -> task<> {
                    for (int k = 0; k < 10; ++k) {
                        auto held = co_await m.lock();
                        most = std::max(most, ++inside);
                        co_await sleep_for(50us);
                        --inside;
                        ++turns;
                    }
                });
            co_return;
        });
        CHECK(most == 1);
        CHECK(turns == 50);
    });
}

TEST_CASE("processes exclude each other by an ipc mutex") {
    both_ways([]() -> task<> {
        ipc::mutex m;
        const unique_fd file = zeros();
        std::vector<ipc::process<>> all;
        for (int i = 0; i < 4; ++i)
            all.push_back(ipc::spawn(count, m.share(), file.duplicate(), 200));
        co_await count(m.share(), file.duplicate(), 200);
        for (const auto& each : all) co_await each.join();
        std::uint64_t n = 0;
        CHECK(::pread(file.get(), &n, sizeof n, 0) == sizeof n);
        CHECK(n == 1000);
    });
}

TEST_CASE("locking an ipc mutex twice in one task is an error, in another it is a wait") {
    both_ways([]() -> task<> {
        ipc::mutex m;
        auto held = co_await m.lock();
        std::error_code code;
        try {
            auto again = co_await m.lock();
        } catch (const std::system_error& error) {
            code = error.code();
        }
        CHECK(code == std::errc::resource_deadlock_would_occur);
        auto same = m.share();
        code.clear();
        try {
            auto again = co_await same.lock();
        } catch (const std::system_error& error) {
            code = error.code();
        }
        CHECK(code == std::errc::resource_deadlock_would_occur);
        bool got = false;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                auto mine = co_await m.lock();
                got = bool(mine);
            });
            co_await sleep_for(1ms);
            held.unlock();
        });
        CHECK(got);
    });
}

TEST_CASE("a deadline on lock takes nothing") {
    both_ways([]() -> task<> {
        ipc::mutex m;
        signal_pipe up;
        auto holder = ipc::spawn(hold, m.share(), std::move(up.say));
        bool held = co_await told(up.hear);
        CHECK(held);
        for (int i = 0; i < 3; ++i) {
            auto got = co_await with_timeout(m.lock(), 2ms);
            CHECK(!got);
        }
        holder.stop();
        const auto status = co_await holder.wait();
        CHECK(status.success());
        auto mine = co_await m.lock();  // it was unlocked by unwinding
        CHECK(!mine.owner_died());
    });
}

TEST_CASE("a release wakes a waiter of another process") {
    both_ways([]() -> task<> {
        ipc::mutex m;
        signal_pipe up;
        signal_pipe go;
        auto holder = ipc::spawn(hold_until_told, m.share(), std::move(up.say), std::move(go.hear));
        bool held = co_await told(up.hear);
        CHECK(held);
        bool got = false;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([&]() -> task<> {
                auto mine = co_await m.lock();
                got = bool(mine) && !mine.owner_died();
            });
            co_await sleep_for(2ms);
            tell(go.say);
        });
        CHECK(got);
        co_await holder.join();
    });
}

TEST_CASE("the death of an owner is told to the next one, who waits already") {
    both_ways([]() -> task<> {
        ipc::mutex m;
        signal_pipe up;
        auto holder = ipc::spawn(hold, m.share(), std::move(up.say));
        bool held = co_await told(up.hear);
        CHECK(held);
        int died = 0;
        int taken = 0;
        co_await open_nursery([&](nursery& n) -> task<> {
            for (int i = 0; i < 3; ++i)
                n.start([&]() -> task<> {
                    auto mine = co_await m.lock();
                    ++taken;
                    if (mine.owner_died()) ++died;
                });
            co_await sleep_for(2ms);
            holder.kill();
        });
        CHECK(taken == 3);
        CHECK(died == 1);
        co_await holder.wait();
    });
}

TEST_CASE("the death of an owner is told to one who comes later") {
    both_ways([]() -> task<> {
        ipc::mutex m;
        signal_pipe up;
        auto holder = ipc::spawn(hold, m.share(), std::move(up.say));
        bool held = co_await told(up.hear);
        CHECK(held);
        holder.kill();
        co_await holder.wait();
        auto mine = co_await m.lock();
        CHECK(mine.owner_died());
        mine.unlock();
        auto next = co_await m.lock();
        CHECK(!next.owner_died());
    });
}

TEST_CASE("an owner that leaves by _exit is a dead owner") {
    both_ways([]() -> task<> {
        ipc::mutex m;
        auto holder = ipc::spawn(
            [](ipc::mutex its) -> task<> {
                auto held = co_await its.lock();
                ::_exit(0);
            },
            m.share());
        co_await holder.wait();
        auto mine = co_await m.lock();
        CHECK(mine.owner_died());
    });
}

TEST_CASE("a waiter that is killed leaves the mutex to the others") {
    both_ways([]() -> task<> {
        ipc::mutex m;
        auto held = co_await m.lock();
        std::vector<ipc::process<>> waiters;
        for (int i = 0; i < 3; ++i) {
            signal_pipe up;
            waiters.push_back(ipc::spawn(
                [](ipc::mutex its, unique_fd say) -> task<> {
                    tell(say);
                    auto mine = co_await its.lock();
                },
                m.share(), std::move(up.say)));
            bool up_now = co_await told(up.hear);
            CHECK(up_now);
        }
        waiters[0].kill();
        held.unlock();
        waiters[1].kill();
        co_await waiters[2].join();
        auto last = co_await with_timeout(m.lock(), 20s);
        CHECK(last.has_value());
    });
}

TEST_CASE("a child does not own what its parent had locked when it was forked") {
    both_ways([]() -> task<> {
        ipc::mutex m;
        auto held = co_await m.lock();
        auto child = ipc::spawn(
            [](ipc::mutex its) -> task<bool> {
                auto free = its.try_lock();
                auto got = co_await with_timeout(its.lock(), 5ms);
                co_return !free && !got;
            },
            m.share());
        const bool excluded = co_await child.join();
        CHECK(excluded);
        CHECK(held);
        CHECK(!m.try_lock());
    });
}

namespace {

/// Drops a guard on another thread than the one that locked it, with stderr somewhere else.
[[noreturn]] void drop_elsewhere(unique_fd text) {
    const ::rlimit no_core{};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::signal(SIGABRT, SIG_DFL);
    ::dup2(text.get(), STDERR_FILENO);
    ipc::mutex m;
    auto held = m.try_lock();
    std::thread([&] { held.reset(); }).join();
    ::_exit(m.try_lock() ? 3 : 4);
}
std::string all_text(const unique_fd& file) {
    std::array<char, 1000> text{};
    const auto n = ::pread(file.get(), text.data(), text.size(), 0);
    return {text.data(), static_cast<std::size_t>(std::max<::ssize_t>(n, 0))};
}

}  // namespace

TEST_CASE("a guard of an ipc mutex that is dropped on another thread ends the process") {
    const std::string_view says = "dropped on another thread than locked it";
    const unique_fd text(::memfd_create("text", MFD_CLOEXEC));
    SECTION("here") {
        const ::pid_t child = ::_Fork();  // without fork handlers, as if it were the first process
        if (child == 0) drop_elsewhere(text.duplicate());
        const int status = reaped(child);
        CHECK(WIFSIGNALED(status));
        CHECK(WTERMSIG(status) == SIGABRT);
        CHECK(all_text(text).find(says) != std::string::npos);
    }
    SECTION("in a child") {
        both_ways([&]() -> task<> {
            auto child =
                ipc::spawn([](unique_fd to) { drop_elsewhere(std::move(to)); }, text.duplicate());
            const auto status = co_await child.wait();
            CHECK(status == ipc::exit_status::signalled(SIGABRT));
            CHECK(all_text(text).find(says) != std::string::npos);
        });
    }
}

TEST_CASE("a copy of a guard in a forked child gives nothing up, on whatever thread") {
    const ipc::mutex m;
    auto held = m.try_lock();
    const ::pid_t child = ::fork();
    if (child == 0) {
        std::thread([&] { held.reset(); }).join();
        ::_exit(m.try_lock() ? 3 : 0);
    }
    CHECK(reaped(child) == 0);
    CHECK(held);
    CHECK(!m.try_lock());
}

TEST_CASE("an ipc mutex comes back from a child as a result") {
    both_ways([]() -> task<> {
        auto child = ipc::spawn([]() -> task<ipc::mutex> {
            ipc::mutex m;
            auto lost = m.try_lock();
            ::new ipc::mutex::guard(std::move(*lost));  // never dropped: the process dies with it
            co_return m;
        });
        ipc::mutex m = co_await child.join();
        auto mine = co_await m.lock();
        CHECK(mine.owner_died());
    });
}

TEST_CASE("lock in a race is passed on when another operand wins") {
    both_ways([]() -> task<> {
        ipc::mutex m;
        auto held = m.try_lock();
        auto ends = co_await race(m.share().lock(), sleep_for(1ms));
        CHECK(!std::get<0>(ends));
        held.reset();
        auto mine = m.try_lock();
        CHECK(mine.has_value());
    });
}

namespace {

/// Why a mutex is refused that comes as these descriptors; empty if it is not.
std::string refused_for(int memory, int register_out, int register_in) {
    ipc::encoder out;
    std::vector<unique_fd> handles;
    for (const int fd : {memory, register_out, register_in}) {
        out.write_handle(fd);
        if (fd >= 0) handles.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    }
    try {
        static_cast<void>(ipc::decode<ipc::mutex>(out.bytes(), handles));
    } catch (const std::system_error& error) {
        CHECK(error.code() == errc::protocol);
        return error.what();
    }
    return {};
}
unique_fd sealed_copy(int of, std::size_t size, int seals) {
    std::array<char, 256> all{};
    REQUIRE(size <= all.size());
    REQUIRE(::pread(of, all.data(), all.size(), 0) > 0);
    unique_fd copy(::memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::pwrite(copy.get(), all.data(), size, 0) == static_cast<::ssize_t>(size));
    REQUIRE(::fcntl(copy.get(), F_ADD_SEALS, seals) == 0);
    return copy;
}

}  // namespace

TEST_CASE("what was no mutex, or one of another version or library, is refused with the reason") {
    const support::no_leaks leaks;
    const ipc::mutex m;
    ipc::encoder out;
    ipc::encode(out, m);
    std::vector<int> parts(out.handles().begin(), out.handles().end());
    parts.resize(3, -1);  // without the register, where the kernel needs none
    const int memory = parts[0];
    const auto refused = [&](int as, std::string_view why) {
        const std::string text = refused_for(as, parts[1], parts[2]);
        INFO(text);
        CHECK(text.find("attach on ipc mutex: ") == 0);
        return text.find(why) != std::string::npos;
    };
    const auto seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    struct ::stat about{};
    REQUIRE(::fstat(memory, &about) == 0);
    const auto size = static_cast<std::size_t>(about.st_size);
    const signal_pipe pipe;
    CHECK(refused(pipe.hear.get(), "no memfd"));
    CHECK(refused(sealed_copy(memory, size, F_SEAL_GROW).get(), "not sealed"));
    CHECK(refused(sealed_copy(memory, 4, seals).get(), "holds no mutex"));
    CHECK(refused(sealed_copy(memory, size - 8, seals).get(), "another size"));
    CHECK(refused(sealed_copy(memory, size + 8, seals).get(), "another size"));
    // The magic number says version, C library and mutex.
    const unique_fd copy = sealed_copy(memory, size, seals);
    std::uint64_t magic = 0;
    REQUIRE(::pread(memory, &magic, sizeof magic, 0) == sizeof magic);
    const auto with = [&](std::uint64_t other) {
        REQUIRE(::pwrite(copy.get(), &other, sizeof other, 0) == sizeof other);
        return copy.get();
    };
    CHECK(refused(with(magic ^ 1), "another version, or with another C library"));
    CHECK(refused(with(magic ^ std::uint64_t{1} << 56), "another version, or with another C"));
    CHECK(refused(with(magic ^ 0x100), "holds no mutex"));
    CHECK(refused(with(0), "holds no mutex"));
    const bool registered = parts[1] >= 0;
    const std::string text = refused_for(with(magic), registered ? -1 : pipe.hear.get(),
                                         registered ? -1 : pipe.say.get());
    CHECK(text.find("another register") != std::string::npos);
    CHECK(refused_for(memory, parts[1], parts[2]).empty());
}

TEST_CASE("an ipc mutex is refused under virtual time") {
    loop_options options;
    options.virtual_time = true;
    bool refused = false;
    run(
        [&]() -> task<> {
            ipc::mutex m;
            try {
                auto held = co_await m.lock();
            } catch (const std::logic_error&) {
                refused = true;
            }
        },
        options);
    CHECK(refused);
}

TEST_CASE("processes that are killed at random stop nobody, and one is told of each lost update") {
    const std::uint64_t start = announced_seed("mutex_test");
    both_ways([start]() -> task<> {
        std::mt19937_64 random(start);
        ipc::mutex m;
        // Two counters that differ only while the mutex is held.
        unique_fd file(::memfd_create("twins", MFD_CLOEXEC));
        const std::array<std::uint64_t, 2> zero{};
        if (::pwrite(file.get(), zero.data(), sizeof zero, 0) != sizeof zero) std::abort();
        constexpr auto work = [](ipc::mutex its, unique_fd twins) -> task<> {
            for (;;) {
                auto held = co_await its.lock();
                std::array<std::uint64_t, 2> both{};
                if (::pread(twins.get(), both.data(), sizeof both, 0) != sizeof both) ::_exit(3);
                if (both[0] != both[1]) {
                    if (!held.owner_died()) ::_exit(4);  // half done, and nobody said so
                    both[1] = both[0];
                }
                ++both[0];
                if (::pwrite(twins.get(), both.data(), 8, 0) != 8) ::_exit(3);
                if (both[0] % 4 == 0) co_await yield();
                ++both[1];
                if (::pwrite(twins.get(), &both[1], 8, 8) != 8) ::_exit(3);
                held.unlock();
                if (both[0] % 8 == 0) co_await sleep_for(20us);
            }
        };
        std::vector<ipc::process<>> all;
        for (int i = 0; i < 4; ++i) all.push_back(ipc::spawn(work, m.share(), file.duplicate()));
        std::array<std::uint64_t, 2> before{};
        int wrong_end = 0;
        int stalled = 0;
        for (int i = 0; i < 100; ++i) {
            co_await sleep_for(std::chrono::microseconds(random() % 4000));
            auto& victim = all[random() % all.size()];
            victim.kill();
            const auto status = co_await victim.wait();
            if (status.signal() != SIGKILL) ++wrong_end;
            victim = ipc::spawn(work, m.share(), file.duplicate());
            // Somebody must get on: the one thing that a lost wake-up or a dead owner would stop.
            auto mine = co_await with_timeout(m.lock(), 10s);
            if (!mine) {
                ++stalled;
                break;
            }
            std::array<std::uint64_t, 2> both{};
            if (::pread(file.get(), both.data(), sizeof both, 0) != sizeof both) std::abort();
            if (both[0] != both[1]) {
                if (!mine->owner_died()) ++wrong_end;
                both[1] = both[0];
                if (::pwrite(file.get(), both.data(), sizeof both, 0) != sizeof both) std::abort();
            }
            before = both;
        }
        CHECK(wrong_end == 0);
        CHECK(stalled == 0);
        CHECK(before[0] > 100);
        for (auto& each : all) each.kill();
    });
}

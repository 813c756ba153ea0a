// SPDX-License-Identifier: MIT
#include <runnel/ipc/spawn.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/io.hpp>
#include <runnel/ipc/this_process.hpp>
#include <runnel/loop.hpp>
#include <runnel/run.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_timeout.hpp>

#include "support/catch.hpp"
#include "support/leaks.hpp"
#include "support/system_calls.hpp"
#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

struct descriptors {
    unique_fd read;
    unique_fd write;
    descriptors() {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
        read.reset(ends[0]);
        write.reset(ends[1]);
    }
};

struct errand {
    int id;
    std::string name;
    std::vector<double> samples;
};

int plus(int a, int b) { return a + b; }
task<int> plus_later(int a, int b) {
    co_await sleep_for(1ms);
    co_return a + b;
}
task<> nothing() { co_return; }
void nothing_plain() {}
std::string describe(const errand& of, std::map<std::string, int> more) {
    return std::to_string(of.id) + of.name + std::to_string(of.samples.size()) +
           std::to_string(more.at("x"));
}
std::string greet(std::string name, long times) { return name + std::to_string(times); }
bool write_to(unique_fd out, std::string text) {
    return ::write(out.get(), text.data(), text.size()) == static_cast<::ssize_t>(text.size());
}
std::string my_name() { return ipc::this_process::name(); }
::pid_t my_pid() { return ipc::this_process::id(); }
std::string read_all(int fd) {
    std::string all;
    char some[64];
    for (::ssize_t n; (n = ::read(fd, some, sizeof some)) > 0;)
        all.append(some, static_cast<std::size_t>(n));
    return all;
}

}  // namespace

TEST_CASE("a plain function's value comes back from the child") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn(plus, 2, 3);
        const int sum = co_await child.join();
        CHECK(sum == 5);
    });
}

TEST_CASE("a task's value comes back from the child") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn(plus_later, 2, 3);
        const int sum = co_await child.join();
        CHECK(sum == 5);
    });
}

TEST_CASE("functions that give nothing are joined for their end") {
    on_a_loop([]() -> task<> {
        auto first = ipc::spawn(nothing);
        auto second = ipc::spawn(nothing_plain);
        co_await first.join();
        co_await second.join();
    });
}

TEST_CASE("a lambda without captures runs in a child") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn([](int n) { return 2 * n; }, 21);
        auto later = ipc::spawn([](int n) -> task<int> { co_return n; }, 7);
        auto generic = ipc::spawn([](auto n) { return n + 1; }, 1);
        const int twice = co_await child.join();
        const int same = co_await later.join();
        const int next = co_await generic.join();
        CHECK(twice == 42);
        CHECK(same == 7);
        CHECK(next == 2);
    });
}

TEST_CASE("arguments travel as the types of the parameters") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn(greet, "hello", 3);
        const std::string text = co_await child.join();
        CHECK(text == "hello3");
    });
}

TEST_CASE("aggregates and containers travel as arguments") {
    on_a_loop([]() -> task<> {
        const errand one{7, "fft", {0.5, 1.5}};
        std::map<std::string, int> more;
        more["x"] = 9;
        auto child = ipc::spawn(describe, one, more);
        const std::string text = co_await child.join();
        CHECK(text == "7fft29");
        CHECK(one.name == "fft");
    });
}

TEST_CASE("large arguments and large results travel whole") {
    on_a_loop([]() -> task<> {
        std::vector<int> numbers(3'000'000);
        for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<int>(i);
        auto child = ipc::spawn(
            [](std::vector<int> all) {
                for (int& each : all) ++each;
                return all;
            },
            numbers);
        const std::vector<int> back = co_await child.join();
        REQUIRE(back.size() == numbers.size());
        CHECK(back.front() == 1);
        CHECK(back.back() == 3'000'000);
    });
}

TEST_CASE("a handle that was moved in leaves the parent, so that the end of stream comes") {
    on_a_loop([]() -> task<> {
        descriptors ends;
        auto child = ipc::spawn(write_to, std::move(ends.write), "text");
        CHECK(!ends.write);
        const bool written = co_await child.join();
        CHECK(written);
        CHECK(read_all(ends.read.get()) == "text");
    });
}

TEST_CASE("a child gets its handle under a number of its own") {
    on_a_loop([]() -> task<> {
        descriptors ends;
        auto child = ipc::spawn(
            [](unique_fd out, int number_in_parent) {
                return out.get() != number_in_parent && ::write(number_in_parent, "x", 1) < 0 &&
                       errno == EBADF;
            },
            std::move(ends.write), int{ends.write.get()});
        const bool right = co_await child.join();
        CHECK(right);
    });
}

TEST_CASE("descriptors that were not given are of no use in the child") {
    on_a_loop([]() -> task<> {
        descriptors ends;
        auto child = ipc::spawn(
            [](int reader, int writer) -> task<int> {
                co_await sleep_for(1ms);  // with a loop, whose own descriptors have other numbers
                char byte = 'x';
                struct ::stat about{};
                if (::write(writer, &byte, 1) >= 0 || errno != EBADF) co_return 1;
                if (::read(reader, &byte, 1) >= 0 || errno != EBADF) co_return 2;
                if (::fstat(writer, &about) != 0 || !S_ISDIR(about.st_mode)) co_return 3;
                if ((::fcntl(writer, F_GETFD) & FD_CLOEXEC) == 0) co_return 4;
                co_return 0;
            },
            ends.read.get(), ends.write.get());
        const int wrong = co_await child.join();
        CHECK(wrong == 0);
    });
}

TEST_CASE("a result with handles in it works in the parent") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn([] {
            descriptors ends;
            if (::write(ends.write.get(), "from the child", 14) != 14) std::abort();
            return std::vector<unique_fd>([&] {
                std::vector<unique_fd> both;
                both.push_back(std::move(ends.read));
                both.emplace_back();
                return both;
            }());
        });
        const auto both = co_await child.join();
        REQUIRE(both.size() == 2);
        CHECK(!both[1]);
        CHECK(read_all(both[0].get()) == "from the child");
    });
}

TEST_CASE("a result with more handles than a message carries arrives in order") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn([] {
            std::vector<std::pair<unique_fd, std::string>> all;
            for (int i = 0; i < 600; ++i) {
                unique_fd file(::memfd_create("numbered", MFD_CLOEXEC));
                if (::pwrite(file.get(), &i, sizeof i, 0) != sizeof i) std::abort();
                all.emplace_back(std::move(file), std::string(100, 'x'));
            }
            return all;
        });
        const auto all = co_await child.join();
        REQUIRE(all.size() == 600);
        bool in_order = true;
        for (int i = 0; i < 600; ++i) {
            int number = -1;
            in_order = in_order &&
                       ::pread(all[static_cast<std::size_t>(i)].first.get(), &number, sizeof number,
                               0) == sizeof number &&
                       number == i;
        }
        CHECK(in_order);
    });
}

TEST_CASE("children are named after the order of their spawning, or as the option says") {
    CHECK(ipc::this_process::name() == "MainProcess");
    CHECK(ipc::this_process::id() == ::getpid());
    on_a_loop([]() -> task<> {
        auto first = ipc::spawn(my_name);
        auto named = ipc::spawn({.name = "worker"}, my_name);
        const std::string automatic = co_await first.join();
        const std::string given = co_await named.join();
        CHECK(automatic.starts_with("Process-"));
        CHECK(automatic == first.name());
        CHECK(given == "worker");
        CHECK(named.name() == "worker");
    });
}

TEST_CASE("a child knows its own process id") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn(my_pid);
        const ::pid_t told = co_await child.join();
        CHECK(told == child.pid());
    });
}

TEST_CASE("a child spawns children itself") {
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn([]() -> task<std::string> {
            auto grandchild = ipc::spawn(my_name);
            std::string name = co_await grandchild.join();
            co_return ipc::this_process::name() + " has " + name;
        });
        const std::string told = co_await child.join();
        CHECK(told == child.name() + " has " + child.name() + ":1");
    });
}

TEST_CASE("signals have their defaults in a child, except that SIGINT is ignored") {
    struct sigaction mine{};
    struct sigaction before{};
    mine.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &mine, &before);
    ::sigset_t blocked;
    ::sigset_t mask_before;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGUSR2);
    ::pthread_sigmask(SIG_BLOCK, &blocked, &mask_before);
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn([] {
            struct sigaction now{};
            ::sigset_t mask;
            ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
            if (::sigismember(&mask, SIGUSR2) != 0) return 1;
            if (::sigaction(SIGUSR1, nullptr, &now) != 0 || now.sa_handler != SIG_DFL) return 2;
            if (::sigaction(SIGINT, nullptr, &now) != 0 || now.sa_handler != SIG_IGN) return 3;
            ::raise(SIGINT);
            return 0;
        });
        const int wrong = co_await child.join();
        CHECK(wrong == 0);
    });
    ::pthread_sigmask(SIG_SETMASK, &mask_before, nullptr);
    ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_CASE("writing to a broken pipe is an error in a child, too, and not its death") {
    on_a_loop([]() -> task<> {
        descriptors ends;
        ends.read.reset();
        auto child = ipc::spawn(
            [](unique_fd out) { return ::write(out.get(), "x", 1) < 0 && errno == EPIPE; },
            std::move(ends.write));
        const bool survived = co_await child.join();
        CHECK(survived);
    });
}

TEST_CASE("a child runs no destructor and no exit handler of its parent") {
    static unique_fd witness;
    descriptors ends;
    witness = std::move(ends.write);
    struct last_words {
        const int* process;
        ~last_words() {
            if (*process != ::getpid()) ::_exit(77);
        }
    };
    static int parent;
    parent = ::getpid();
    on_a_loop([]() -> task<> {
        const last_words here{&parent};
        std::atexit([] {
            if (parent != ::getpid()) ::_exit(78);
        });
        auto returning = ipc::spawn(nothing_plain);
        auto exiting = ipc::spawn([] { std::exit(5); });
        const auto first = co_await returning.wait();
        const auto second = co_await exiting.wait();
        CHECK(first == ipc::exit_status::exited(0));
        CHECK(second == ipc::exit_status::exited(5));
    });
    witness.reset();
}

TEST_CASE("what the parent has printed is not printed again by the child") {
    descriptors ends;
    std::FILE* out = ::fdopen(::dup(ends.write.get()), "w");
    std::fputs("once", out);
    on_a_loop([]() -> task<> {
        auto child = ipc::spawn(nothing_plain);
        co_await child.join();
    });
    std::fclose(out);
    ends.write.reset();
    CHECK(read_all(ends.read.get()) == "once");
}

TEST_CASE("what a child prints is written when it ends") {
    on_a_loop([]() -> task<> {
        descriptors ends;
        auto child = ipc::spawn(
            [](unique_fd out) {
                ::dup2(out.get(), STDOUT_FILENO);
                std::printf("printed");
            },
            std::move(ends.write));
        co_await child.join();
        CHECK(read_all(ends.read.get()) == "printed");
    });
}

TEST_CASE("a process with several threads cannot spawn, and is told why") {
    on_a_loop([]() -> task<> {
        std::atomic<bool> quit{false};
        std::thread other([&quit] { quit.wait(false); });
        std::string text;
        int code = 0;
        try {
            auto child = ipc::spawn(nothing_plain);
        } catch (const std::system_error& error) {
            text = error.what();
            code = error.code().value();
        }
        quit = true;
        quit.notify_all();
        other.join();
        CHECK(code == EPERM);
        CHECK(text.find("2 threads") != std::string::npos);
        auto child = ipc::spawn(nothing_plain);  // the thread is gone
        co_await child.join();
    });
}

TEST_CASE("the kernel's workers are not counted as threads") {
    on_a_loop([]() -> task<> {
        unique_fd file(::memfd_create("synced", MFD_CLOEXEC));
        io::detail::io_request sync;
        sync.code = io::detail::io_code::fsync;  // which an io worker does
        sync.fd = file.get();
        co_await io::void_operation(sync, "file");
        auto child = ipc::spawn(nothing_plain);
        co_await child.join();
    });
}

TEST_CASE("spawn is refused under virtual time") {
    loop_options options;
    options.virtual_time = true;
    bool refused = false;
    run(
        [&]() -> task<> {
            const bool yes = true;
            try {
                auto child = ipc::spawn(nothing_plain);
            } catch (const std::logic_error&) {
                refused = yes;
            }
            co_return;
        },
        options);
    CHECK(refused);
}

TEST_CASE("where there can be no more processes, spawn throws and keeps the arguments") {
    on_a_loop([]() -> task<> {
        // In a child, which gives up its privileges, since root has no limit.
        auto child = ipc::spawn([]() -> task<std::string> {
            const ::rlimit none{0, 0};
            ::setrlimit(RLIMIT_NPROC, &none);
            if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) co_return "setresuid";
            descriptors ends;
            try {
                auto grandchild = ipc::spawn(write_to, std::move(ends.write), "text");
            } catch (const std::system_error& error) {
                if (error.code() != std::errc::resource_unavailable_try_again) co_return "code";
                if (!ends.write) co_return "lost";
                co_return error.what();
            }
            co_return "no error";
        });
        const std::string told = co_await child.join();
        CHECK(told.find("fork on process") == 0);
    });
}

TEST_CASE("a child that the host has reaped before spawn returns is a child that has ended") {
    struct disposition {
        explicit disposition(void (*now)(int)) : before(::signal(SIGCHLD, now)) {}
        ~disposition() { ::signal(SIGCHLD, before); }
        disposition(const disposition&) = delete;
        disposition& operator=(const disposition&) = delete;
        void (*before)(int);
    };
    constexpr auto steal = [](int) {
        const int error = errno;
        while (::waitpid(-1, nullptr, WNOHANG) > 0) {
        }
        errno = error;
    };
    for (const bool ignored : {true, false}) {
        INFO((ignored ? "SIGCHLD is ignored" : "a handler takes every child"));
        const disposition of_host(ignored ? SIG_IGN : steal);
        on_a_loop([ignored]() -> task<> {
            support::on_system_call = [](const support::system_call& call) {
                if (call.number != SYS_pidfd_open || call.result) return;
                support::on_system_call = nullptr;
                ::siginfo_t info{};  // until it has ended, and was reaped where that is done
                ::waitid(P_PID, static_cast<::id_t>(call.arguments[0]), &info, WEXITED | WNOWAIT);
            };
            auto child = ipc::spawn(plus, 20, 22);
            const auto status = co_await child.wait();
            const int sum = co_await child.join();
            CHECK(status.unknown());
            CHECK(sum == 42);
            CHECK(!child.alive());
            CHECK((child.sentinel() == -1) == ignored);
            child.kill();  // nobody
            child.stop();
        });
    }
}

TEST_CASE("a descriptor beyond a limit that was lowered since does not leak into a child") {
    on_a_loop([]() -> task<> {
        ::rlimit before{};
        ::getrlimit(RLIMIT_NOFILE, &before);
        descriptors ends;
        const unique_fd high(::fcntl(ends.write.get(), F_DUPFD_CLOEXEC, 300));
        const ::rlimit few{100, before.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &few);
        auto child = ipc::spawn(
            [](int number) { return ::write(number, "x", 1) < 0 && errno == EBADF; }, high.get());
        ::setrlimit(RLIMIT_NOFILE, &before);
        const bool closed = co_await child.join();
        CHECK(closed);
    });
}

TEST_CASE("where there are no more descriptors, spawn throws and leaves nothing behind") {
    on_a_loop([]() -> task<> {
        ::rlimit before{};
        ::getrlimit(RLIMIT_NOFILE, &before);
        std::vector<unique_fd> all;
        const ::rlimit few{64, before.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &few);
        while (true) {
            unique_fd one(::dup(0));
            if (!one) break;
            all.push_back(std::move(one));
        }
        // Told by number: UBSan needs descriptors to look at a vtable.
        int failures = 0;
        std::string first;
        int broken = 0;
        int worked = 0;
        for (int room = 0; room < 14; ++room) {  // one more descriptor each time
            std::optional<ipc::process<bool>> child;
            try {
                child =
                    ipc::spawn([](unique_fd given) { return ::fcntl(given.get(), F_GETFD) >= 0; },
                               std::move(all.back()));
            } catch (const std::system_error& error) {
                if (error.code().value() == EMFILE) ++failures;
                if (room == 0) first = error.what();
            }
            if (child) {
                try {
                    const bool given = co_await child->join();
                    if (given) ++worked;
                } catch (const ipc::child_failed&) {
                    ++broken;
                }
            }
            all.pop_back();
        }
        all.clear();
        ::setrlimit(RLIMIT_NOFILE, &before);
        CHECK(failures >= 3);
        CHECK(worked >= 3);
        CHECK(first.find("spawn on process: cannot count threads") == 0);
        CHECK(broken == 0);
    });
}

TEST_CASE("a child whose parent dies is cancelled") {
    on_a_loop([]() -> task<> {
        descriptors ends;
        auto parent = ipc::spawn(
            [](unique_fd out) -> task<> {
                struct told {
                    unique_fd out;
                    ~told() { [[maybe_unused]] auto n = ::write(out.get(), "unwound", 7); }
                };
                auto grandchild = ipc::spawn(
                    [](unique_fd pipe) -> task<> {
                        const ::pid_t own = ::getpid();
                        [[maybe_unused]] auto n = ::write(pipe.get(), &own, sizeof own);
                        const told at_end{std::move(pipe)};
                        co_await sleep_for(1h);
                    },
                    std::move(out));
                co_await sleep_for(1h);
            },
            std::move(ends.write));
        ::pid_t orphan = 0;
        co_await io::read(ends.read.get(), std::as_writable_bytes(std::span(&orphan, 1)));
        parent.kill();
        const auto status = co_await parent.wait();
        CHECK(status == ipc::exit_status::signalled(SIGKILL));
        CHECK(read_all(ends.read.get()) == "unwound");
        // It is a child of this process now.
        const unique_fd its_end(static_cast<int>(::syscall(SYS_pidfd_open, orphan, 0)));
        ::siginfo_t info{};
        bool ended = co_await with_timeout(io::waitid(its_end.get(), info), 20s);
        CHECK(ended);
    });
}

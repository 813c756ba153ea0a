// SPDX-License-Identifier: MIT
// Every awaitable of the runtime, at every moment at which a completion and a cancellation can
// meet. To add one: a scenario (see testing/no_loss.hpp), and a line in one of the cases below.
#include <array>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/as_atomic.hpp>
#include <runnel/runnel.hpp>
#include <runnel/testing/no_loss.hpp>

#include "support/catch.hpp"
#include "support/proof.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

struct socket_pair {
    explicit socket_pair(int type) {
        int fds[2];
        REQUIRE(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) == 0);
        a.reset(fds[0]);
        b.reset(fds[1]);
    }
    unique_fd a, b;
};
struct os_pipe {
    os_pipe() {
        int fds[2];
        REQUIRE(::pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0);
        REQUIRE(::fcntl(fds[0], F_SETFL, 0) == 0);
        REQUIRE(::fcntl(fds[1], F_SETFL, 0) == 0);
        out.reset(fds[0]);
        in.reset(fds[1]);
    }
    unique_fd out, in;
};

int waiting_bytes(const unique_fd& fd) {
    int n = -1;
    REQUIRE(::ioctl(fd.get(), FIONREAD, &n) == 0);
    return n;
}
void put_byte(const unique_fd& fd) { REQUIRE(::write(fd.get(), "x", 1) == 1); }
// Takes everything that is there; how many of it was `wanted`.
int drain(const unique_fd& fd, char wanted) {
    int found = 0;
    char data[4096];
    for (;;) {
        const auto n = ::recv(fd.get(), data, sizeof data, MSG_DONTWAIT);
        if (n <= 0) return found;
        for (int i = 0; i < n; ++i) found += data[i] == wanted;
    }
}
void fill(const unique_fd& fd) {
    const std::array<char, 1024> some{};
    while (::send(fd.get(), some.data(), some.size(), MSG_DONTWAIT) > 0) {
    }
    while (::send(fd.get(), some.data(), 1, MSG_DONTWAIT) > 0) {
    }
}

std::span<std::byte> bytes(char& c) { return std::as_writable_bytes(std::span(&c, 1)); }
std::span<const std::byte> bytes(const char& c) { return std::as_bytes(std::span(&c, 1)); }

// --- waiting for this process ---

struct waits_event {
    event e;
    auto operation() { return e.wait(); }
    void complete() { e.set(); }
};
struct sleeps {
    auto operation() { return sleep_for(50us); }
};
struct sleeps_long {
    event e;
    auto operation() { return race(sleep_for(1h), e.wait()); }
    void complete() { e.set(); }
};
struct yields {
    static constexpr bool cancellable = false;
    auto operation() { return yield(); }
};
struct names {
    static constexpr bool cancellable = false;
    auto operation() { return name_task("somebody"); }
};
struct sleeps_until {
    auto operation() { return sleep_until(std::chrono::steady_clock::now() + 50us); }
};
struct joins {
    event e;
    static task<> work(event& until) {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([](event& u) -> task<> { co_await u.wait(); }, std::ref(until));
            co_await n.join();
        });
    }
    auto operation() { return work(e); }
    void complete() { e.set(); }
};
struct joins_or_cancels {
    event e;
    static task<bool> work(event& until) {
        bool whole = false;
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([](event& u) -> task<> { co_await u.wait(); }, std::ref(until));
            whole = co_await n.join_or_cancel_after(1h);
        });
        co_return whole;
    }
    auto operation() { return work(e); }
    void complete() { e.set(); }
};

struct locks {
    mutex m;
    std::optional<mutex::guard> held = m.try_lock();
    auto operation() { return m.lock(); }
    void complete() { held.reset(); }
    bool balanced(bool delivered) {
        const bool free = bool(m.try_lock());
        return free == (!delivered && !held);
    }
};
struct acquires {
    semaphore s{0};
    std::size_t put = 0;
    auto operation() { return s.acquire(); }
    void complete() { s.release(), ++put; }
    bool balanced(bool delivered) { return s.available() + delivered == put; }
};
struct holds : acquires {
    auto operation() { return s.hold(); }
};
// Composed. A notification that found the waiter is delivered in spite of a cancellation, and
// however it ends, the guard holds the mutex again.
struct waits_condition {
    mutex m;
    condition c;
    mutex::guard held = *m.try_lock();
    bool flag = false, found = false;
    static task<> work(waits_condition& w) {
        if (!w.flag) co_await w.c.wait(w.held);
    }
    auto operation() { return work(*this); }
    void complete() {
        flag = true;
        found = !m.is_locked();  // that is while it waits
        c.notify_one();
    }
    bool balanced(bool delivered) {
        return bool(held) && m.is_locked() && (!found || delivered) && (!delivered || flag);
    }
};
struct waits_contended_condition : waits_condition {
    void complete() {
        const auto other = m.try_lock();  // so that the notified one has to queue for the mutex
        flag = true;
        found = other.has_value();
        c.notify_one();
    }
};
struct waits_predicate : waits_condition {
    auto operation() {
        return c.wait(held, [this] { return flag; });
    }
};
// Two parties, who have passed the barrier both or neither of them.
struct arrives {
    barrier b{2};
    event go;
    bool first = false, second = false;
    static task<> other(arrives& a) {
        co_await a.go.wait();
        co_await a.b.arrive_and_wait();
        a.second = true;
    }
    static task<> work(arrives& a) {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start(other, std::ref(a));
            co_await a.b.arrive_and_wait();
            a.first = true;
        });
    }
    auto operation() { return work(*this); }
    void complete() { go.set(); }
    bool balanced(bool delivered) {
        return first == second && b.waiting() == 0 && (first || !delivered);
    }
};

// --- system calls ---

struct nops {
    auto operation() { return io::nop(); }
};
struct reads {
    os_pipe p;
    char c = 0;
    int put = 0;
    auto operation() { return io::read(p.out.get(), bytes(c)); }
    void complete() { put_byte(p.in), ++put; }
    bool balanced(bool delivered) {
        return waiting_bytes(p.out) + delivered == put && (c == 'x') == delivered;
    }
};
struct reads_without_throw : reads {
    auto operation() { return as_result(reads::operation()); }
};
struct writes {
    os_pipe p;
    const char c = 'x';
    int size = ::fcntl(p.in.get(), F_SETPIPE_SZ, 4096);
    int inside = [this] {
        const std::vector<char> all(std::size_t(size), '-');
        return int(::write(p.in.get(), all.data(), all.size()));
    }();
    auto operation() { return io::write(p.in.get(), bytes(c)); }
    void complete() {
        std::vector<char> all(std::size_t(size), '-');
        inside -= int(::read(p.out.get(), all.data(), all.size()));
    }
    bool balanced(bool delivered) { return waiting_bytes(p.out) == inside + delivered; }
};
struct receives {
    socket_pair s{SOCK_STREAM};
    char c = 0;
    int put = 0;
    auto operation() { return io::recv(s.a.get(), bytes(c)); }
    void complete() { put_byte(s.b), ++put; }
    bool balanced(bool delivered) {
        return drain(s.a, 'x') + delivered == put && (c == 'x') == delivered;
    }
};
struct sends {
    socket_pair s{SOCK_STREAM};
    const char c = 'x';
    sends() { fill(s.a); }
    auto operation() { return io::send(s.a.get(), bytes(c)); }
    void complete() { lost += drain(s.b, 'x'); }
    bool balanced(bool delivered) { return lost + drain(s.b, 'x') == delivered; }
    int lost = 0;
};
// A message with a descriptor in it: what was received is owned, what was not is still under way.
struct receives_message {
    socket_pair s{SOCK_SEQPACKET};
    char c = 0;
    ::iovec part{&c, 1};
    alignas(::cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
    ::msghdr message{};
    int put = 0;
    receives_message() {
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
    }
    auto operation() { return io::recvmsg(s.a.get(), message); }
    void complete() {
        char x = 'x';
        ::iovec one{&x, 1};
        alignas(::cmsghdr) char space[CMSG_SPACE(sizeof(int))]{};
        ::msghdr m{};
        m.msg_iov = &one;
        m.msg_iovlen = 1;
        m.msg_control = space;
        m.msg_controllen = sizeof space;
        ::cmsghdr* head = CMSG_FIRSTHDR(&m);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        const int fd = s.b.get();
        std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
        REQUIRE(::sendmsg(s.b.get(), &m, 0) == 1);
        ++put;
    }
    bool balanced(bool delivered) {
        int got = -1;
        if (delivered) {
            ::cmsghdr* head = CMSG_FIRSTHDR(&message);
            if (head == nullptr || head->cmsg_type != SCM_RIGHTS) return false;
            std::memcpy(&got, CMSG_DATA(head), sizeof got);
        }
        const unique_fd owned(got);
        return bool(owned) == delivered && drain(s.a, 'x') + delivered == put;
    }
};
struct sends_message {
    socket_pair s{SOCK_SEQPACKET};
    char c = 'x';
    ::iovec part{&c, 1};
    ::msghdr message{};
    int taken = 0;
    sends_message() {
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        fill(s.a);
    }
    auto operation() { return io::sendmsg(s.a.get(), message); }
    void complete() { taken += drain(s.b, 'x'); }
    bool balanced(bool delivered) { return taken + drain(s.b, 'x') == delivered; }
};
struct polls {
    os_pipe p;
    int put = 0;
    auto operation() { return io::poll(p.out.get(), POLLIN); }
    void complete() { put_byte(p.in), ++put; }
    bool balanced(bool) { return waiting_bytes(p.out) == put; }
};
struct waits_readable : polls {
    auto operation() { return readable(p.out.get()); }
};
struct waits_writable : writes {
    auto operation() { return writable(p.in.get()); }
    bool balanced(bool) { return waiting_bytes(p.out) == inside; }
};
struct waits_futex {
    std::uint32_t word = 0;
    long woken = 0;
    auto operation() { return as_result(io::futex_wait(word, 0)); }
    void complete() {
        std::atomic_ref(word).store(1);
        woken = ::syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
    }
    // A wake-up that found the waiter is not swallowed by its cancellation.
    bool balanced(bool delivered) { return woken == 0 || delivered; }
};
struct wakes_futex {
    std::uint32_t word = 0;
    auto operation() { return io::futex_wake(word, 1); }
};
struct waits_child {
    os_pipe until;
    ::siginfo_t info{};
    ::pid_t pid = ::fork();
    unique_fd pidfd;
    waits_child() {
        if (pid == 0) {
            until.in.reset();
            char c;
            [[maybe_unused]] const auto n = ::read(until.out.get(), &c, 1);
            ::_exit(7);
        }
        pidfd.reset(int(::syscall(SYS_pidfd_open, pid, 0)));
        REQUIRE(pidfd);
    }
    auto operation() { return io::waitid(pidfd.get(), info); }
    void complete() { until.in.reset(); }
    // Delivered means reaped; cancelled means that the child is still there to be waited for.
    bool balanced(bool delivered) {
        until.in.reset();
        int status = 0;
        const bool reaped = ::waitpid(pid, &status, 0) < 0;
        return reaped == delivered && (delivered ? info.si_status : WEXITSTATUS(status)) == 7;
    }
};

// --- combinators, over a read which must not be lost ---

template <class Derived>
struct over_a_read : reads {
    auto operation() { return static_cast<Derived*>(this)->over(reads::operation()); }
};
struct in_task : over_a_read<in_task> {
    static task<std::size_t> work(io::count_operation op) { co_return co_await op; }
    auto over(io::count_operation op) { return work(op); }
};
struct in_race : over_a_read<in_race> {
    event never;
    auto over(io::count_operation op) { return race(std::move(op), never.wait(), sleep_for(1h)); }
};
struct in_race_of_two_reads {
    reads one, two;
    auto operation() { return race(one.operation(), two.operation()); }
    void complete() {
        one.complete();
        two.complete();
    }
    bool balanced(bool delivered) {
        const bool first = one.c == 'x', second = two.c == 'x';
        return (first || second) == delivered && one.balanced(first) && two.balanced(second);
    }
};
struct in_race_of_tasks : over_a_read<in_race_of_tasks> {
    event never;
    auto over(io::count_operation op) {
        auto other = [](event& e) -> task<> { co_await e.wait(); };
        return race(in_task::work(op), other(never));
    }
};
struct in_range_race : over_a_read<in_range_race> {
    auto over(io::count_operation op) {
        std::vector<io::count_operation> all{op};
        return race(std::move(all));
    }
};
struct in_timeout : over_a_read<in_timeout> {
    auto over(io::count_operation op) { return with_timeout(std::move(op), 1h); }
};
struct in_deadline : over_a_read<in_deadline> {
    auto over(io::count_operation op) {
        return with_deadline(std::move(op), std::chrono::steady_clock::now() + 1h);
    }
};
struct in_atomic_task : over_a_read<in_atomic_task> {
    auto over(io::count_operation op) { return as_atomic(in_task::work(op)); }
};
struct in_when_all : over_a_read<in_when_all> {
    auto over(io::count_operation op) { return when_all(std::move(op)); }
};
struct in_when_all_settled : over_a_read<in_when_all_settled> {
    auto over(io::count_operation op) { return when_all_settled(std::move(op), yield()); }
};
struct in_cancel_on : over_a_read<in_cancel_on> {
    std::stop_source stop;
    auto over(io::count_operation op) { return cancel_on(stop.get_token(), std::move(op)); }
};
struct in_finally : over_a_read<in_finally> {
    int cleaned = 0;
    auto over(io::count_operation op) {
        auto cleanup = [](int& times) -> task<> {
            co_await yield();
            ++times;
        };
        return finally(std::move(op), cleanup(cleaned));
    }
};
struct in_shield : over_a_read<in_shield> {
    static constexpr bool cancellable = false;
    auto over(io::count_operation op) { return shield(std::move(op)); }
};
struct in_nursery : reads {
    static task<> work(reads& r, int& got) {
        co_await open_nursery([&](nursery& n) -> task<> {
            n.start([](reads& from,
                       int& into) -> task<> { into = int(co_await from.reads::operation()); },
                    std::ref(r), std::ref(got));
            co_return;
        });
    }
    int got = 0;
    auto operation() { return work(*this, got); }
    // A nursery that was cancelled says so by returning nothing: its child may have read.
    bool balanced(bool) { return reads::balanced(got == 1); }
};

/// What knows nothing of runnel: resumed by whoever completes it.
struct foreign {
    std::coroutine_handle<>& waiting;
    bool& done;
    bool await_ready() const noexcept { return done; }
    void await_suspend(std::coroutine_handle<> h) const noexcept { waiting = h; }
    void await_resume() const noexcept {}
};
struct waits_foreign {
    static constexpr bool cancellable = false;
    std::coroutine_handle<> waiting;
    bool done = false;
    auto operation() { return uncancellable(foreign{waiting, done}); }
    void complete() {
        done = true;
        if (waiting) std::exchange(waiting, {}).resume();
    }
};

// Composed, not atomic: cancelled at its second await it has read, and says nothing of it.
struct reads_then_dawdles : reads {
    static task<> work(io::count_operation op, char& c) {
        co_await std::move(op);
        c = 0;
        co_await sleep_for(50us);
        c = 'x';
    }
    auto operation() { return work(reads::operation(), c); }
};

}  // namespace

TEST_CASE("what waits for this process is cancelled or delivered, never both") {
    testing::no_loss proof;
    proof.put<waits_event>("event.wait");
    proof.put<sleeps>("sleep_for");
    proof.put<sleeps_long>("sleep_for in race");
    proof.put<yields>("yield");
    proof.put<names>("name_task");
    proof.put<sleeps_until>("sleep_until");
    proof.put<joins>("nursery.join");
    proof.put<joins_or_cancels>("nursery.join_or_cancel_after");
    proof.put<waits_foreign>("uncancellable");
    proof.put<locks>("mutex.lock");
    proof.put<acquires>("semaphore.acquire");
    proof.put<holds>("semaphore.hold");
    proof.put<waits_condition>("condition.wait");
    proof.put<waits_contended_condition>("condition.wait, contended");
    proof.put<waits_predicate>("condition.wait, predicate");
    proof.put<arrives>("barrier.arrive_and_wait");
    test::require_proven(proof);
}

TEST_CASE("a system call is cancelled or delivered, never both") {
    testing::no_loss proof;
    proof.put<nops>("io::nop");
    proof.put<reads>("io::read");
    proof.put<writes>("io::write");
    proof.put<receives>("io::recv");
    proof.put<sends>("io::send");
    proof.put<receives_message>("io::recvmsg");
    proof.put<sends_message>("io::sendmsg");
    proof.put<polls>("io::poll");
    proof.put<waits_readable>("readable");
    proof.put<waits_writable>("writable");
    bool has_futex = false;  // since Linux 6.7
    run([&]() -> task<> {
        const std::uint32_t word = 0;
        const auto woken = co_await as_result(io::futex_wake(word, 1));
        has_futex = woken.has_value();
    });
    if (has_futex) {
        proof.put<waits_futex>("io::futex_wait");
        proof.put<wakes_futex>("io::futex_wake");
    }
    test::require_proven(proof);
}

TEST_CASE("a child's exit is waited for or left, never lost") {
    testing::no_loss proof({.seeds = 1});
    proof.put<waits_child>("io::waitid");
    test::require_proven(proof);
}

TEST_CASE("a combinator loses nothing of what it waits for") {
    testing::no_loss proof;
    proof.put<in_task>("task");
    proof.put<reads_without_throw>("as_result");
    proof.put<in_race>("race");
    proof.put<in_race_of_two_reads>("race of two reads");
    proof.put<in_race_of_tasks>("race of tasks");
    proof.put<in_range_race>("race of a vector");
    proof.put<in_timeout>("with_timeout");
    proof.put<in_deadline>("with_deadline");
    proof.put<in_atomic_task>("as_atomic");
    proof.put<in_when_all>("when_all");
    proof.put<in_when_all_settled>("when_all_settled");
    proof.put<in_cancel_on>("cancel_on");
    proof.put<in_finally>("finally");
    proof.put<in_shield>("shield");
    proof.put<in_nursery>("open_nursery");
    test::require_proven(proof);
}

TEST_CASE("the harness finds a wait that loses what it was given") {
    testing::no_loss proof({.seeds = 0});
    proof.put<reads_then_dawdles>("a task that reads and then awaits something else");
    CHECK(proof.complete());
    CHECK(!proof.problems().empty());
}

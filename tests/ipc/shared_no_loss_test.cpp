// SPDX-License-Identifier: MIT
// Waiting for shared objects, at every moment at which what is waited for and a cancellation can
// meet: cancelled means that nothing was taken, and that nobody had come.
#include <array>
#include <atomic>
#include <optional>
#include <string>
#include <thread>

#include <runnel/ipc/array.hpp>
#include <runnel/ipc/barrier.hpp>
#include <runnel/ipc/condition.hpp>
#include <runnel/ipc/event.hpp>
#include <runnel/ipc/recursive_mutex.hpp>
#include <runnel/ipc/semaphore.hpp>
#include <runnel/ipc/value.hpp>
#include <runnel/testing/no_loss.hpp>

#include "support/fds.hpp"
#include "support/proof.hpp"
#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

struct waits_for_event {
    ipc::event e;
    auto operation() { return e.wait(); }
    void complete() { e.set(); }
};

/// Permits are there, or have been taken: none is lost.
template <bool Held>
struct takes_permits {
    ipc::semaphore s{0};
    std::uint32_t released = 0;
    auto operation() {
        if constexpr (Held)
            return s.hold(2);
        else
            return s.acquire(2);
    }
    void complete() {
        s.release();
        s.release();
        released = 2;
    }
    bool balanced(bool delivered) {
        const std::uint32_t left = s.available();
        // What is held in a loop has come back when that is destroyed.
        return left == released - (delivered ? 2 : 0) || (Held && left == released);
    }
};

/// A process that releases and takes when it is told to, and says when it has.
class other_process {
public:
    other_process() {
        signal_pipe there;
        signal_pipe back;
        tell_ = std::move(there.say);
        hear_ = std::move(back.hear);
        child_ = ipc::spawn(work, s.share(), e.share(), v.share(), std::move(there.hear),
                            std::move(back.say));
    }
    void order(char what) {
        char c = what;
        REQUIRE(::write(tell_.get(), &c, 1) == 1);
        REQUIRE(::read(hear_.get(), &c, 1) == 1);
        REQUIRE(c == what);
    }
    const ipc::semaphore s{0};
    const ipc::event e;
    const ipc::value<int> v{0};
    static inline other_process* current = nullptr;

private:
    static int work(ipc::semaphore its, ipc::event flag, ipc::value<int> number, unique_fd hear,
                    unique_fd say) {
        for (char c; ::read(hear.get(), &c, 1) == 1;) {
            if (c == 's') its.release();
            if (c == 'e') flag.set();
            if (c == 'v') number.store(1);
            if (::write(say.get(), &c, 1) != 1) break;
        }
        return 0;
    }
    unique_fd tell_, hear_;
    ipc::process<int> child_;
};
struct takes_what_another_releases {
    other_process& other = *other_process::current;
    std::uint32_t released = 0;
    takes_what_another_releases() {
        while (other.s.try_acquire()) {  // what the result of the run before held
        }
    }
    auto operation() { return other.s.hold(); }
    void complete() {
        other.order('s');
        ++released;
    }
    bool balanced(bool delivered) {
        const std::uint32_t left = other.s.available();
        return left == released - (delivered ? 1 : 0) || left == released;
    }
};
struct waits_for_what_another_sets {
    other_process& other = *other_process::current;
    waits_for_what_another_sets() { other.e.clear(); }
    auto operation() { return other.e.wait(); }
    void complete() { other.order('e'); }
};
struct waits_until_another_stores {
    other_process& other = *other_process::current;
    waits_until_another_stores() { other.v.store(0); }
    auto operation() {
        return other.v.until([](int n) { return n == 1; });
    }
    void complete() { other.order('v'); }
};

struct waits_for_value {
    ipc::value<std::array<int, 10>> v;
    auto operation() {
        return v.until([](const std::array<int, 10>& all) { return all[9] == 1; });
    }
    void complete() {
        std::array<int, 10> all{};
        all[9] = 1;
        v.store(all);
    }
};

/// The second party is another loop, on another thread, which stays until it has passed, or until
/// all is over.
struct arrives {
    ipc::barrier b{2};
    ipc::event over;
    std::atomic<bool> there{false};
    bool other_passed = false;
    std::thread other;
    ~arrives() { finish(); }
    auto operation() { return b.arrive_and_wait(); }
    void complete() {
        const std::uint32_t before = b.waiting();
        other = std::thread([this] {
            run([this]() -> task<> {
                auto ends = co_await race(b.arrive_and_wait(), over.wait());
                if (std::get<0>(ends)) other_passed = true;
            });
            there = true;
        });
        // It waits, or both have passed.
        while (!there && (before != 0 || b.waiting() == 0)) std::this_thread::yield();
    }
    void finish() {
        over.set();
        if (other.joinable()) other.join();
    }
    bool balanced(bool delivered) {
        finish();
        return b.waiting() == 0 && other_passed == delivered && !b.broken();
    }
};

struct locks_array {
    ipc::array<int> a{4};
    std::optional<ipc::array<int>::guard> held = a.try_lock();
    auto operation() { return a.lock(); }
    void complete() { held.reset(); }
    bool balanced(bool delivered) {
        const bool completed = !held;
        held.reset();
        const auto left = a.try_lock();
        return left.has_value() != delivered && (completed || !delivered);
    }
};

struct locks_recursive {
    ipc::mutex plain;
    std::optional<ipc::mutex::guard> held = plain.try_lock();
    ipc::recursive_mutex m = same_as(plain);
    auto operation() { return m.lock(); }
    void complete() { held.reset(); }
    bool balanced(bool delivered) {
        const bool completed = !held;
        held.reset();
        const auto left = plain.try_lock();
        return left.has_value() != delivered && (completed || !delivered);
    }

private:
    static ipc::recursive_mutex same_as(const ipc::mutex& of) {
        ipc::encoder out;
        ipc::encode(out, of);
        std::vector<unique_fd> handles;
        for (const int number : out.handles())
            handles.emplace_back(::fcntl(number, F_DUPFD_CLOEXEC, 3));
        return ipc::decode<ipc::recursive_mutex>(out.bytes(), handles);
    }
};

// Composed. However it ends, the guard holds the mutex again; told at last is who is not cancelled.
struct waits_for_condition {
    ipc::mutex m;
    ipc::condition c;
    ipc::mutex::guard held = *m.try_lock();
    bool flag = false;
    static task<> work(waits_for_condition& w) {
        if (!w.flag) co_await w.c.wait(w.held);
    }
    auto operation() { return work(*this); }
    void complete() {
        flag = true;
        c.notify_one();
    }
    bool balanced(bool delivered) { return held && !m.try_lock() && (!delivered || flag); }
};
struct waits_for_contended_condition : waits_for_condition {
    void complete() {
        const auto other = m.try_lock();  // so that the notified one has to wait for the mutex
        flag = true;
        c.notify_one();
    }
};
struct waits_for_predicate : waits_for_condition {
    auto operation() {
        return c.wait(held, [this] { return flag; });
    }
};

void prove(const std::string& how) {
    const descriptor_count before;
    {
        testing::no_loss proof({.seeds = 2});
        proof.put<waits_for_event>("ipc::event.wait" + how);
        proof.put<takes_permits<true>>("ipc::semaphore.hold" + how);
        proof.put<takes_permits<false>>("ipc::semaphore.acquire" + how);
        proof.put<waits_for_value>("ipc::value.until" + how);
        proof.put<arrives>("ipc::barrier.arrive_and_wait" + how);
        proof.put<locks_array>("ipc::array.lock" + how);
        proof.put<locks_recursive>("ipc::recursive_mutex.lock" + how);
        proof.put<waits_for_condition>("ipc::condition.wait" + how);
        proof.put<waits_for_contended_condition>("ipc::condition.wait, contended" + how);
        proof.put<waits_for_predicate>("ipc::condition.wait, predicate" + how);
        other_process other;
        other_process::current = &other;
        proof.put<takes_what_another_releases>("ipc::semaphore.hold, of another process" + how);
        proof.put<waits_for_what_another_sets>("ipc::event.wait, of another process" + how);
        proof.put<waits_until_another_stores>("ipc::value.until, of another process" + how);
        other_process::current = nullptr;
        require_proven(proof);
    }
    CHECK(before.unchanged());
}

}  // namespace

TEST_CASE("what is waited for in shared objects is taken, or stays for the next") { prove(""); }

TEST_CASE("what is waited for in shared objects, without futex operations, is taken or stays") {
    const without_futex as_before_linux_6_7;
    prove(", without futex");
}

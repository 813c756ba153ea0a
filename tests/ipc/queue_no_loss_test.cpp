// SPDX-License-Identifier: MIT
// Putting, getting and joining at every moment at which a completion and a cancellation can meet.
#include <array>
#include <cstdlib>
#include <optional>
#include <string>

#include <fcntl.h>
#include <unistd.h>

#include <runnel/ipc/queue.hpp>
#include <runnel/ipc/spawn.hpp>
#include <runnel/testing/no_loss.hpp>

#include "support/catch.hpp"
#include "support/environment.hpp"
#include "support/fds.hpp"
#include "support/proof.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

// Borrowed by the operations that are made of them.
constexpr int item_1 = 1;
constexpr int item_2 = 2;

struct gets {
    ipc::queue_ends<int> q = ipc::queue<int>();
    int put = 0;
    auto operation() { return q.getter.get(); }
    void complete() {
        REQUIRE(q.putter.try_put(7));
        ++put;
    }
    bool balanced(bool delivered) {
        return q.getter.size() + (delivered ? 1 : 0) == static_cast<std::size_t>(put);
    }
};
struct gets_the_end {
    ipc::queue_ends<std::string> q = ipc::queue<std::string>();
    auto operation() { return q.getter.get(); }
    void complete() { q.putter.shutdown(); }
};
struct gets_text {
    ipc::queue_ends<std::string> q =
        ipc::queue<std::string>({.max_items = 0, .max_bytes = std::size_t{32} << 20});
    int put = 0;
    auto operation() { return q.getter.get(); }
    void complete() {
        const std::string text(5'000, 't');
        REQUIRE(q.putter.try_put(text));
        ++put;
    }
    bool balanced(bool delivered) {
        return q.getter.size() + (delivered ? 1 : 0) == static_cast<std::size_t>(put);
    }
};
struct leases {
    ipc::queue_ends<int> q = ipc::queue<int>({.lease = true});
    int put = 0;
    auto operation() { return q.getter.get_leased(); }
    void complete() {
        REQUIRE(q.putter.try_put(7));
        ++put;
    }
    bool balanced(bool delivered) {
        return q.getter.size() + (delivered ? 1 : 0) == static_cast<std::size_t>(put);
    }
};
/// What another task has leased comes back.
struct leases_again {
    ipc::queue_ends<int> q = ipc::queue<int>({.lease = true});
    bool finished = false;
    leases_again() {
        REQUIRE(q.putter.try_put(7));
        REQUIRE(q.getter.try_get() == 7);
    }
    auto operation() { return q.getter.get_leased(); }
    void complete() {
        if (!finished) q.getter.task_done();
        finished = true;
        REQUIRE(q.putter.try_put(8));
        ++put;
    }
    bool balanced(bool delivered) {
        return q.getter.size() + (delivered ? 1 : 0) == static_cast<std::size_t>(put);
    }
    int put = 0;
};

struct put_site {
    ipc::queue_ends<int> q = ipc::queue<int>({.max_items = 1});
    put_site() { REQUIRE(q.putter.try_put(0)); }
    bool taken = false;
    auto operation() { return q.putter.put(item_1); }
    void complete() {
        if (!taken) REQUIRE(q.getter.try_get() == 0);
        taken = true;
    }
    bool balanced(bool delivered) { return q.getter.size() == (taken && !delivered ? 0U : 1U); }
};
struct puts_text {
    ipc::queue_ends<std::string> q = ipc::queue<std::string>({.max_items = 0, .max_bytes = 65536});
    std::string text = std::string(40'000, 't');
    puts_text() { REQUIRE(q.putter.try_put(text)); }
    bool taken = false;
    auto operation() { return q.putter.put(text); }
    void complete() {
        if (!taken) REQUIRE(q.getter.try_get() == text);
        taken = true;
    }
    bool balanced(bool delivered) { return q.getter.size() == (taken && !delivered ? 0U : 1U); }
};

struct joins {
    ipc::queue_ends<int> q = ipc::queue<int>();
    bool finished = false;
    joins() {
        REQUIRE(q.putter.try_put(0));
        REQUIRE(q.getter.try_get() == 0);
    }
    auto operation() { return q.putter.join(); }
    void complete() {
        if (!finished) q.getter.task_done();
        finished = true;
    }
};
struct joins_leases {
    ipc::queue_ends<int> q = ipc::queue<int>({.lease = true});
    bool finished = false;
    joins_leases() {
        REQUIRE(q.putter.try_put(0));
        REQUIRE(q.getter.try_get() == 0);
    }
    auto operation() { return q.getter.join(); }
    void complete() {
        if (!finished) q.getter.task_done();
        finished = true;
    }
};

/// A process that puts an item, or takes one and is done with it, when it is told to.
class other_process {
public:
    other_process() {
        std::array<int, 2> there{};
        std::array<int, 2> back{};
        REQUIRE(::pipe2(there.data(), O_CLOEXEC) == 0);
        REQUIRE(::pipe2(back.data(), O_CLOEXEC) == 0);
        tell_.reset(there[1]);
        hear_.reset(back[0]);
        child_ = ipc::spawn(work, q.putter.share(), q.getter.share(), unique_fd(there[0]),
                            unique_fd(back[1]));
    }
    void act(char what) {
        REQUIRE(::write(tell_.get(), &what, 1) == 1);
        char answer = 0;
        REQUIRE(::read(hear_.get(), &answer, 1) == 1);
        REQUIRE(answer == '.');
    }
    ipc::queue_ends<int> q = ipc::queue<int>({.max_items = 1});
    static inline other_process* current = nullptr;

private:
    static int work(ipc::putter<int> out, ipc::getter<int> in, unique_fd hear, unique_fd say) {
        for (char c; ::read(hear.get(), &c, 1) == 1;) {
            bool right = true;
            if (c == 'p') right = out.try_put(5);
            if (c == 'g') right = in.try_get().has_value();
            if (c == 'd') in.task_done();
            c = right ? '.' : '!';
            if (::write(say.get(), &c, 1) != 1) break;
        }
        return 0;
    }
    unique_fd tell_, hear_;
    ipc::process<int> child_;
};
struct gets_from_another {
    other_process& other = *other_process::current;
    ipc::getter<int> in = other.q.getter.share();
    bool put = false;
    auto operation() { return in.get(); }
    void complete() {
        if (!put) other.act('p');
        put = true;
    }
    bool balanced(bool delivered) {
        const bool left = in.try_get().has_value();
        if (left || delivered) in.task_done();
        return put == (left != delivered) && in.empty();
    }
};
struct puts_to_another {
    other_process& other = *other_process::current;
    ipc::putter<int> out = other.q.putter.share();
    bool taken = false;
    puts_to_another() { REQUIRE(out.try_put(1)); }
    auto operation() { return out.put(item_2); }
    void complete() {
        if (!taken) {
            other.act('g');
            other.act('d');
        }
        taken = true;
    }
    bool balanced(bool delivered) {
        const std::size_t left = out.size();
        while (!out.empty()) {
            other.act('g');
            other.act('d');
        }
        return left == (taken && !delivered ? 0U : 1U);
    }
};

}  // namespace

TEST_CASE("an item is got, or stays for the next, put, or not, a join ends, or not") {
    const descriptor_count before;
    testing::no_loss proof;
    proof.put<gets>("ipc::getter.get");
    proof.put<gets_text>("ipc::getter.get, of variable size");
    proof.put<gets_the_end>("ipc::getter.get, at the end");
    proof.put<leases>("ipc::getter.get_leased");
    proof.put<leases_again>("ipc::getter.get_leased, with another held");
    proof.put<put_site>("ipc::putter.put, full");
    proof.put<puts_text>("ipc::putter.put, of variable size");
    proof.put<joins>("ipc::queue_user.join");
    proof.put<joins_leases>("ipc::queue_user.join, with leases");
    require_proven(proof);
    CHECK(before.unchanged());
}

TEST_CASE("the same where the kernel's rings know no futexes") {
    const without_futex as_before_linux_6_7;
    testing::no_loss proof;
    proof.put<gets>("ipc::getter.get, without futexes");
    proof.put<put_site>("ipc::putter.put, without futexes");
    proof.put<joins>("ipc::queue_user.join, without futexes");
    require_proven(proof);
}

TEST_CASE("what another process does completes a get or a put") {
    const descriptor_count before;
    {
        other_process other;
        other_process::current = &other;
        testing::no_loss proof;
        proof.put<gets_from_another>("ipc::getter.get, from another process");
        proof.put<puts_to_another>("ipc::putter.put, to another process");
        require_proven(proof);
    }
    CHECK(before.unchanged());
}

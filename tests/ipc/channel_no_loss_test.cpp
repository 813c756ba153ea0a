// SPDX-License-Identifier: MIT
// Loans and views of a channel, at every moment at which a completion and a cancellation can meet.
#include <cstring>
#include <optional>
#include <string>

#include <runnel/ipc/broadcast.hpp>
#include <runnel/ipc/channel.hpp>
#include <runnel/testing/no_loss.hpp>

#include "support/fds.hpp"
#include "support/proof.hpp"
#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

struct receives {
    ipc::channel_ends<int> ends = ipc::channel<int>({.capacity = 4});
    int sent = 0;
    auto operation() { return ends.reader.receive(); }
    void complete() {
        auto place = ends.writer.try_loan();
        *place.value() = ++sent;
        place->publish();
    }
    bool balanced(bool delivered) {
        int left = 0;
        while (auto view = ends.reader.try_receive()) ++left;
        return left + (delivered ? 1 : 0) == sent;
    }
};

struct receives_the_end {
    ipc::channel_ends<int> ends = ipc::channel<int>();
    auto operation() { return ends.reader.receive(); }
    void complete() { ends.writer = {}; }
};

struct loans {
    ipc::channel_ends<int> ends = ipc::channel<int>({.capacity = 1});
    bool received = false;
    loans() { ends.writer.try_loan().value().publish(); }
    auto operation() { return ends.writer.loan(); }
    void complete() {
        if (ends.reader.try_receive()) received = true;
    }
    bool balanced(bool delivered) {
        if (!received) return !delivered && !ends.writer.try_loan();
        return ends.writer.try_loan().has_value() != delivered;
    }
};

struct loans_bytes {
    ipc::channel_ends<std::byte> ends = ipc::channel<std::byte>({.capacity = 4096});
    bool received = false;
    loans_bytes() { ends.writer.try_loan(4000).value().publish(); }
    auto operation() { return ends.writer.loan(2500); }
    void complete() {
        if (ends.reader.try_receive()) received = true;
    }
    bool balanced(bool delivered) {
        if (!received) return !delivered && !ends.writer.try_loan(2500);
        return ends.writer.try_loan(2500).has_value() != delivered;
    }
};

template <ipc::when_behind Policy>
struct receives_broadcast {
    ipc::broadcast_ends<int> ends = ipc::broadcast<int>({.capacity = 4, .policy = Policy});
    ipc::broadcast_reader<int> other = ends.reader.share();
    int sent = 0;
    auto operation() { return ends.reader.receive(); }
    void complete() {
        auto place = ends.writer.try_loan();
        *place.value() = ++sent;
        place->publish();
    }
    bool balanced(bool delivered) {
        int left = 0;
        int all = 0;
        while (auto view = ends.reader.try_receive()) ++left;
        while (auto view = other.try_receive()) ++all;
        return left + (delivered ? 1 : 0) == sent && all == sent;
    }
};

struct loans_broadcast {
    ipc::broadcast_ends<int> ends = ipc::broadcast<int>({.capacity = 1});
    ipc::broadcast_reader<int> other = ends.reader.share();
    bool received = false;
    loans_broadcast() {
        ends.writer.try_loan().value().publish();
        auto ahead = other.try_receive();
    }
    auto operation() { return ends.writer.loan(); }
    void complete() {
        if (ends.reader.try_receive()) received = true;
    }
    bool balanced(bool delivered) {
        if (!received) return !delivered && !ends.writer.try_loan();
        return ends.writer.try_loan().has_value() != delivered;
    }
};

void prove(const std::string& how) {
    const descriptor_count before;
    testing::no_loss proof({.seeds = 2});
    proof.put<receives>("ipc::record_reader.receive, of a channel" + how);
    proof.put<receives_the_end>("ipc::record_reader.receive, of a channel, at the end" + how);
    proof.put<loans>("ipc::record_writer.loan, of a channel" + how);
    proof.put<loans_bytes>("ipc::record_writer.loan, of a channel of bytes" + how);
    proof.put<receives_broadcast<ipc::when_behind::wait>>(
        "ipc::record_reader.receive, of a broadcast" + how);
    proof.put<receives_broadcast<ipc::when_behind::overwrite>>(
        "ipc::record_reader.receive, of a broadcast that overwrites" + how);
    proof.put<loans_broadcast>("ipc::record_writer.loan, of a broadcast" + how);
    require_proven(proof);
    CHECK(before.unchanged());
}

}  // namespace

TEST_CASE("a record is lent and received, or stays", "[channel]") { prove(""); }

TEST_CASE("a record without futex operations is lent and received, or stays", "[channel]") {
    const without_futex as_before_linux_6_7;
    prove(", without futex");
}

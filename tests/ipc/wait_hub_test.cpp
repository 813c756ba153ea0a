// SPDX-License-Identifier: MIT
// The hub in which the tasks of a loop wait for a shared object.
#include <runnel/ipc/detail/wait_hub.hpp>

#include <array>
#include <chrono>

#include <fcntl.h>
#include <unistd.h>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/leaks.hpp"

using namespace runnel;
using namespace runnel::ipc::detail;
using namespace std::chrono_literals;

namespace {

/// Waits for a hang-up, and nothing else.
struct parting {
    bell rings;
    bell_register registered = bell_register::make();
    hub_set hubs;
    unique_fd stays;

    class hub final : public wait_hub {
    public:
        hub(parting& of, loop& home)
            : wait_hub(of.hubs, home, of.rings, of.registered, of.stays.get()) {}

    private:
        bool ready() noexcept override { return gone(); }
        bool settled() noexcept override { return true; }
    };
    class wait final : public hub_waiter {
    public:
        explicit wait(wait_hub& in) noexcept : in_(in) {}
        bool await_ready() const noexcept { return false; }
        void await_suspend(waiter who) { in_.wait(*this, who); }
        cancellation await_cancel() noexcept {
            return in_.leave(*this) ? cancellation::now : cancellation::too_late;
        }
        void await_resume() const noexcept {}

    private:
        bool serve() noexcept override { return in_.gone(); }
        wait_hub& in_;
    };
    wait_hub& use() {
        loop& home = *loop::current();
        return hubs.use(home, [&]() -> wait_hub* { return new hub(*this, home); });
    }
};

}  // namespace

TEST_CASE("a hang-up that is there before the first sleep is told") {
    const support::no_leaks leaks;
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    parting object;
    object.stays.reset(ends[0]);
    ::close(ends[1]);
    bool told = false;
    bool slept = true;
    run([&]() -> task<> {
        wait_hub& hub = object.use();
        const auto all = [&]() -> task<> {
            parting::wait one(hub);
            co_await one;
        };
        const auto before = loop::current()->now();
        const bool in_time = co_await with_timeout(all(), 5s);
        told = in_time;
        slept = loop::current()->now() - before > 4s;
        hub.release();
    });
    CHECK(told);
    CHECK_FALSE(slept);
}

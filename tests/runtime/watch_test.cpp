// SPDX-License-Identifier: MIT
#include <runnel/watch.hpp>

#include <chrono>
#include <utility>

#include <runnel/runnel.hpp>

#include "support/catch.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

/// Resumes one who waits in the very moment in which the loop falls asleep, and has nothing against
/// that.
class at_the_last_moment final : public watch {
public:
    explicit at_the_last_moment(loop& home) { begin(home); }
    struct wait {
        at_the_last_moment& of;
        bool await_ready() const noexcept { return false; }
        void await_suspend(waiter who) noexcept {
            of.who_ = who;
            of.waits_ = true;
        }
        cancellation await_cancel() noexcept {
            if (!std::exchange(of.waits_, false)) return cancellation::too_late;
            return cancellation::now;
        }
        void await_resume() const noexcept {}
    };

private:
    bool look() noexcept override { return false; }
    bool arm() noexcept override {
        if (waits_) who_.resume();
        waits_ = false;
        return true;
    }
    void retire() noexcept override { end(); }
    waiter who_;
    bool waits_ = false;
};

}  // namespace

TEST_CASE("a loop does not sleep over a task that a watch resumes as it is armed") {
    bool in_time = false;
    bool slept = true;
    run([&]() -> task<> {
        at_the_last_moment one(*loop::current());
        const auto wait = [&]() -> task<> { co_await at_the_last_moment::wait{one}; };
        const auto before = loop::current()->now();
        const bool done = co_await with_timeout(wait(), 5s);
        in_time = done;
        slept = loop::current()->now() - before > 4s;
    });
    CHECK(in_time);
    CHECK_FALSE(slept);
}

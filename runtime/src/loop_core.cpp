// SPDX-License-Identifier: MIT
#include "loop_core.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <stdexcept>

#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "sigpipe.hpp"

namespace runnel::detail {
namespace {

// Resumptions in one go before the ring and the timers are looked at.
constexpr unsigned ready_budget = 128;

unsigned entries_from_environment(unsigned otherwise) noexcept {
    const char* text = std::getenv("RUNNEL_RING_ENTRIES");
    const long value = text != nullptr ? std::strtol(text, nullptr, 10) : 0;
    return value > 0 && value <= 32768 ? static_cast<unsigned>(value) : otherwise;
}

}  // namespace

standing_nursery::standing_nursery(scheduler& home, loop_core& of) noexcept : nursery(home) {
    isolate_errors(
        [](void* core, std::exception_ptr error) {
            static_cast<loop_core*>(core)->report(std::move(error));
        },
        &of);
}

loop_core*& loop_core::current() noexcept {
    static constinit thread_local loop_core* running = nullptr;
    return running;
}

loop_core::loop_core(loop& facade, loop_options wanted) : options(wanted), facade_(facade) {
    sched.loop_object = &facade;
    sched.driver = &driver;
    sched.wake = &wake;
    sched.on_error = [](scheduler& s, std::exception_ptr error) noexcept {
        of(*static_cast<loop*>(s.loop_object)).report(std::move(error));
    };
    sched.virtual_time = options.virtual_time;
    sched.virtual_now = clock::now();
    read_coarse_clock();
    if (options.entries == 0 || options.entries > 32768)
        throw std::invalid_argument("make loop: entries must be between 1 and 32768");
    const unsigned entries = entries_from_environment(options.entries);
    if (options.chaos.seed != 0)
        driver.attach(make_chaos_backend(driver, entries, options.chaos));
    else
        driver.attach(make_uring_backend(driver, entries));
    wake_fd_ = unique_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_fd_) throw_errno(errno, "eventfd", "loop");
    wake_through_.store(wake_fd_.get(), std::memory_order_release);
    wake_op_ = std::make_unique<wake_op>(*this);
}

loop_core::~loop_core() { sched.wait_for_visitors(); }

void loop_core::bind(const char* operation) {
    if (!bound_) {
        driver.under().enable();
        sched.bind_to_this_thread();
        bound_ = true;
        allocations_before_ = frame_pool::from_heap();
        arm_wake();
    } else if (!sched.on_home_thread()) {
        throw_error(errc::wrong_thread, operation, "loop");
    }
}

std::uint64_t loop_core::allocations() const noexcept {
    return sched.bound_to_this_thread() ? frame_pool::from_heap() - allocations_before_ : 0;
}

// --- waking ---

namespace {
// Where the counts of wake-ups go, which nobody wants. Not in the loop: where that is destroyed on
// another thread the kernel may still be about to read one.
constinit std::uint64_t wake_count = 0;
}  // namespace

loop_core::wake_op::wake_op(loop_core& of) noexcept
    : io_op({.code = io_code::read,
             .direction = io_direction::none,
             .fd = of.wake_fd_.get(),
             .length = sizeof wake_count,
             .address = io::detail::address_of(&wake_count)}),
      core_(of) {}

branch& loop_core::wake_op::scope() const noexcept { return core_.idle_scope_; }

void loop_core::wake_op::arm() noexcept {
    armed_ = true;
    start(waiter(*this));
}

void loop_core::wake_op::run() noexcept {
    armed_ = false;
    if (!retired_) arm();
}

void loop_core::wake_op::retire() noexcept {
    retired_ = true;
    if (armed_) io_op::cancel();
}

void loop_core::wake_op::abandon() noexcept {
    armed_ = false;
    unlink();
    state_ = state::done;
}

void loop_core::arm_wake() {
    if (!wake_op_->armed()) wake_op_->arm();
}

void loop_core::wake(scheduler& s) noexcept {
    of(*static_cast<loop*>(s.loop_object)).wake_from_anywhere();
}

void loop_core::wake_from_anywhere() noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!asleep_.exchange(false, std::memory_order_relaxed)) return;
    const std::uint64_t one = 1;
    const int saved = errno;
    [[maybe_unused]] const auto n =
        ::write(wake_through_.load(std::memory_order_acquire), &one, sizeof one);
    errno = saved;
}

// --- turning ---

bool loop_core::kernel_busy() const noexcept {
    return driver.under().counts.in_flight > (wake_op_->armed() ? 1u : 0u);
}

/// Marks the thread as running this loop.
class loop_core::running {
public:
    explicit running(loop_core& core) : core_(core), outer_(std::exchange(current(), &core)) {
        core_.in_turn_ = true;
    }
    ~running() {
        core_.look();  // what watches have put off until the loop turns: that may be long
        core_.in_turn_ = false;
        current() = outer_;
    }
    running(const running&) = delete;
    running& operator=(const running&) = delete;

private:
    loop_core& core_;
    loop_core* outer_;
};

void loop_core::read_coarse_clock() noexcept {
    if (sched.virtual_time) {
        const auto now = sched.now().time_since_epoch();
        sched.coarse_ms = static_cast<std::uint32_t>(
            std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
        return;
    }
    ::timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    sched.coarse_ms = static_cast<std::uint32_t>(now.tv_sec * 1000 + now.tv_nsec / 1'000'000);
}

[[gnu::always_inline]] inline void loop_core::collect(bool may_block) {
    backend& under = driver.under();
    time_point until = sched.timers.nearest();
    if (sched.virtual_time) {
        // Time passes only when nothing else can happen.
        if (driver.has_parked()) driver.submit_parked();
        if (under.pending()) under.poll();
        if (sched.has_ready()) return;
        // A deadline that is due already costs no time, whatever the kernel still does.
        if (until <= sched.virtual_now || (!kernel_busy() && until != time_point::max())) {
            if (until > sched.virtual_now) {
                sched.virtual_now = until;
                read_coarse_clock();
            }
            sched.fire_timers();
            return;
        }
        until = time_point::max();
    }
    if (driver.has_parked()) {
        if (!may_block) {
            driver.submit_parked();
        } else {
            driver.retry_parked();
            if (sched.has_ready()) return;
        }
    }
    if (may_block)
        under.wait(until, *this);
    else if (under.pending())
        under.poll();
    // For "since when" in dumps: not worth a clock reading each time.
    if (++collects_ % 32 == 0) read_coarse_clock();
}

[[gnu::always_inline]] inline void loop_core::turn(bool may_block) {
    driver.refill();
    sched.take_remote();
    const bool idle = may_block && !sched.has_ready() && !driver.has_parked();
    if (!(idle ? glance() : look()) && !sched.has_ready()) {
        collect(may_block);
    } else {
        if (driver.has_parked()) driver.submit_parked();
        if (driver.under().pending()) driver.under().poll();
    }
    sched.fire_timers();
    sched.run_ready(ready_budget);
}

bool loop_core::look() noexcept {
    bool any = false;
    watches_.for_each([&](watch& one) { any |= one.look(); });
    return any;
}

bool loop_core::glance() noexcept {
    bool any = false;
    watches_.for_each([&](watch& one) { any |= one.glance(); });
    return any;
}

bool loop_core::interrupted() noexcept {
    return attention_.load(std::memory_order_relaxed) || sched.take_remote();
}

bool loop_core::about_to_sleep() noexcept {
    // Pairs with wake_from_anywhere(): either what was queued is seen here, or the one who queued it
    // sees that this sleeps.
    asleep_.store(true, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (interrupted()) return false;
    bool may_sleep = true;
    watches_.for_each([&](watch& one) { may_sleep = may_sleep && one.arm(); });
    // One that has nothing against it may have resumed somebody all the same.
    return may_sleep && !sched.has_ready();
}

void loop_core::woken() noexcept {
    asleep_.store(false, std::memory_order_relaxed);
    watches_.for_each([](watch& one) { one.disarm(); });
    read_coarse_clock();
}

void loop_core::run(const bool* ended, bool (*stop)(void*), void* context) {
    if (in_turn_) throw std::logic_error("run on loop: it is running already");
    bind("run");
    wake_through_.store(wake_fd_.get(), std::memory_order_release);
    const running mark(*this);
    while (ended != nullptr ? !*ended : !done()) {
        turn(true);
        if (attention_.load(std::memory_order_relaxed)) [[unlikely]] {
            attention_.store(false, std::memory_order_relaxed);
            if (stop != nullptr && stop(context)) root.cancel_children();
            throw_collected();
        }
    }
}

void loop_core::run_until(bool (*enough)(void*), void* context) {
    if (in_turn_) throw std::logic_error("run on loop: it is running already");
    bind("run");
    wake_through_.store(wake_fd_.get(), std::memory_order_release);
    const running mark(*this);
    while (!enough(context)) turn(true);
    throw_collected();
}

void loop_core::poll() {
    if (in_turn_)
        throw std::logic_error("poll on loop: called from inside one of the loop's own tasks");
    bind("poll");
    woken();
    {
        const running mark(*this);
        // A bounded number of turns, until one brings nothing more: the foreign loop has its own.
        for (int i = 0; i < 16; ++i) {
            turn(false);
            if (!sched.has_ready() && !driver.has_parked() && !driver.under().pending() && !look())
                break;
        }
    }
    if (host_fd_) {
        // After the turn, since a turn signals it, too. What comes between draining and looking
        // again is seen by one or the other.
        std::uint64_t count = 0;
        [[maybe_unused]] auto n = ::read(host_fd_.get(), &count, sizeof count);
        // A signal that an eventfd's write causes is deferred by the kernel, which then forgets
        // that it has been sent and sends no other (seen on Linux 6.18); registering anew cures it.
        driver.under().notify(host_fd_.get());
        // The host is woken directly: that is one system call less, too.
        wake_through_.store(host_fd_.get(), std::memory_order_release);
        const bool may_sleep = about_to_sleep();
        driver.under().flush();  // what watches have armed
        if (!may_sleep || sched.has_ready() || driver.has_parked() || driver.under().pending()) {
            count = 1;
            n = ::write(host_fd_.get(), &count, sizeof count);
        }
    }
    throw_collected();
}

int loop_core::host_fd() {
    if (!host_fd_) {
        bind("fd");
        host_fd_ = unique_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        if (!host_fd_) throw_errno(errno, "eventfd", "loop");
        driver.under().notify(host_fd_.get());
        // There may be work already: the first poll of the host must not sleep over it.
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto n = ::write(host_fd_.get(), &one, sizeof one);
    }
    return host_fd_.get();
}

int loop_core::timeout_ms() const noexcept {
    if (sched.has_ready() || driver.has_parked() || driver.under().pending()) return 0;
    const time_point nearest = sched.timers.nearest();
    if (nearest == time_point::max()) return -1;
    const auto left = nearest - sched.now();
    if (left <= left.zero() || sched.virtual_time) return 0;
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    return ms > 0x7fffffff ? 0x7fffffff : static_cast<int>(ms);
}

// --- errors and the end ---

void print_error(const std::exception_ptr& error) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "runnel: an error that nobody catches: %s\n", e.what());
    } catch (...) {
        std::fprintf(stderr, "runnel: an error that nobody catches\n");
    }
}

void loop_core::report(std::exception_ptr error) noexcept {
    if (on_error) {
        try {
            on_error(error);
            return;
        } catch (...) {
            error = std::current_exception();
        }
    }
    if (!closing.load(std::memory_order_relaxed)) {
        collected.push_back(std::move(error));
        attention_.store(true, std::memory_order_relaxed);
        return;
    }
    print_error(error);  // nobody is left to throw to
}

void loop_core::throw_collected() { rethrow_first(std::exchange(collected, {})); }

bool loop_core::nothing_left() const noexcept {
    return done() && watches_.empty() && !sched.has_ready() && sched.timers.empty() &&
           !driver.has_parked() && !kernel_busy();
}

void loop_core::shut_down() noexcept {
    sched.take_remote();
    closing.store(true, std::memory_order_relaxed);
    if (bound_ && !sched.on_home_thread()) {
        // Its ring takes no request of this thread; but closing it needs none.
        if (nothing_left()) return wake_op_->abandon();
        std::fprintf(stderr,
                     "runnel: fatal: a loop was destroyed on another thread than ran it, with "
                     "something left to do there\n");
        std::abort();
    }
    if (bound_ || !done() || sched.has_ready()) {
        try {
            bind("destroy");
        } catch (const std::exception& e) {
            std::fprintf(stderr, "runnel: fatal: %s\n", e.what());
            std::abort();
        }
        root.cancel();
        wake_through_.store(wake_fd_.get(), std::memory_order_release);
        wake_op_->retire();
        const running mark(*this);
        auto next_report = clock::now() + std::chrono::seconds(1);
        while (root.size() != 0 || reaper.size() != 0 || !watches_.empty() ||
               driver.under().counts.in_flight != 0 || sched.has_ready() || sched.take_remote()) {
            if (root.size() == 0 && reaper.size() == 0)
                watches_.for_each([](watch& one) { one.retire(); });
            struct alarm final : timer_node {
                void fire() noexcept override {}
            } tick;
            if (!sched.virtual_time) sched.arm(tick, next_report);
            // Watches that had nothing in the kernel have retired without a completion to come.
            turn(root.size() != 0 || reaper.size() != 0 || driver.under().counts.in_flight != 0);
            sched.disarm(tick);
            if (clock::now() >= next_report) {
                next_report += std::chrono::seconds(10);
                std::cerr << "runnel: a loop that ends is waiting for:\n";
                facade_.dump(std::cerr);
            }
        }
    }
}

}  // namespace runnel::detail

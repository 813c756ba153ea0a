// SPDX-License-Identifier: MIT
#include <runnel/loop.hpp>

#include <csignal>

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <runnel/io.hpp>
#include <runnel/run.hpp>
#include <runnel/with_timeout.hpp>

#include "interrupt.hpp"
#include "loop_core.hpp"

namespace runnel {

loop::loop(loop_options options) : core_(std::make_unique<detail::loop_core>(*this, options)) {}

loop::~loop() { core_->shut_down(); }

nursery& loop::root() noexcept { return core_->root; }

void loop::require_home(const char* operation) const {
    if (!core_->sched.on_home_thread()) throw_error(errc::wrong_thread, operation, "loop");
}

void loop::on_error(std::function<void(std::exception_ptr)> handler) {
    core_->on_error = std::move(handler);
}

void loop::cancel() {
    if (core_->sched.bound_to_this_thread())
        core_->root.cancel_children();
    else
        post([this] { core_->root.cancel_children(); });
}

void loop::run() { core_->run(nullptr, nullptr, nullptr); }

int loop::fd() { return core_->host_fd(); }
void loop::poll() { core_->poll(); }
int loop::timeout_ms() const noexcept { return core_->timeout_ms(); }
bool loop::done() const noexcept { return core_->done(); }

std::optional<std::chrono::steady_clock::time_point> loop::next_deadline() const noexcept {
    if (core_->sched.timers.empty()) return std::nullopt;
    return core_->sched.timers.nearest();
}

void loop::post_node(posted_node* node) {
    node->to = this;
    // Before the first turn no thread is the loop's own: any may be about to become it.
    if (loop::current() == this)
        core_->sched.schedule(*node);
    else
        core_->sched.schedule_remote(*node);
}

void loop::report(std::exception_ptr error) noexcept { core_->report(std::move(error)); }

std::chrono::steady_clock::time_point loop::now() const noexcept { return core_->sched.now(); }

loop_stats loop::stats() const noexcept {
    loop_stats all = core_->driver.under().counts;
    all.resumes = core_->sched.resumes;
    all.timers = core_->sched.timers.size();
    all.tasks = core_->root.size();
    all.allocations = core_->allocations();
    return all;
}

loop* loop::current() noexcept {
    detail::loop_core* core = detail::loop_core::current();
    return core != nullptr ? static_cast<loop*>(core->sched.loop_object) : nullptr;
}

namespace {

task<> reap(unique_fd pidfd, std::function<void()> stop, std::chrono::nanoseconds grace) {
    if (stop) stop();
    const auto ended = co_await with_timeout(io::poll(pidfd.get(), POLLIN), grace);
    if (!ended) {
        ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
        co_await io::poll(pidfd.get(), POLLIN);
    }
    // ECHILD if somebody else in this process has waited for it already.
    ::siginfo_t info{};
    ::waitid(P_PIDFD, static_cast<::id_t>(pidfd.get()), &info, WEXITED | WNOHANG);
}

}  // namespace

void loop::reap_later(unique_fd pidfd, std::function<void()> stop, std::chrono::nanoseconds grace) {
    core_->reaper.start(reap, std::move(pidfd), std::move(stop), grace);
}

void io::cancel_pending(int fd) noexcept {
    if (runnel::detail::loop_core* core = runnel::detail::loop_core::current())
        core->driver.close(fd);
}

void io::cancel_pending(loop& on, int fd) noexcept {
    runnel::detail::loop_core::of(on).driver.close(fd);
}

bool detail::run_main(loop& l, task<> main, bool& ended) {
    interrupt_watch interrupt(l);
    l.on_error([](const std::exception_ptr& error) { print_error(error); });
    auto mark_end = [](task<> body, bool& flag) -> task<> {
        struct mark {
            bool& flag;
            ~mark() { flag = true; }
        } at_end{flag};
        co_await std::move(body);
    };
    l.start(mark_end, std::move(main), std::ref(ended));
    loop_core::of(l).run(
        &ended, [](void* watch) { return static_cast<interrupt_watch*>(watch)->taken(); },
        &interrupt);
    return interrupt.seen();
}

}  // namespace runnel

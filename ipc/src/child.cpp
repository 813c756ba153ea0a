// SPDX-License-Identifier: MIT
#include <runnel/ipc/detail/child.hpp>

#include <cerrno>
#include <csignal>

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/error.hpp>
#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/process.hpp>
#include <runnel/loop.hpp>

#include "control.hpp"

namespace runnel::ipc {

child_failed::child_failed(const std::string& what, exit_status status,
                           const std::string& type_name)
    : std::runtime_error(what),
      status_(status),
      type_name_(std::make_shared<const std::string>(type_name)) {}

namespace detail {
namespace {

void send_signal(int pidfd, int number) noexcept {
    ::syscall(SYS_pidfd_send_signal, pidfd, number, nullptr, 0);
}

bool wait_readable(int fd, std::chrono::steady_clock::time_point until) noexcept {
    for (;;) {
        const auto left = until - std::chrono::steady_clock::now();
        const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
        ::pollfd one{fd, POLLIN, 0};
        const int n = ::poll(&one, 1, ms > 0 ? static_cast<int>(std::min<long>(ms, 1 << 30)) : 0);
        if (n != 0 && !(n < 0 && errno == EINTR)) return true;
        if (ms <= 0) return false;
    }
}

}  // namespace

void child::started(::pid_t pid, unique_fd pidfd, unique_fd control) noexcept {
    pid_ = pid;
    pidfd_ = std::move(pidfd);
    control_ = std::move(control);
}

void child::gone(::pid_t pid, unique_fd control) noexcept {
    pid_ = pid;
    control_ = std::move(control);
    ended_ = true;
}

child::~child() {
    if (!pidfd_ || ended()) return;
    const auto now = std::chrono::steady_clock::now();
    if (loop* here = loop::current()) {
        try {
            const auto socket = std::make_shared<unique_fd>(std::move(control_));
            here->reap_later(std::move(pidfd_), [socket] { socket->reset(); }, grace_);
            return;
        } catch (const std::bad_alloc&) {
            if (!pidfd_) return;
        }
    }
    control_.reset();
    if (!wait_readable(pidfd_.get(), now + grace_)) send_signal(pidfd_.get(), SIGKILL);
    finish();
}

bool child::reap(bool wait) noexcept {
    if (ended_) return true;
    ::siginfo_t info{};
    int failed;
    do {
        failed = ::waitid(P_PIDFD, static_cast<::id_t>(pidfd_.get()), &info,
                          WEXITED | (wait ? 0 : WNOHANG));
    } while (failed != 0 && errno == EINTR);
    if (failed == 0 && info.si_pid == 0) return false;
    // ECHILD: the host has waited for it, or ignores SIGCHLD.
    if (failed == 0) {
        status_ = info.si_code == CLD_EXITED ? exit_status::exited(info.si_status)
                                             : exit_status::signalled(info.si_status);
    }
    return ended_ = true;
}

void child::signal(int number) noexcept {
    if (!ended()) send_signal(pidfd_.get(), number);
}

void child::ask_to_stop() noexcept {
    const char stop = 's';
    [[maybe_unused]] const auto n = ::send(control_.get(), &stop, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void child::receive() {
    while (report_.what == child_report::kind::none) {
        auto next = control::receive(control_.get());
        if (!next) return;
        for (unique_fd& each : next->handles) early_.push_back(std::move(each));
        if (next->what == child_report::kind::more_handles) continue;
        report_ = std::move(*next);
        report_.handles = std::move(early_);
    }
}

child_report& child::value() {
    receive();
    if (report_.what == child_report::kind::value) return report_;
    std::string text = "join on process " + name_ + " (pid " + std::to_string(pid_) + "): ";
    std::string type;
    if (report_.what == child_report::kind::error) {
        const auto told = ipc::decode<std::pair<std::string, std::string>>(report_.bytes);
        type = told.first;
        text += type;
        if (!told.second.empty()) text += ": " + told.second;
    } else if (report_.what == child_report::kind::stopped) {
        text += "stopped before its function returned";
    } else {
        text += to_string(status_);
    }
    throw child_failed(text, status_, type);
}

void throw_no_process(const char* operation) {
    throw std::invalid_argument(std::string(operation) + " on process: there is none");
}

void throw_handles_taken(const child& of) {
    throw std::invalid_argument("join on process " + of.name() +
                                ": the handles of its result were given to an earlier join");
}

void terminate_child(child& which) noexcept { which.signal(SIGTERM); }
void kill_child(child& which) noexcept { which.signal(SIGKILL); }

}  // namespace detail
}  // namespace runnel::ipc

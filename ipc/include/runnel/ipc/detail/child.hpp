// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <sys/types.h>

#include <runnel/ipc/coder.hpp>
#include <runnel/ipc/exit_status.hpp>
#include <runnel/unique_fd.hpp>

namespace runnel::ipc::detail {

/// What a child tells of its end, over the control socket.
struct child_report {
    enum class kind : std::uint32_t { none, value, error, stopped, more_handles };
    kind what = kind::none;
    std::vector<std::byte> bytes;    // an encoded value, or the type and text of an exception
    std::vector<unique_fd> handles;  // that the value refers to
};

/// The parent's side of a child. It is shared by the process handle and those who wait.
class child {
public:
    child(std::string name, std::chrono::nanoseconds grace) noexcept
        : name_(std::move(name)), grace_(grace) {}
    child(const child&) = delete;
    child& operator=(const child&) = delete;
    /// Hands a running child to the reaper of the running loop. Without one it waits itself.
    ~child();

    void started(::pid_t pid, unique_fd pidfd, unique_fd control) noexcept;
    /// The same for one that was reaped before there was a pidfd: its status is unknown.
    void gone(::pid_t pid, unique_fd control) noexcept;

    [[nodiscard]] ::pid_t pid() const noexcept { return pid_; }
    [[nodiscard]] int pidfd() const noexcept { return pidfd_.get(); }
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] exit_status status() const noexcept { return status_; }

    /// Whether the child has ended; it is reaped then.
    bool ended() noexcept { return reap(false); }
    /// The same for a child whose end has been seen: waits for the last moment of it.
    void finish() noexcept { reap(true); }
    void signal(int number) noexcept;
    void ask_to_stop() noexcept;

    /// The value of an ended child. Throws child_failed if there is none, std::system_error if its
    /// handles cannot be received; nothing is lost then.
    child_report& value();

private:
    bool reap(bool wait) noexcept;
    void receive();

    std::string name_;
    std::chrono::nanoseconds grace_;
    ::pid_t pid_ = -1;
    unique_fd pidfd_;
    unique_fd control_;
    bool ended_ = false;
    exit_status status_;
    std::vector<unique_fd> early_;  // handles that came in messages before the report
    child_report report_;
};

}  // namespace runnel::ipc::detail

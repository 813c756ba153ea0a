// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <string>

namespace runnel::ipc {

/// How a process ended: with a code, by a signal, or nobody knows, because somebody else in this
/// process has waited for it. A value.
///
///     auto status = co_await worker.wait();
///     if (!status.success()) log("worker " + to_string(status));   // "worker killed by signal 9"
class exit_status {
public:
    /// Unknown.
    constexpr exit_status() noexcept = default;
    /// It ended by itself, with this code.
    static constexpr exit_status exited(int code) noexcept { return {how::exited, code}; }
    /// This signal killed it.
    static constexpr exit_status signalled(int signal) noexcept { return {how::signalled, signal}; }

    /// The exit code, if it ended by itself.
    [[nodiscard]] constexpr std::optional<int> code() const noexcept {
        return how_ == how::exited ? std::optional(number_) : std::nullopt;
    }
    /// The signal that killed it, if one did.
    [[nodiscard]] constexpr std::optional<int> signal() const noexcept {
        return how_ == how::signalled ? std::optional(number_) : std::nullopt;
    }
    /// Nobody knows.
    [[nodiscard]] constexpr bool unknown() const noexcept { return how_ == how::unknown; }
    /// It ended by itself, with code 0.
    [[nodiscard]] constexpr bool success() const noexcept { return *this == exited(0); }

    friend constexpr bool operator==(const exit_status&, const exit_status&) noexcept = default;

private:
    enum class how : unsigned char { unknown, exited, signalled };
    constexpr exit_status(how h, int number) noexcept : number_(number), how_(h) {}
    int number_ = 0;
    how how_ = how::unknown;
};

/// "exited with code 3", "killed by signal 9 (Killed)", "ended, its status is unknown".
[[nodiscard]] std::string to_string(const exit_status& status);

}  // namespace runnel::ipc

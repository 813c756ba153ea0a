// SPDX-License-Identifier: MIT
#pragma once

#include <utility>

namespace runnel {

/// An owned file descriptor: closed once, when it is dropped. Moves, does not copy.
///
///     unique_fd file(::open("data", O_RDONLY | O_CLOEXEC));
///
/// It belongs to no loop and cancels nothing: handles such as `byte_stream` are made of it.
class unique_fd {
public:
    constexpr unique_fd() noexcept = default;
    /// Takes ownership of `number`; a negative number is an empty unique_fd.
    constexpr explicit unique_fd(int number) noexcept : number_(number) {}
    unique_fd(unique_fd&& other) noexcept : number_(other.release()) {}
    unique_fd& operator=(unique_fd&& other) noexcept {
        reset(other.release());
        return *this;
    }
    ~unique_fd() { reset(); }

    /// The number, or -1 when empty.
    [[nodiscard]] constexpr int get() const noexcept { return number_; }
    [[nodiscard]] constexpr explicit operator bool() const noexcept { return number_ >= 0; }

    /// Gives the number away; the caller closes it.
    [[nodiscard]] constexpr int release() noexcept { return std::exchange(number_, -1); }
    /// Closes what is held and takes `number` instead. Never fails (close(2): errors of a close
    /// cannot be retried on Linux).
    void reset(int number = -1) noexcept;

    /// Another descriptor on the same open file, close-on-exec. Throws std::system_error (EMFILE,
    /// ...).
    [[nodiscard]] unique_fd duplicate() const;

private:
    int number_ = -1;
};

}  // namespace runnel

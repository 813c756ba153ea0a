// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>

namespace runnel::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif
#else
/// This program is slower by far, and its memory is laid out in another way.
inline constexpr bool sanitized = false;
#endif

/// A number from the environment.
inline std::uint64_t number_from_env(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}

/// The seed of a random test, which is printed: RUNNEL_SEED, or another one each time.
inline std::uint64_t announced_seed(const char* of) {
    const std::uint64_t value = number_from_env("RUNNEL_SEED", std::random_device()());
    std::printf("%s: RUNNEL_SEED=%llu\n", of, static_cast<unsigned long long>(value));
    std::fflush(stdout);
    return value;
}

/// A variable of the environment has another value while this lives.
class environment {
public:
    environment(const char* name, const char* value) : name_(name) {
        if (const char* before = std::getenv(name)) before_ = before;
        ::setenv(name, value, 1);
    }
    ~environment() {
        if (before_)
            ::setenv(name_, before_->c_str(), 1);
        else
            ::unsetenv(name_);
    }
    environment(const environment&) = delete;
    environment& operator=(const environment&) = delete;

private:
    const char* name_;
    std::optional<std::string> before_;
};

/// Objects are as before Linux 6.7, whose rings know no futexes, while this lives.
class without_futex {
public:
    explicit without_futex(bool really = true) {
        if (really) disabled_.emplace("RUNNEL_DISABLE", "futex");
    }

private:
    std::optional<environment> disabled_;
};

}  // namespace runnel::test

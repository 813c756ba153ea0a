// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <stdexcept>

#include <runnel/sleep.hpp>
#include <runnel/task.hpp>

namespace runnel::test {

/// A task that has a value for who waits for so long.
inline task<int> after(std::chrono::milliseconds d, int value) {
    co_await sleep_for(d);
    co_return value;
}
/// One that fails.
inline task<int> fails_after(std::chrono::milliseconds d, const char* text) {
    co_await sleep_for(d);
    throw std::runtime_error(text);
}

}  // namespace runnel::test

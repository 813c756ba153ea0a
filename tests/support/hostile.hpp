// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include <runnel/ipc/codec.hpp>
#include <runnel/task.hpp>

// Peers that keep to no rule: they write anything to all memory that they can write, and send
// anything. A process that has to do with them may be refused, or made to wait; it is never hit by
// a signal, never stuck, and goes on with others.

namespace runnel::test {

/// Writes nonsense into memory, in a process of its own, until it is dropped or time is up: random
/// bytes, and what looks plausible, such as numbers near those that were there.
class scribbler {
public:
    /// All memory behind these descriptors that can be mapped for writing.
    scribbler(std::vector<int> memories, std::uint64_t seed, std::chrono::milliseconds budget);
    ~scribbler();
    scribbler(const scribbler&) = delete;
    scribbler& operator=(const scribbler&) = delete;

private:
    ::pid_t child_;
};

/// Makes nonsense of right messages.
class forger {
public:
    explicit forger(std::uint64_t seed) : random_(seed) {}
    /// The bytes with a few of them changed, some cut off, or some added.
    std::string forged(std::string_view right);

private:
    std::mt19937_64 random_;
};

/// What came of operations on objects that somebody scribbled over.
struct hostile_report {
    std::uint64_t rounds = 0;
    std::uint64_t done = 0;       ///< operations that ended well
    std::uint64_t late = 0;       ///< that were given up after a while
    std::uint64_t refused = 0;    ///< that threw errc::protocol, or errc::closed
    std::uint64_t protocol = 0;   ///< the former of these: the nonsense was seen
    std::uint64_t otherwise = 0;  ///< that threw something else
    std::uint64_t crashed = 0;    ///< processes that were hit by a signal or left
    std::uint64_t stuck = 0;      ///< processes that did not go on
    std::string first;            ///< the first thing thrown otherwise
};
std::ostream& operator<<(std::ostream& out, const hostile_report& report);

/// Uses objects while their memory is scribbled over: a victim process awaits operation() again and
/// again, each with a time limit, for a while, RUNNEL_ROUNDS times (3 if it is not set).
/// `descriptors` are those of the object, and `make` makes an object and gives an operation on it.
struct hostile_object {
    std::vector<int> descriptors;
    std::function<task<>()> operation;
};
hostile_report scribbled(const std::function<hostile_object()>& make, std::uint64_t seed);

/// The descriptors of a handle; they stay the handle's.
template <class Handle>
std::vector<int> descriptors_of(const Handle& handle) {
    ipc::encoder out;
    ipc::encode(out, handle);
    return {out.handles().begin(), out.handles().end()};
}

}  // namespace runnel::test

// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>

namespace runnel::detail {

/// The clock of deadlines and timeouts: CLOCK_MONOTONIC, or the loop's own under virtual time.
using clock = std::chrono::steady_clock;
using time_point = clock::time_point;
using duration = clock::duration;

/// Any chrono duration as ours, rounded up and saturating: a timeout never ends early, a negative
/// one is zero, and hours::max() is "never", not an overflow.
template <class Rep, class Period>
constexpr duration to_duration(std::chrono::duration<Rep, Period> d) noexcept {
    using seconds = std::chrono::duration<long double>;
    if (std::chrono::duration_cast<seconds>(d) >=
        std::chrono::duration_cast<seconds>(duration::max()))
        return duration::max();
    if (d <= d.zero()) return duration::zero();
    return std::chrono::ceil<duration>(d);
}
constexpr duration to_duration(duration d) noexcept { return d < d.zero() ? d.zero() : d; }

/// `from` + `d` without overflow.
constexpr time_point after(time_point from, duration d) noexcept {
    return d > time_point::max() - from ? time_point::max() : from + d;
}

}  // namespace runnel::detail

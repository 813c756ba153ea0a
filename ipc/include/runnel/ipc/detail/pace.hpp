// SPDX-License-Identifier: MIT
// When to look.
#pragma once

#include <algorithm>
#include <cstdint>

namespace runnel::ipc::detail {

/// Two sides that go at the same speed take the line with a position from each other for every
/// record, if each looks as soon as it can. A side that looks later gets several at once, and both
/// are faster. But an answer to what this side has sent comes alone, however late it is looked for:
/// so now and then it looks later, and goes on with that if there were several.
class pace {
public:
    /// Somebody begins to wait, when so many in all have been dealt with.
    void wait(std::uint32_t handled) noexcept {
        constexpr unsigned try_every = 256;
        constexpr unsigned least = 8;
        constexpr unsigned most = 32;
        constexpr std::uint32_t few = 3;
        constexpr std::uint32_t many = 8;
        const std::uint32_t came = handled - handled_before_;
        if (pace_ == 0) {
            if (came != 0 && ++waits_ % try_every == 0) pace_ = least;
        } else if (came < few) {
            pace_ = 0;
        } else if (came < many) {
            // Later still, as long as that brings more.
            if (came > came_before_) pace_ = std::min(2 * pace_, most);
        }
        came_before_ = came;
        handled_before_ = handled;
        left_ = pace_;
    }
    /// It is too early to look.
    bool skips() noexcept {
        if (left_ == 0) return false;
        --left_;
        return true;
    }

private:
    std::uint32_t handled_before_ = 0;
    std::uint32_t came_before_ = 0;
    std::uint32_t waits_ = 0;
    unsigned pace_ = 0;
    unsigned left_ = 0;
};

}  // namespace runnel::ipc::detail

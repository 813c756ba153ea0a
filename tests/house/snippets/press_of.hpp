// SPDX-License-Identifier: MIT
// Proves of the README's awaitable what it shows it for: included behind it.
#include <iostream>

#include <runnel/testing/no_loss.hpp>

namespace {

/// A button forgets that it was pressed while nobody waited; who comes later is told here, so that
/// it can complete before it starts, too.
struct told_or_pressed : press_of {
    told_or_pressed(button& of, const bool& told) : press_of(of), told_(told) {}
    bool await_ready() const { return told_; }
    const bool& told_;
};

struct presses_button {
    button b;
    bool heard = false;
    bool early = false;
    auto operation() { return told_or_pressed(b, early); }
    void complete() {
        heard = b.pressed != nullptr;
        early = !heard;
        if (heard) b.pressed();
    }
    bool balanced(bool delivered) const {
        return b.pressed == nullptr && (early || heard == delivered);
    }
};

}  // namespace

int main() {
    testing::no_loss proof;
    proof.put<presses_button>("press_of");
    std::cout << proof;
    return proof.complete() && proof.problems().empty() ? 0 : 1;
}

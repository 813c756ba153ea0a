// SPDX-License-Identifier: MIT
#pragma once

#include <iostream>
#include <string>

#include <runnel/testing/no_loss.hpp>

#include "catch.hpp"

namespace runnel::test {

/// Prints what a proof has tried, and requires that it has tried everything and lost nothing.
inline void require_proven(const testing::no_loss& proof) {
    std::cout << proof << std::flush;
    for (const std::string& problem : proof.problems()) UNSCOPED_INFO(problem);
    CHECK(proof.problems().empty());
    CHECK(proof.complete());
}

}  // namespace runnel::test

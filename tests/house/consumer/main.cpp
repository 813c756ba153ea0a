// SPDX-License-Identifier: MIT
#include <runnel/error.hpp>

int main() { return runnel::make_error_code(runnel::errc::closed).message().empty(); }

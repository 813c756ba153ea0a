// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

#include <runnel/ipc/codec.hpp>

namespace runnel::test {

/// The handle as another process gets it: it has travelled, as an argument of spawn does. For
/// processes that a test has forked itself.
template <class Handle>
Handle arrived(const Handle& sent) {
    ipc::encoder out;
    ipc::encode(out, sent);
    std::vector<unique_fd> copies;
    for (const int number : out.handles()) copies.push_back(unique_fd(::dup(number)));
    return ipc::decode<Handle>(out.bytes(), copies);
}

}  // namespace runnel::test

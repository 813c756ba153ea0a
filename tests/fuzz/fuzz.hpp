// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <runnel/unique_fd.hpp>

namespace runnel::fuzz {

inline void require(bool condition) {
    if (!condition) std::abort();
}

/// A memfd of zeros, sealed as the body of a message is.
inline unique_fd sealed_zeros(::off_t size) {
    unique_fd file(::memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    require(::ftruncate(file.get(), size) == 0);
    require(::fcntl(file.get(), F_ADD_SEALS,
                    F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0);
    return file;
}

/// Up to three descriptors of four kinds, as `choice` says: how many in its lowest bits, and then
/// two bits for the kind of each.
inline std::vector<unique_fd> descriptors(std::uint8_t choice) {
    static const std::array<unique_fd, 4> kinds = [] {
        std::array<int, 2> pair{};
        require(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) == 0);
        ::close(pair[1]);
        return std::array{unique_fd(::open("/dev/null", O_RDWR | O_CLOEXEC)), unique_fd(pair[0]),
                          sealed_zeros(16), sealed_zeros(5000)};
    }();
    std::vector<unique_fd> all;
    for (unsigned i = 0; i < choice % 4u; ++i)
        all.push_back(kinds[(choice >> (2 + 2 * i)) % 4u].duplicate());
    return all;
}

}  // namespace runnel::fuzz

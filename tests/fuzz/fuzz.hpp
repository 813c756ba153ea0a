// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <stdexcept>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <runnel/error.hpp>
#include <runnel/ipc/codec.hpp>
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

/// An input that is read from its beginning; zeros at its end.
class script {
public:
    explicit script(std::span<const std::uint8_t> input) noexcept : rest_(input) {}
    [[nodiscard]] bool over() const noexcept { return rest_.empty(); }
    std::uint8_t byte() noexcept {
        if (rest_.empty()) return 0;
        const std::uint8_t first = rest_.front();
        rest_ = rest_.subspan(1);
        return first;
    }
    std::uint64_t number(unsigned bytes) noexcept {
        std::uint64_t all = 0;
        for (unsigned i = 0; i < bytes; ++i) all |= std::uint64_t{byte()} << 8 * i;
        return all;
    }

private:
    std::span<const std::uint8_t> rest_;
};

/// All memory of an object that can be written with what a handle sends.
class written_memory {
public:
    template <class Handle>
    explicit written_memory(const Handle& of) {
        ipc::encoder out;
        ipc::encode(out, of);
        for (const int fd : out.handles()) {
            struct ::stat about{};
            if (::fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) continue;
            const auto size = static_cast<std::size_t>(about.st_size);
            void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (at != MAP_FAILED) all_.push_back({static_cast<std::byte*>(at), size});
        }
    }
    ~written_memory() {
        for (const auto memory : all_) ::munmap(memory.data(), memory.size());
    }
    written_memory(const written_memory&) = delete;
    written_memory& operator=(const written_memory&) = delete;

    /// Writes a word somewhere: as the input says, or near to what is there. Locks that lie at
    /// `locks` in a page get no owner who lives: he would be waited for.
    void change(script& input, std::size_t locks = 0) {
        const std::uint8_t how = input.byte();
        const std::size_t where = input.number(2);
        if (all_.empty()) return;
        const auto memory = all_[how / 8 % all_.size()];
        const std::size_t at = where % (memory.size() / 8) * 8;
        std::uint64_t word = 0;
        std::memcpy(&word, memory.data() + at, sizeof word);
        const bool low = how % 2 == 0;  // the lower half of the word
        switch (how / 2 % 4) {
            case 0: word = input.number(8); break;
            case 1: word += static_cast<std::uint64_t>(input.byte()) - 128; break;
            case 2: word ^= std::uint64_t{1} << input.byte() % 64; break;
            default: {
                const std::uint64_t half = input.number(4);
                word = low ? (word >> 32 << 32) | half : (word << 32 >> 32) | half << 32;
                break;
            }
        }
        constexpr std::uint32_t nobody = 0x30000000;
        if (locks != 0 && at % 4096 == locks && (word & FUTEX_TID_MASK) != 0) word |= nobody;
        std::memcpy(memory.data() + at, &word, sizeof word);
    }

private:
    std::vector<std::span<std::byte>> all_;
};

/// The handle as it comes out of a message.
template <class Handle>
Handle arrived(const Handle& sent) {
    ipc::encoder out;
    ipc::encode(out, sent);
    std::vector<unique_fd> copies;
    for (const int number : out.handles()) copies.push_back(unique_fd(::dup(number)));
    return ipc::decode<Handle>(out.bytes(), copies);
}

/// Calls something that may throw the errors that are defined, and no others.
template <class F>
void attempt(F&& what) {
    try {
        what();
    } catch (const std::invalid_argument&) {
    } catch (const std::system_error& e) {
        bool known = e.code() == std::errc::broken_pipe ||
                     e.code() == std::errc::operation_not_supported;  // another pid namespace
        for (const errc each : {errc::protocol, errc::closed, errc::message_too_long})
            known = known || e.code() == make_error_code(each);
        // A table that is full: of readers, of processes that get.
        known = known || e.code().value() == EAGAIN || e.code().value() == EUSERS;
        if (!known) std::fprintf(stderr, "not one of the defined errors: %s\n", e.what());
        require(known);
    }
}

}  // namespace runnel::fuzz

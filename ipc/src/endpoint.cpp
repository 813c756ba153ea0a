// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>

#include <sys/socket.h>

#include <runnel/error.hpp>
#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/endpoint.hpp>

#include "segment.hpp"

namespace runnel::ipc::detail {

endpoint::endpoint(unique_fd fd, std::size_t most, bool reuse) noexcept
    : max_message(most), reuse_memory(reuse), fd_(std::move(fd)) {}
endpoint::~endpoint() = default;
void endpoint::destroy() noexcept { delete this; }

void endpoint::close() noexcept {
    if (!fd_) return;
    if (pending_ != 0) io::cancel_pending(*home_, fd_.get());
    fd_.reset();
    if (pool_ != nullptr) pool_->clear();
}

void endpoint::throw_closed(std::string_view operation) const {
    if (flaw_ != nullptr)
        throw_error(errc::protocol, operation, std::string("pipe: ").append(flaw_));
    throw_error(errc::closed, operation, "pipe");
}

segment_pool& endpoint::segments() {
    if (pool_ == nullptr) pool_ = std::make_unique<segment_pool>();
    return *pool_;
}

void endpoint::count_without_segment() noexcept { pool_->count_idle(); }

endpoint* endpoint::share() const {
    if (closed()) throw_error(errc::closed, "share", "pipe");
    unique_fd copy = fd_.duplicate();
    return new endpoint(std::move(copy), max_message, reuse_memory);
}

endpoint* message_handle::share_end() const {
    if (end_ == nullptr) throw_error(errc::closed, "share", "pipe");
    return end_->share();
}

std::pair<endpoint*, endpoint*> make_ends(std::size_t max_message, bool reuse_memory) {
    int two[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, two) != 0)
        throw_errno(errno, "create", "pipe");
    unique_fd first(two[0]);
    unique_fd second(two[1]);
    auto* one = new endpoint(std::move(first), max_message, reuse_memory);
    try {
        return {one, new endpoint(std::move(second), max_message, reuse_memory)};
    } catch (...) {
        one->release();
        throw;
    }
}

void write_end(encoder& out, const message_handle& handle, std::uint64_t signature) {
    out.write(signature);
    out.write(std::uint64_t{handle.closed() ? 0 : handle.end_->max_message});
    out.write(std::uint8_t{handle.closed() || handle.end_->reuse_memory});
    out.write_handle(handle.native_handle());
}

endpoint* read_end(decoder& in, std::uint64_t signature) {
    if (in.read<std::uint64_t>() != signature)
        in.fail("a pipe's end has another direction or carries another type");
    // What no memory holds is no limit, whatever a peer says.
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::ptrdiff_t>::max());
    const auto max_message = std::min(in.read<std::uint64_t>(), most);
    const auto reuse_memory = in.read<std::uint8_t>();
    if (reuse_memory > 1) in.fail("a pipe's end has an unknown option");
    unique_fd fd = in.read_handle();
    if (!fd) return nullptr;
    const auto is = [&](int option, int expected) {
        int found = -1;
        ::socklen_t size = sizeof found;
        return ::getsockopt(fd.get(), SOL_SOCKET, option, &found, &size) == 0 && found == expected;
    };
    if (!is(SO_DOMAIN, AF_UNIX) || !is(SO_TYPE, SOCK_SEQPACKET))
        in.fail("a pipe's end is not a socket of packets");
    return new endpoint(std::move(fd), max_message, reuse_memory != 0);
}

}  // namespace runnel::ipc::detail

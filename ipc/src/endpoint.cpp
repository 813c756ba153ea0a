// SPDX-License-Identifier: MIT
#include <cerrno>
#include <stdexcept>
#include <string>

#include <sys/socket.h>

#include <runnel/error.hpp>
#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/endpoint.hpp>

#include "segment.hpp"

namespace runnel::ipc::detail {

endpoint::endpoint(unique_fd fd, std::size_t most) noexcept
    : max_message(most), fd_(std::move(fd)) {}
endpoint::~endpoint() = default;

void endpoint::close() noexcept {
    if (!fd_) return;
    if (users_ > 1 && home_ != nullptr) io::cancel_pending(*home_, fd_.get());
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
    return new endpoint(std::move(copy), max_message);
}

endpoint* message_handle::share_end() const {
    if (end_ == nullptr) throw_error(errc::closed, "share", "pipe");
    return end_->share();
}

std::pair<endpoint*, endpoint*> make_ends(std::size_t max_message) {
    int two[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, two) != 0)
        throw_errno(errno, "create", "pipe");
    unique_fd first(two[0]);
    unique_fd second(two[1]);
    auto* one = new endpoint(std::move(first), max_message);
    try {
        return {one, new endpoint(std::move(second), max_message)};
    } catch (...) {
        one->release();
        throw;
    }
}

void write_end(encoder& out, const message_handle& handle, std::uint64_t signature) {
    out.write(signature);
    out.write(std::uint64_t{handle.closed() ? 0 : handle.end_->max_message});
    out.write_handle(handle.native_handle());
}

endpoint* read_end(decoder& in, std::uint64_t signature) {
    if (in.read<std::uint64_t>() != signature)
        in.fail("a pipe's end has another direction or carries another type");
    const auto max_message = in.read<std::uint64_t>();
    unique_fd fd = in.read_handle();
    if (!fd) return nullptr;
    const auto is = [&](int option, int expected) {
        int found = -1;
        ::socklen_t size = sizeof found;
        return ::getsockopt(fd.get(), SOL_SOCKET, option, &found, &size) == 0 && found == expected;
    };
    if (!is(SO_DOMAIN, AF_UNIX) || !is(SO_TYPE, SOCK_SEQPACKET))
        in.fail("a pipe's end is not a socket of packets");
    return new endpoint(std::move(fd), max_message);
}

}  // namespace runnel::ipc::detail

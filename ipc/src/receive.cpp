// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include <poll.h>
#include <sys/ioctl.h>

#include <runnel/error.hpp>
#include <runnel/ipc/detail/message.hpp>
#include <runnel/loop.hpp>

#include "buffers.hpp"
#include "segment.hpp"

namespace runnel::ipc::detail {
namespace {

/// recvmsg that does not wait: the number of bytes or a negative errno.
int receive_now(int fd, ::msghdr& message, int flags) noexcept {
    for (;;) {
        const ::ssize_t n = ::recvmsg(fd, &message, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n >= 0) return static_cast<int>(n);
        if (errno != EINTR && errno != ECONNRESET) return -errno;
    }
}

io::count_operation first_call(int fd, bool direct, std::span<std::byte> place,
                               ::msghdr& message) noexcept {
    // recv(2) costs a tenth less than recvmsg(2); with MSG_TRUNC it tells the true size.
    return direct ? io::recv(fd, place, MSG_TRUNC) : io::recvmsg(fd, message, MSG_PEEK);
}

}  // namespace

bool is_end(int fd) noexcept {
    ::pollfd one{fd, POLLRDHUP, 0};
    int more = 0;
    return ::poll(&one, 1, 0) == 1 && ::ioctl(fd, FIONREAD, &more) == 0 && more == 0;
}

receive_core::receive_core(endpoint* end, way how, std::span<std::byte> place) noexcept
    : stepwise(first_call(end != nullptr ? end->number() : -1, how == way::direct, place, message_)
                   .on("pipe")),
      end_(end),
      how_(how),
      place_(place) {}

receive_core::~receive_core() {
    if (begun_) end_->end_operation();
}

void receive_core::await_describe(std::string& text) const {
    text.append(how_ == way::look ? "poll on pipe " : "recv on pipe ")
        .append(std::to_string(descriptor()));
}

void receive_core::check_open(const char* verb) const {
    if (end_ == nullptr) throw_error(errc::closed, verb, "pipe");
    if (end_->closed()) end_->throw_closed(verb);
}

bool receive_core::await_suspend(waiter who) {
    check_open(how_ == way::look ? "poll" : "recv");
    if (how_ != way::direct) {
        part_ = {&header_, sizeof header_};
        message_.msg_iov = &part_;
        message_.msg_iovlen = 1;
    }
    end_->begin_on(who.home());
    begun_ = true;
    return launch(who);
}

bool receive_core::step(int result) noexcept {
    // The peer went without reading everything; what it had sent is still there.
    if (result == -ECONNRESET) return !closed();
    if (result <= 0 || how_ == way::look || how_ == way::direct) return false;
    if (closed()) {
        stale_ = true;
        return false;
    }
    return !consume();
}

/// How many descriptors must come along. A value without descriptors that says it has some is
/// malformed, whatever comes.
std::size_t receive_core::needed(const frame_header& head) const noexcept {
    const std::size_t handles = how_ == way::peek ? head.handles : 0;
    return handles + (head.kind == frame_header::in_segment ? 1 : 0);
}

/// Takes the message that was looked at. False if somebody else was faster.
bool receive_core::consume() noexcept {
    try {
        in_ = take_incoming();
    } catch (const std::bad_alloc&) {
        error_ = ENOMEM;
        return true;
    }
    frame_header seen;
    ::iovec part{&seen, sizeof seen};
    ::msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const std::size_t most = how_ == way::peek ? most_descriptors : 1;
    if ((message_.msg_flags & MSG_CTRUNC) != 0) {
        // There are descriptors, or what somebody else has asked the socket for. A second look duplicates them; only when that succeeds is the
        // message taken, since otherwise those for which there is no room would be lost.
        in_->control.offer(message, most);
        const int n = receive_now(descriptor(), message, MSG_PEEK);
        if (n <= 0) {
            in_.reset();
            if (n == 0 || n == -EAGAIN) return false;
            error_ = -n;
            return true;
        }
        control_block::collect(message, in_->spare);
        if ((message.msg_flags & MSG_CTRUNC) != 0 && in_->spare.size() < needed(seen)) {
            error_ = EMFILE;
            in_.reset();
            return true;
        }
    }
    part = {in_->bytes.data(), in_->bytes.size()};
    in_->control.offer(message, most);
    const int n = receive_now(descriptor(), message, 0);
    if (n < 0) {
        in_.reset();
        if (n == -EAGAIN) return false;
        error_ = -n;
        return true;
    }
    control_block::collect(message, in_->handles);
    in_->size = static_cast<std::size_t>(n);
    in_->flags = message.msg_flags;
    if ((in_->flags & MSG_CTRUNC) != 0) {
        frame_header got;
        std::memcpy(&got, in_->bytes.data(), std::min(sizeof got, in_->size));
        if (in_->handles.size() >= needed(got)) {
            in_->flags &= ~MSG_CTRUNC;
        } else if (got.serial != 0 && got.serial == seen.serial) {
            in_->handles.swap(in_->spare);
            in_->flags &= ~MSG_CTRUNC;
        } else {
            error_ = EMFILE;  // another reader took what was looked at, and this one did not fit
            lost_ = true;
        }
    }
    in_->spare.clear();
    return true;
}

void receive_core::finish() {
    const char* verb = how_ == way::look ? "poll" : "recv";
    if (result() < 0) throw_failure(verb);
    if (stale_) throw_error(errc::closed, verb, "pipe", descriptor());
    if (lost_)
        throw_errno(
            error_, verb,
            "pipe " + std::to_string(descriptor()) + ": descriptors of a message were lost");
    if (error_ != 0) throw_errno(error_, verb, "pipe", descriptor());
}

std::optional<receive_core::contents> receive_core::take() {
    finish();
    std::span<const std::byte> all;
    std::size_t size = 0;
    int flags = 0;
    if (in_ != nullptr) {
        size = in_->size;
        flags = in_->flags;
        all = std::span(in_->bytes).first(size);
    } else {
        size = static_cast<std::size_t>(result());
        flags = size > place_.size() ? MSG_TRUNC : 0;
        all = place_.first(std::min(size, place_.size()));
    }
    if (size == 0) {
        if (!end_->closed() && !is_end(end_->number())) malformed("an empty datagram");
        return std::nullopt;
    }
    std::memcpy(&header_, all.data(), std::min(size, sizeof header_));
    const frame_header& head = header_;
    if (const char* flaw = frame_flaw(head, size, flags)) malformed(flaw);

    contents got{all.subspan(sizeof head), {}};
    if (in_ != nullptr) got.handles = in_->handles;
    const bool large = head.kind == frame_header::in_segment;
    if (got.handles.size() != std::size_t{head.handles} + (large ? 1 : 0))
        malformed("a message says another number of descriptors than came along");
    if (large ? got.body.size() >= head.length : got.body.size() != head.length)
        malformed("a message says another length than it has");
    if (large) {
        got.rest = static_cast<std::size_t>(head.length) - got.body.size();
        segment_ = std::move(got.handles.back());
        got.handles = got.handles.first(head.handles);
        if (const char* flaw = segment_flaw(segment_.get(), got.rest)) malformed(flaw);
    }
    if (head.length > end_->max_message) {
        const auto length = static_cast<std::size_t>(head.length);
        too_long(length, end_->max_message);
    }
    return got;
}

const char* frame_flaw(const frame_header& head, std::size_t size, int flags) noexcept {
    if ((flags & MSG_TRUNC) != 0) return "a datagram is larger than any message";
    if (size < sizeof head) return "a datagram without a header";
    if (head.magic != frame_header::expected_magic) return "a datagram is not a message";
    if (head.version != frame_header::expected_version) return "another version of messages";
    if (head.kind > frame_header::in_segment) return "an unknown kind of message";
    if ((flags & MSG_CTRUNC) != 0) return "descriptors that its type has no place for";
    return nullptr;
}

void receive_core::read_rest(std::span<std::byte> into, std::size_t at) {
    if (!read_segment(segment_.get(), into, at)) malformed("its segment was truncated");
}

std::span<const std::byte> receive_core::whole(contents& from) {
    if (from.rest == 0) return from.body;
    const std::span<std::byte> room = in_->room(from.size());
    whole_into(from, room);
    return room;
}

void receive_core::whole_into(contents& from, std::span<std::byte> into) {
    if (!from.body.empty()) std::memcpy(into.data(), from.body.data(), from.body.size());
    if (from.rest == 0) return;
    read_rest(into.subspan(from.body.size(), from.rest), 0);
    release_segment(segment_.get());
    segment_.reset();
}

bytes receive_core::whole_bytes(contents& from) {
    bytes all;
    all.reserve(from.size());
    all.assign(from.body.begin(), from.body.end());
    // A vector fills what it grows by: piece by piece that stays in the cache.
    constexpr std::size_t piece = std::size_t{256} << 10;
    for (std::size_t done = 0; done != from.rest;) {
        const std::size_t more = std::min(piece, from.rest - done);
        const std::size_t at = all.size();
        all.resize(at + more);
        read_rest(std::span(all).subspan(at, more), done);
        done += more;
    }
    if (from.rest != 0) release_segment(segment_.get());
    segment_.reset();
    return all;
}

void receive_core::too_long(std::size_t size, std::size_t accepted) {
    if (segment_) release_segment(segment_.get());
    throw_error(errc::message_too_long, "recv",
                "pipe " + std::to_string(descriptor()) + ": " + std::to_string(size) +
                    " bytes, where " + std::to_string(accepted) + " are accepted");
}

void receive_core::refuse(const std::system_error& why) {
    if (why.code() != make_error_code(errc::protocol)) throw;
    std::string text = why.what();
    const std::string tail = ": " + why.code().message();
    if (text.ends_with(tail)) text.resize(text.size() - tail.size());
    malformed(text);
}

void receive_core::malformed(std::string_view what) {
    end_->close();
    throw_error(errc::protocol, "recv",
                "pipe " + std::to_string(descriptor()) + ": " + std::string(what));
}

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
#include <cerrno>
#include <cstring>
#include <new>
#include <random>
#include <stdexcept>

#include <runnel/error.hpp>
#include <runnel/ipc/detail/message.hpp>
#include <runnel/loop.hpp>

#include "buffers.hpp"
#include "owner.hpp"
#include "segment.hpp"

namespace runnel::ipc::detail {
namespace {

/// Never the same for two messages that could meet in one pipe, not even after a fork.
std::uint64_t next_serial() {
    thread_local std::uint64_t last = 0;
    thread_local unsigned forks = 0;
    if (last == 0 || forks != fork_count()) {
        std::random_device random;
        last = (std::uint64_t{random()} << 32) ^ random();
        forks = fork_count();
    }
    return ++last;
}

}  // namespace

send_core::send_core(endpoint* end) noexcept
    : stepwise(io::sendmsg(end != nullptr ? end->number() : -1, message_).on("pipe")), end_(end) {}

send_core::~send_core() {
    out_.reset();  // its segment belongs to the end
    if (begun_) end_->end_operation();
}

void send_core::await_describe(std::string& text) const {
    text.append("send on pipe ").append(std::to_string(descriptor()));
}

void send_core::check_open(const char* verb) const {
    if (end_ == nullptr) throw_error(errc::closed, verb, "pipe");
    if (end_->closed()) end_->throw_closed(verb);
}

encoder& send_core::prepare() {
    check_open();
    out_ = take_outgoing();
    return out_->body;
}

bool send_core::submit_frame(waiter who, std::span<std::byte> frame) {
    header_.length = frame.size() - sizeof header_;
    if (header_.length > end_->max_message)
        too_long(static_cast<std::size_t>(header_.length), end_->max_message);
    std::memcpy(frame.data(), &header_, sizeof header_);
    end_->sent_without_segment();
    change(io::send(end_->number(), frame));
    end_->begin_on(who.home());
    begun_ = true;
    return launch(who);
}

bool send_core::submit(waiter who) { return submit(who, out_->body.bytes()); }

bool send_core::submit(waiter who, std::span<const std::byte> body) {
    const std::size_t size = body.size();
    const std::size_t handles = out_ != nullptr ? out_->body.handles().size() : 0;
    const bool large = size > largest_datagram_body;
    if (size > end_->max_message) too_long(size, end_->max_message);
    if (handles + (large ? 1 : 0) > most_descriptors) {
        throw std::invalid_argument("send on pipe " + std::to_string(end_->number()) +
                                    ": a message holds " + std::to_string(handles) +
                                    " descriptors, and the kernel passes 253 at a time (252 with "
                                    "a body beyond 128 KiB)");
    }
    body_ = body;
    header_.handles = static_cast<std::uint32_t>(handles);
    header_.length = size;
    if (handles != 0) header_.serial = next_serial();
    if (!large) {
        end_->sent_without_segment();
        compose(size);
    }
    change(io::sendmsg(end_->number(), message_));
    end_->begin_on(who.home());
    begun_ = true;
    return launch(who);
}

void send_core::too_long(std::size_t size, std::size_t accepted) const {
    throw_error(errc::message_too_long, "send",
                "pipe " + std::to_string(end_->number()) + ": " + std::to_string(size) +
                    " bytes, where " + std::to_string(accepted) + " are accepted");
}

/// A large body is put into a segment only now: who waits for a slow receiver holds none, and is
/// one of any number.
bool send_core::begin() noexcept {
    return body_.size() > largest_datagram_body && !move_to_segment();
}

/// False: error_ says why not.
bool send_core::move_to_segment() noexcept {
    try {
        std::size_t beginning = 0;
        if (!end_->narrow && body_.size() > largest_datagram_body)
            beginning = body_.size() >= very_large ? very_large_beginning : large_beginning;
        if (out_ == nullptr) out_ = take_outgoing();
        out_->segment = end_->segments().put(body_.subspan(beginning), end_->reuse_memory);
        header_.kind = frame_header::in_segment;
        header_.serial = next_serial();
        compose(beginning);
        return true;
    } catch (const std::system_error& e) {
        error_ = e.code().value();
    } catch (...) {
        error_ = ENOMEM;
    }
    return false;
}

void send_core::compose(std::size_t beginning) noexcept {
    parts_[0] = {&header_, sizeof header_};
    parts_[1] = {const_cast<std::byte*>(body_.data()), beginning};
    message_.msg_iov = parts_;
    message_.msg_iovlen = beginning != 0 ? 2 : 1;
    if (out_ != nullptr) out_->control.put(message_, out_->body.handles(), out_->segment.number());
}

bool send_core::step(int result) noexcept {
    if (result >= 0) {
        if (out_ != nullptr) out_->segment.sent();
        return false;
    }
    // An administrator can make send buffers smaller than a datagram of ours.
    const bool again =
        result == -EMSGSIZE && !closed() && parts_[1].iov_len != 0 &&
        (header_.kind == frame_header::in_segment || header_.handles != most_descriptors);
    if (out_ != nullptr) out_->segment.not_sent();
    if (!again) return false;
    end_->narrow |= header_.kind == frame_header::in_segment;
    return move_to_segment();
}

void send_core::finish() {
    if (error_ != 0) throw_errno(error_, "send", "pipe", descriptor());
    if (result() < 0) {
        // The peer is gone; ECONNRESET is said once, when it has left messages unread.
        if (result() == -ECONNRESET || result() == -ENOTCONN)
            throw_errno(EPIPE, "send", "pipe", descriptor());
        throw_failure("send");
    }
    out_.reset();
}

}  // namespace runnel::ipc::detail

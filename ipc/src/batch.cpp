// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <runnel/error.hpp>
#include <runnel/ipc/detail/batch.hpp>
#include <runnel/loop.hpp>

#include "buffers.hpp"

namespace runnel::ipc::detail {
namespace {

/// One datagram each, of `size` bytes from `frames` on.
struct datagrams {
    datagrams(std::byte* frames, std::size_t size, std::size_t count) noexcept {
        for (std::size_t i = 0; i != count; ++i) {
            parts[i] = {frames + i * size, size};
            all[i] = {};
            all[i].msg_hdr.msg_iov = &parts[i];
            all[i].msg_hdr.msg_iovlen = 1;
        }
    }
    std::array<::iovec, most_in_batch> parts;
    std::array<::mmsghdr, most_in_batch> all;
};

}  // namespace

send_batch_core::send_batch_core(endpoint* end) noexcept
    : stepwise(io::sendmsg(end != nullptr ? end->number() : -1, message_).on("pipe")), end_(end) {}

send_batch_core::~send_batch_core() {
    if (begun_) end_->end_operation();
}

void send_batch_core::await_describe(std::string& text) const {
    text.append("send on pipe ").append(std::to_string(descriptor()));
}

std::size_t send_batch_core::prepare(std::size_t size, std::size_t wanted) {
    if (end_ == nullptr) throw_error(errc::closed, "send", "pipe");
    if (end_->closed()) end_->throw_closed("send");
    const std::size_t body = size - sizeof(frame_header);
    if (body > end_->max_message) {
        throw_error(errc::message_too_long, "send",
                    "pipe " + std::to_string(end_->number()) + ": " + std::to_string(body) +
                        " bytes, where " + std::to_string(end_->max_message) + " are accepted");
    }
    size_ = size;
    count_ = std::min(wanted, most_in_batch);
    if (count_ == 0) return 0;
    out_ = take_outgoing();
    frames_ = out_->body.extend(count_ * size);
    frame_header head;
    head.length = body;
    for (std::size_t i = 0; i != count_; ++i) std::memcpy(frames_ + i * size, &head, sizeof head);
    return count_;
}

bool send_batch_core::submit(waiter who) {
    if (count_ == 0) return false;
    part_ = {frames_, size_};
    message_.msg_iov = &part_;
    message_.msg_iovlen = 1;
    end_->sent_without_segment();
    end_->begin_on(who.home());
    begun_ = true;
    return launch(who);
}

bool send_batch_core::step(int result) noexcept {
    if (result < 0) return false;
    sent_ = 1;
    const std::size_t left = count_ - 1;
    if (left == 0 || closed()) return false;
    datagrams rest(frames_ + size_, size_, left);
    int n = -1;
    do {
        n = ::sendmmsg(descriptor(), rest.all.data(), static_cast<unsigned>(left),
                       MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    // Whatever is wrong now will be told to who sends next.
    if (n > 0) sent_ += static_cast<std::size_t>(n);
    return false;
}

std::size_t send_batch_core::finish() {
    if (count_ == 0) return 0;
    if (result() < 0) {
        if (result() == -ECONNRESET || result() == -ENOTCONN)
            throw_errno(EPIPE, "send", "pipe", descriptor());
        throw_failure("send");
    }
    return sent_;
}

recv_batch_core::recv_batch_core(endpoint* end, std::size_t size, std::size_t most) noexcept
    : stepwise(io::recvmsg(end != nullptr ? end->number() : -1, message_).on("pipe")),
      end_(end),
      size_(size),
      most_(std::min(most, most_in_batch)) {}

recv_batch_core::~recv_batch_core() {
    if (begun_) end_->end_operation();
}

void recv_batch_core::await_describe(std::string& text) const {
    text.append("recv on pipe ").append(std::to_string(descriptor()));
}

bool recv_batch_core::await_suspend(waiter who) {
    if (end_ == nullptr) throw_error(errc::closed, "recv", "pipe");
    if (end_->closed()) end_->throw_closed("recv");
    if (most_ == 0) throw std::invalid_argument("recv_batch of no messages");
    in_ = take_incoming();
    part_ = {in_->bytes.data(), size_};
    message_.msg_iov = &part_;
    message_.msg_iovlen = 1;
    end_->begin_on(who.home());
    begun_ = true;
    return launch(who);
}

bool recv_batch_core::step(int result) noexcept {
    if (result == -ECONNRESET) return !closed();
    if (result <= 0) return false;
    const auto keep = [this](std::size_t size, int flags) {
        flags &= ~MSG_CTRUNC;  // descriptors are dropped, as by recv
        got_[count_++] = {static_cast<std::uint16_t>(size), static_cast<std::uint16_t>(flags)};
    };
    keep(static_cast<std::size_t>(result), message_.msg_flags);
    const std::size_t more = most_ - 1;
    if (more == 0 || closed()) return false;
    datagrams rest(in_->bytes.data() + size_, size_, more);
    int n = -1;
    do {
        n = ::recvmmsg(descriptor(), rest.all.data(), static_cast<unsigned>(more),
                       MSG_DONTWAIT | MSG_CMSG_CLOEXEC, nullptr);
    } while (n < 0 && errno == EINTR);
    // No bytes are the end, which the next recv finds again.
    for (int i = 0; i < n && rest.all[static_cast<std::size_t>(i)].msg_len != 0; ++i) {
        const ::mmsghdr& one = rest.all[static_cast<std::size_t>(i)];
        keep(one.msg_len, one.msg_hdr.msg_flags);
    }
    return false;
}

void recv_batch_core::finish() {
    if (result() < 0) throw_failure("recv");
    if (count_ == 0 && !end_->closed() && !is_end(end_->number())) {
        end_->close();
        throw_error(errc::protocol, "recv",
                    "pipe " + std::to_string(descriptor()) + ": an empty datagram");
    }
}

std::optional<std::span<const std::byte>> recv_batch_core::next(std::size_t i) {
    if (i == count_) return std::nullopt;
    const std::byte* at = in_->bytes.data() + i * size_;
    frame_header head;
    std::memcpy(&head, at, std::min<std::size_t>(got_[i].size, sizeof head));
    const char* flaw = frame_flaw(head, got_[i].size, got_[i].flags);
    if (flaw == nullptr &&
        (head.kind != frame_header::whole || head.handles != 0 ||
         head.length != got_[i].size - sizeof head || head.length > end_->max_message))
        flaw = "a message says another length than it has";
    if (flaw != nullptr) {
        throw_error(errc::protocol, "recv", "pipe " + std::to_string(descriptor()) + ": " + flaw);
    }
    return std::span(at + sizeof head, got_[i].size - sizeof head);
}

bool recv_batch_core::spoiled(bool first) noexcept {
    end_->spoil("a message behind others could not be decoded");
    return first;
}

}  // namespace runnel::ipc::detail

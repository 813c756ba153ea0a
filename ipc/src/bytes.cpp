// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include <runnel/ipc/detail/exchange.hpp>

#include "buffers.hpp"

namespace runnel::ipc::detail {
namespace {

void check_offset(const char* verb, std::size_t offset, std::size_t size) {
    if (offset <= size) return;
    throw std::invalid_argument(std::string(verb) + ": offset " + std::to_string(offset) +
                                " is beyond the end of a buffer of " + std::to_string(size) +
                                " bytes");
}

}  // namespace

bool send_bytes_await::await_suspend(waiter who) {
    check_open("send_bytes");
    check_offset("send_bytes", offset_, buffer_.size());
    const std::size_t left = buffer_.size() - offset_;
    if (size_ != npos && size_ > left) {
        throw std::invalid_argument("send_bytes: size " + std::to_string(size_) +
                                    " is more than the " + std::to_string(left) +
                                    " bytes that the buffer has behind the offset");
    }
    return submit(who, buffer_.subspan(offset_, std::min(size_, left)));
}

std::optional<bytes> recv_bytes_await::await_resume() {
    std::optional<contents> got = take();
    if (!got) return std::nullopt;
    if (got->size() > most_) too_long(got->size(), most_);
    return whole_bytes(*got);
}

bool recv_bytes_into_await::await_suspend(waiter who) {
    check_open("recv_bytes_into");
    check_offset("recv_bytes_into", offset_, buffer_.size());
    return receive_core::await_suspend(who);
}

std::optional<std::size_t> recv_bytes_into_await::await_resume() {
    std::optional<contents> got = take();
    if (!got) return std::nullopt;
    const std::span<std::byte> room = buffer_.subspan(offset_);
    const std::size_t size = got->size();
    if (size > room.size()) {
        throw buffer_too_short("recv_bytes_into: a message of " + std::to_string(size) +
                                   " bytes, and a buffer for " + std::to_string(room.size()),
                               whole_bytes(*got));
    }
    whole_into(*got, room);
    return size;
}

}  // namespace runnel::ipc::detail

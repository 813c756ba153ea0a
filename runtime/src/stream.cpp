// SPDX-License-Identifier: MIT
#include <runnel/stream.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include <runnel/detail/branch.hpp>
#include <runnel/error.hpp>
#include <runnel/io.hpp>

namespace runnel::detail {
namespace {

constexpr std::size_t read_ahead = 16 * 1024;
constexpr std::size_t keep_at_most = 256 * 1024;  // of an empty buffer

}  // namespace

// --- the buffer ---

std::span<std::byte> read_buffer::room(std::size_t n) noexcept {
    const std::size_t size = end_ - begin_;
    if (begin_ != 0 && capacity_ - end_ < n) {
        std::memmove(data_.get(), data_.get() + begin_, size);
        begin_ = 0;
        end_ = size;
    }
    if (capacity_ - end_ < n) {
        const std::size_t larger = std::max({read_ahead, 2 * capacity_, size + n});
        std::unique_ptr<std::byte[]> data(new (std::nothrow) std::byte[larger]);
        if (!data) return {};
        if (size != 0) std::memcpy(data.get(), data_.get(), size);
        data_ = std::move(data);
        capacity_ = larger;
    }
    return {data_.get() + end_, capacity_ - end_};
}

void read_buffer::drop(std::size_t n) noexcept {
    begin_ += n;
    if (begin_ != end_) return;
    begin_ = end_ = 0;
    if (capacity_ <= keep_at_most) return;
    data_.reset();
    capacity_ = 0;
}

// --- the handle ---

stream_state::stream_state(stream_state&& other) noexcept
    : fd((other.require_idle("moved"), std::move(other.fd))),
      kind(other.kind),
      shown(other.shown),
      borrowed(other.borrowed),
      buffer(std::exchange(other.buffer, {})) {}

stream_state& stream_state::operator=(stream_state&& other) noexcept {
    if (this == &other) return *this;
    require_idle("replaced");
    other.require_idle("moved");
    close();
    fd = std::move(other.fd);
    kind = other.kind;
    shown = other.shown;
    borrowed = other.borrowed;
    buffer = std::exchange(other.buffer, {});
    return *this;
}

stream_state::~stream_state() {
    require_idle("destroyed");
    close();
}

void stream_state::require_idle(const char* what) const noexcept {
    if (pending == 0) return;
    std::fprintf(stderr,
                 "runnel: fatal: a %.*s (descriptor %d) was %s while a task awaits an operation of "
                 "it; let it outlive the tasks that use it, or close() it and wait for them\n",
                 static_cast<int>(kind.size()), kind.data(), shown, what);
    std::abort();
}

void stream_state::end_pending() noexcept {
    if (pending != 0)
        io::cancel_pending(*home, fd.get());
    else if (!borrowed)
        io::cancel_pending(fd.get());
}

void stream_state::close() noexcept {
    if (!fd) return;
    end_pending();
    if (borrowed)
        static_cast<void>(fd.release());
    else
        fd.reset();
}

unique_fd stream_state::release() {
    if (!fd) return {};
    unique_fd given = borrowed ? fd.duplicate() : unique_fd();
    end_pending();
    const int number = fd.release();
    if (!borrowed) given.reset(number);
    return given;
}

// --- operations ---

stream_op::stream_op(stream_state& of, std::string_view verb, io_code code,
                     io_direction way) noexcept
    : io_op({.code = code,
             .direction = way,
             .direct = true,
             .stream = true,
             .offset = static_cast<std::uint64_t>(-1)}),
      stream_(of),
      verb_(verb) {}

stream_op::~stream_op() {
    if (counted_) --stream_.pending;
}

bool stream_op::await_suspend(waiter who) noexcept {
    if (!stream_.fd) {
        problem_ = errc::closed;
        return false;
    }
    request_.fd = stream_.fd.get();
    stream_.home = &who.home();
    ++stream_.pending;
    counted_ = true;
    return start(who);
}

void stream_op::await_describe(std::string& text) const {
    text.append(verb_).append(" on ").append(stream_.kind);
    if (stream_.shown >= 0) text.append(" ").append(std::to_string(stream_.shown));
}

void stream_op::ask(const void* at, std::size_t length) noexcept {
    request_.address = io::detail::address_of(at);
    request_.length = io::detail::length_of(length);
}

std::error_code stream_op::failure() const noexcept {
    return problem_ ? problem_ : io::detail::code_of(*this);
}

void stream_op::throw_failure() const {
    throw_error(failure(), verb_, stream_.kind, stream_.shown);
}

bool stream_read::begin() noexcept {
    const auto there = stream_.buffer.bytes();
    const std::size_t n = std::min(there.size(), into_.size());
    if (n == 0 && !into_.empty()) {
        ask(into_.data(), into_.size());
        return false;
    }
    if (n != 0) std::memcpy(into_.data(), there.data(), n);
    stream_.buffer.drop(n);
    result_ = static_cast<int>(n);
    return true;
}

bool stream_fill::again(int result) noexcept {
    if (result < 0) return false;
    stream_.buffer.added(static_cast<std::size_t>(result));
    return !step(result == 0);
}

bool stream_fill::step(bool at_end) noexcept {
    try {
        if (satisfied(at_end)) return true;
        const auto room = stream_.buffer.room(missing());
        if (room.empty()) throw std::bad_alloc();
        ask(room.data(), room.size());
        return false;
    } catch (const std::bad_alloc&) {
        problem_ = std::make_error_code(std::errc::not_enough_memory);
        return true;
    }
}

bool stream_exactly::satisfied(bool at_end) {
    const auto there = stream_.buffer.bytes();
    if (there.size() >= into_.size()) {
        if (!into_.empty()) std::memcpy(into_.data(), there.data(), into_.size());
        stream_.buffer.drop(into_.size());
        return true;
    }
    if (at_end) problem_ = errc::truncated;
    return at_end;
}

bool stream_until::satisfied(bool at_end) {
    const std::string_view there = stream_.buffer.text();
    const std::string_view end =
        wanted_.delimiter.empty() ? std::string_view(&wanted_.one, 1) : wanted_.delimiter;
    std::size_t length = there.find(end, searched_);
    const bool found = length != there.npos;
    if (!found) {
        searched_ = there.size() - std::min(there.size(), end.size() - 1);
        const bool hopeless = searched_ > wanted_.max;
        if (!at_end && !hopeless) return false;
        if (at_end && there.empty()) return true;
        length = there.size();
    }
    if (length > wanted_.max) {
        problem_ = errc::message_too_long;
    } else {
        got_.emplace(there.substr(0, length));
        stream_.buffer.drop(length + (found ? end.size() : 0));
    }
    return true;
}

bool stream_all::satisfied(bool at_end) {
    const std::string_view there = stream_.buffer.text();
    if (there.size() > max_) {
        problem_ = errc::message_too_long;
        return true;
    }
    if (!at_end) return false;
    got_ = there;
    stream_.buffer.drop(there.size());
    return true;
}

bool stream_write_all::begin() noexcept {
    ask(left_.data(), left_.size());
    return left_.empty();
}

bool stream_write_all::again(int result) noexcept {
    if (result < 0) return false;
    const auto n = static_cast<std::size_t>(result);
    left_ = left_.subspan(n);
    if (written_ != nullptr) *written_ += n;
    ask(left_.data(), left_.size());
    // A device that takes nothing and reports no error would be asked for ever.
    if (n == 0 && !left_.empty()) problem_ = std::make_error_code(std::errc::io_error);
    return n != 0 && !left_.empty();
}

}  // namespace runnel::detail

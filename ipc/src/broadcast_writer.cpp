// SPDX-License-Identifier: MIT
#include <runnel/ipc/detail/broadcast_core.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <runnel/error.hpp>
#include <runnel/ipc/codec.hpp>

namespace runnel::ipc::detail {
namespace {

constexpr const char* name = "broadcast";

unique_fd make_epoll() {
    unique_fd made(::epoll_create1(EPOLL_CLOEXEC));
    if (!made) throw_errno(errno, "epoll_create1", "ipc broadcast");
    return made;
}

bool hung_up(int socket) noexcept {
    ::pollfd one{socket, 0, 0};
    return ::poll(&one, 1, 0) > 0 && (one.revents & POLLHUP) != 0;
}

}  // namespace

broadcast_writer_core::broadcast_writer_core(channel_memory memory, bool overwrites,
                                             unique_fd notices, std::vector<listener> listeners)
    : channel_writer_core(name, std::move(memory),
                          {memory.mine.words(), memory.others.words(), false}, make_epoll()),
      slots_(reinterpret_cast<reader_slot*>(others.ring())),
      slot_count_(static_cast<std::uint32_t>(others.type().limit / sizeof(reader_slot))),
      overwrites_(overwrites),
      notices_(std::move(notices)),
      listeners_(std::move(listeners)) {
    next_number_ = more().next_number.load();
    const std::uint64_t low = more().low.load();
    if (low > tail_ || tail_ - low > limit_ || (low | tail_) % step_ != 0)
        throw_error(errc::protocol, "attach", "ipc broadcast: its positions are wrong");
    floor_ = low;
    listeners_.reserve(4 * most_readers);
    if (!watch_socket(notices_.get(), 0)) throw_errno(errno, "epoll_ctl", "ipc broadcast");
    for (const listener& each : listeners_)
        if (!watch_socket(each.socket.get(), each.token))
            throw_errno(errno, "epoll_ctl", "ipc broadcast");
}

// --- who reads ---

bool broadcast_writer_core::watch_socket(int socket, std::uint64_t token) noexcept {
    ::epoll_event wanted{};
    wanted.events = EPOLLIN;
    wanted.data.u64 = token;
    return ::epoll_ctl(control(), EPOLL_CTL_ADD, socket, &wanted) == 0;
}

broadcast_writer_core::listener* broadcast_writer_core::listener_of(std::uint32_t in,
                                                                    std::uint64_t token) noexcept {
    for (listener& each : listeners_)
        if (each.token == token && each.slot == in) return &each;
    return nullptr;
}

broadcast_writer_core::listener* broadcast_writer_core::reader_in(std::uint32_t i) noexcept {
    const std::uint64_t token = slot(i).token.load(std::memory_order_acquire);
    if (token == more().freed[i].load(std::memory_order_relaxed)) return nullptr;
    if (listener* known = listener_of(i, token)) return known;
    take_notices();  // whoever takes a slot has sent one before
    return listener_of(i, token);
}

void broadcast_writer_core::take_notices() noexcept {
    // More than fit into the socket: readers that do not keep to the rules may send without end.
    for (int tries = 0; tries < 4096; ++tries) {
        reader_notice notice{};
        ::iovec part{&notice, sizeof notice};
        alignas(::cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control_data{};
        ::msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control_data.data();
        message.msg_controllen = CMSG_LEN(sizeof(int));  // room for one, and no more
        const ::ssize_t n = ::recvmsg(notices_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return;
        unique_fd socket;
        if (const ::cmsghdr* first = CMSG_FIRSTHDR(&message);
            first != nullptr && first->cmsg_level == SOL_SOCKET && first->cmsg_type == SCM_RIGHTS) {
            int number = -1;
            std::memcpy(&number, CMSG_DATA(first), sizeof number);
            socket.reset(number);
        }
        if (n == 0 && hung_up(notices_.get())) {  // every reader holds the other end
            gone_ = true;
            over();
            return;
        }
        const bool fine = n == sizeof notice && socket && notice.token != 0 &&
                          notice.slot < slot_count_ && listeners_.size() < 4 * most_readers;
        if (!fine || !watch_socket(socket.get(), notice.token)) continue;
        listeners_.push_back(
            {notice.token, static_cast<std::uint32_t>(notice.slot), std::move(socket)});
    }
}

void broadcast_writer_core::hear(listener& from, bool gone) noexcept {
    if (drain(from.socket.get()) && !gone) return;
    if (slot(from.slot).token.load(std::memory_order_acquire) == from.token)
        more().freed[from.slot].store(from.token, std::memory_order_release);
    from.token = 0;
}

void broadcast_writer_core::listen(int) noexcept {
    std::array<::epoll_event, 16> events;
    // Again, since sockets that have just come may have hung up already; not for ever, since who
    // does not keep to the rules may send without end.
    for (int tries = 0; tries < 64; ++tries) {
        const int n = ::epoll_wait(control(), events.data(), static_cast<int>(events.size()), 0);
        if (n <= 0) break;
        for (int i = 0; i < n; ++i) {
            const ::epoll_event& each = events[static_cast<std::size_t>(i)];
            if (each.data.u64 == 0) {
                take_notices();
                if (gone_) ::epoll_ctl(control(), EPOLL_CTL_DEL, notices_.get(), nullptr);
                continue;
            }
            for (listener& one : listeners_)
                if (one.token == each.data.u64)
                    hear(one, (each.events & (EPOLLHUP | EPOLLERR)) != 0);
        }
        std::erase_if(listeners_, [](const listener& one) { return one.token == 0; });
    }
    if (gone_)
        peer_gone();
    else
        serve_all();
}

bool broadcast_writer_core::ask_gone() noexcept {
    if (!gone_ && !closed()) listen(0);
    return gone_;
}

std::size_t broadcast_writer_core::readers() noexcept {
    if (closed()) return 0;
    listen(0);
    std::size_t found = 0;
    for (std::uint32_t i = 0; i < slot_count_; ++i)
        if (reader_in(i) != nullptr) ++found;
    return found;
}

void broadcast_writer_core::let_go() noexcept {
    channel_writer_core::let_go();
    notices_.reset();
    listeners_.clear();
}

// --- room ---

bool broadcast_writer_core::find_room(std::uint64_t span) noexcept {
    if (stopped_) return false;
    flush();
    if (!valid()) {
        stopped_ = true;  // this side has another handle now
        return false;
    }
    // Before what they say is looked at.
    seen_ = peer_position();
    const std::uint32_t claims = peer().claims.load(std::memory_order_acquire);
    // Who has left says so; for the dead, and for the moment between leaving and the hang-up, there
    // is a look now and then, which somebody who waits takes anyway.
    if (std::exchange(claims_, claims) != claims || ++looks_ % 64 == 0) listen(0);
    if (overwrites_) return overwrite(span);
    const bool found = find_slowest(span);
    if (found && slowest_ == slot_count_) listen(0);
    return found && !stopped_;
}

bool broadcast_writer_core::find_slowest(std::uint64_t span) noexcept {
    std::uint32_t claims = 0;
    std::uint64_t least = 0;
    // A reader that is shared may go on as soon as its twin has its slot: if slots were taken while
    // they were looked at, they are looked at again.
    for (int tries = 0; tries < 100; ++tries) {
        claims = peer().claims.load(std::memory_order_seq_cst);
        least = tail_;
        slowest_ = slot_count_;
        for (std::uint32_t i = 0; i < slot_count_; ++i) {
            if (reader_in(i) == nullptr) continue;
            const std::uint64_t at = slot(i).words.position.load(std::memory_order_acquire);
            // One that does not say yet where it begins, or does not keep to the rules.
            if (at < floor_ || at > tail_ || (at & (step_ - 1)) != 0) continue;
            if (at > least || (at == least && slowest_ != slot_count_)) continue;
            least = at;
            slowest_ = i;
        }
        if (peer().claims.load(std::memory_order_seq_cst) == claims) {
            slowest_at_ = least;
            floor_ = least;
            return !stopped_ && fits(span);
        }
    }
    return false;
}

bool broadcast_writer_core::overwrite(std::uint64_t span) noexcept {
    // Somewhat more than is needed, so that it is not needed each time.
    const std::uint64_t wanted = span + std::min(limit_ - span, limit_ / 8);
    std::uint64_t low = floor_;
    while (!stopped_ && low != tail_ && reserved_ + wanted - low > limit_) {
        const std::uint64_t past = header_at(place(low)).load(std::memory_order_relaxed) >> 32;
        // Somebody else has written there, such as one who had this handle before.
        if (past == 0 || past > tail_ - low || (past & (step_ - 1)) != 0) fail();
        low += past;
    }
    if (stopped_) return false;
    floor_ = low;
    more().low.store(low, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // before anything is written there
    return fits(span);
}

bool broadcast_writer_core::look() noexcept {
    if (!crowded() || overwrites_) return false;
    if (slowest_ == slot_count_) return channel_writer_core::look();
    return slot(slowest_).words.position.load(std::memory_order_acquire) != slowest_at_ &&
           serve_all();
}

// --- waking ---

void broadcast_writer_core::wake(std::uint64_t asleep) noexcept {
    bool by_futex = false;
    bool again = false;
    const auto position = static_cast<std::uint32_t>(shown_);
    for (std::uint32_t i = 0; i < slot_count_; ++i) {
        const std::uint64_t how = slot(i).words.asleep.load(std::memory_order_seq_cst);
        if (how == 0) continue;
        listener* const reader = reader_in(i);
        if (reader == nullptr || reader->told == how) continue;
        // One who has seen this position, and may be about to sleep over it.
        if (static_cast<std::uint32_t>(how) == position) {
            again = true;
            continue;
        }
        reader->told = how;
        if ((how & by_socket) != 0)
            wake_by_socket(reader->socket.get());
        else
            by_futex = true;
    }
    if (by_futex) wake_all(own().position);
    if (!again) told_ = asleep;
}

// --- travelling ---

void broadcast_writer_core::write(encoder& out, std::uint64_t signature) {
    check_unused();
    if (!closed()) {
        take_notices();
        more().next_number.store(next_number_);
        more().low.store(floor_);
    }
    out.write(signature);
    out.write(overwrites_);
    out.write_handle(closed() ? -1 : mine.fd());
    out.write_handle(closed() ? -1 : others.fd());
    out.write_handle(notices_.get());
    out.write_size(listeners_.size());
    for (const listener& each : listeners_) {
        out.write(each.token);
        out.write(each.slot);
        out.write_handle(each.socket.get());
    }
}

void broadcast_writer_core::write_nothing(encoder& out, std::uint64_t signature) {
    out.write(signature);
    out.write(false);
    for (int i = 0; i < 3; ++i) out.write_handle(-1);
    out.write_size(0);
}

}  // namespace runnel::ipc::detail

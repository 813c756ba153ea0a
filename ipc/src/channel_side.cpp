// SPDX-License-Identifier: MIT
#include <runnel/ipc/detail/channel_side.hpp>

#include <array>
#include <bit>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <utility>

#include <linux/futex.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <runnel/error.hpp>
#include <runnel/fork.hpp>
#include <runnel/io.hpp>
#include <runnel/loop.hpp>

namespace runnel::ipc::detail {
namespace {

std::string object(const char* name) { return std::string("ipc ") + name; }

/// The half of a position that a futex can be.
const std::uint32_t& low_half(const std::atomic<std::uint64_t>& position) noexcept {
    constexpr bool first = std::endian::native == std::endian::little;
    return reinterpret_cast<const std::uint32_t*>(&position)[first ? 0 : 1];
}

}  // namespace

channel_side::channel_side(const char* name, side_words& own, const side_words& peer,
                           unique_fd control, bool told_positions)
    : name_(name),
      own_words_(&own),
      peer_words_(&peer),
      control_(std::move(control)),
      blind_(told_positions ? 0 : 0xffffffff) {
    claim_ = own_words_->claims.fetch_add(1) + 1;
    own_words_->asleep.store(0);
}

void channel_side::wait(side_waiter& one, waiter who) {
    if (in_virtual_time())
        throw std::logic_error("wait on " + object(name_) +
                               ": refused on a loop with virtual time");
    loop& home = who.home();
    if (home_ == nullptr) {
        watch::begin(home);
        home_ = &home;
        without_futex_ = !io::has_futex_wait();
    } else if (home_ != &home) {
        throw_error(errc::wrong_thread, "wait", object(name_));
    }
    one.who_ = who;
    if (waiting_.empty()) pace_.wait(handled_);
    waiting_.push_back(one);
    // Not only before it sleeps: a loop that never does has to learn of the end, too.
    listens();
}

bool channel_side::serve_all() noexcept {
    if (serving_) return false;  // what is being served finds that there is more, or nothing
    serving_ = true;
    bool any = false;
    while (!waiting_.empty() && waiting_.front().serve()) {
        waiting_.pop_front().who_.resume();
        any = true;
    }
    serving_ = false;
    return any;
}

// --- waking ---

void channel_side::wake(std::uint64_t asleep) noexcept {
    told_ = asleep;
    if ((asleep & by_socket) != 0)
        wake_by_socket(control_.get());
    else
        wake_all(own().position);
}

void channel_side::wake_by_socket(int socket) noexcept {
    const char byte = 'w';
    [[maybe_unused]] const auto n = ::send(socket, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void channel_side::wake_all(const std::atomic<std::uint64_t>& word) noexcept {
    ::syscall(SYS_futex, &low_half(word), FUTEX_WAKE, 0x7fffffff, nullptr, nullptr, 0);
}

bool channel_side::drain(int socket) noexcept {
    std::array<char, 64> bytes;
    // Not for ever: who does not keep to the rules may send without end.
    for (int tries = 0; tries < 16; ++tries) {
        const ::ssize_t n = ::recv(socket, bytes.data(), bytes.size(), MSG_DONTWAIT);
        if (n == 0) return false;
        if (n < 0) return errno == EAGAIN || errno == EINTR;
    }
    return true;
}

bool channel_side::look() noexcept {
    if (untold_) tell();
    return !waiting_.empty() && peer_position() != seen_ && serve_all();
}

bool channel_side::arm() noexcept {
    if (untold_) tell();
    if (waiting_.empty()) return true;
    // A number that the other side has not answered yet.
    const std::uint32_t sleep = (own().sleeps.load(std::memory_order_relaxed) + 1) & 0x3fffffff;
    own().sleeps.store(sleep, std::memory_order_relaxed);
    const std::uint64_t how =
        (std::uint64_t{sleep | 0x40000000} << 33) | (without_futex_ ? by_socket : 0);
    asleep_ = true;
    for (;;) {
        const auto seen = static_cast<std::uint32_t>(seen_);
        own().asleep.store(how | seen | blind_, std::memory_order_seq_cst);
        announced();
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (serve_all()) return false;
        if (seen == static_cast<std::uint32_t>(seen_)) break;
    }
    // A wait that is armed already ends with the next wake, whatever value it was armed for.
    if (!without_futex_ && !wake_op_.active() &&
        !wake_op_.begin(
            *home_, io::futex_wait(low_half(peer().position), static_cast<std::uint32_t>(seen_))))
        return false;
    return listens();
}

bool channel_side::listens() noexcept {
    if (gone_ || control_op_.active()) return true;
    const short for_what = without_futex_ || blind_ != 0 ? POLLIN : short{0};
    if (control_op_.begin(*home_, io::poll(control_.get(), for_what))) return true;
    heard(control_op_.result());
    return false;
}

void channel_side::disarm() noexcept {
    if (!std::exchange(asleep_, false)) return;
    own().asleep.store(0, std::memory_order_relaxed);
}

void channel_side::woken() noexcept {
    if (users_ == 0)
        delete_if_unused();
    else
        serve_all();
}

void channel_side::heard(int events) noexcept {
    if (users_ == 0) return delete_if_unused();
    if (events >= 0 && !closed_) listen(events);
}

void channel_side::listen(int events) noexcept {
    bool ended = (events & (POLLHUP | POLLERR)) != 0;
    if (without_futex_) ended |= !drain(control_.get());
    if (ended)
        peer_gone();
    else
        serve_all();
}

void channel_side::peer_gone() noexcept {
    gone_ = true;
    over();
    serve_all();
}

bool channel_side::ask_gone() noexcept {
    if (gone_ || closed_) return gone_;
    ::pollfd one{control_.get(), 0, 0};
    if (::poll(&one, 1, 0) > 0 && (one.revents & (POLLHUP | POLLERR)) != 0) peer_gone();
    return gone_;
}

// --- the end ---

void channel_side::close() noexcept {
    if (closed_) return;
    closed_ = stopped_ = true;
    if (untold_) tell();
    serve_all();
    wake_op_.cancel();
    control_op_.cancel();
    let_go();
}

void channel_side::throw_stopped(const char* operation) {
    close();
    if (failed_)
        throw_error(errc::protocol, operation,
                    object(name_) + ": the other side does not keep to the rules");
    throw_error(errc::closed, operation, object(name_));
}

void channel_side::retire() noexcept {
    if (untold_) tell();
    watch::end();
    home_ = nullptr;
    wake_op_.cancel();
    control_op_.cancel();
}

void channel_side::unused() noexcept {
    if (home_ != nullptr && loop::current() != home_) {
        ++users_;
        home_->post([this] { release(); });
        return;
    }
    retire();
    delete_if_unused();
}

void channel_side::delete_if_unused() noexcept {
    if (users_ == 0 && !wake_op_.active() && !control_op_.active()) delete this;
}

}  // namespace runnel::ipc::detail

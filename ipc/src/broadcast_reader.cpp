// SPDX-License-Identifier: MIT
#include <runnel/ipc/detail/broadcast_core.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <runnel/error.hpp>
#include <runnel/ipc/codec.hpp>

namespace runnel::ipc::detail {
namespace {

constexpr const char* name = "broadcast";
constexpr const char* object = broadcast_reader_core::object;
constexpr std::uint32_t of_waiting_writer = 0x62637777;
constexpr std::uint32_t of_overwriting_writer = 0x6263776f;
constexpr std::uint32_t of_readers = 0x62637264;

constexpr std::uint32_t least_step = 16;  // records have numbers

segment_type records_type(bool overwrites, const record_kind& kind) {
    segment_type what{.name = name,
                      .kind = overwrites ? of_overwriting_writer : of_waiting_writer,
                      .type = kind.type};
    what.length = kind.length;
    what.step = kind.step != 0 ? std::max(kind.step, least_step) : 0;
    return what;
}
segment_type readers_type(const record_kind& kind) {
    segment_type what{.name = name, .kind = of_readers, .type = kind.type};
    what.length = kind.length;
    return what;
}

std::pair<unique_fd, unique_fd> make_sockets(int type) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()) != 0)
        throw_errno(errno, "socketpair", object);
    return {unique_fd(ends[0]), unique_fd(ends[1])};
}

std::uint64_t make_token() {
    std::uint64_t token = 0;
    while (token == 0)
        if (::getrandom(&token, sizeof token, 0) != sizeof token)
            throw_errno(errno, "getrandom", object);
    return token;
}

bool notify(int notices, const reader_notice& notice, int socket) {
    ::iovec part{const_cast<reader_notice*>(&notice), sizeof notice};
    alignas(::cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof socket)> control{};
    ::msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ::cmsghdr* first = CMSG_FIRSTHDR(&message);
    first->cmsg_level = SOL_SOCKET;
    first->cmsg_type = SCM_RIGHTS;
    first->cmsg_len = CMSG_LEN(sizeof socket);
    std::memcpy(CMSG_DATA(first), &socket, sizeof socket);
    ::ssize_t n = 0;
    do {
        n = ::sendmsg(notices, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n >= 0;
}

}  // namespace

broadcast_reader_core::broadcast_reader_core(channel_memory memory, reader_place where)
    : channel_reader_core(name, std::move(memory),
                          {reinterpret_cast<reader_slot*>(memory.mine.ring())[where.slot].words,
                           memory.others.words()},
                          std::move(where.alive)),
      slot_(where.slot),
      token_(where.token),
      overwrites_(where.overwrites),
      notices_(std::move(where.notices)),
      expected_(slot(slot_).expected.load()) {
    if (slot(slot_).token.load() != token_)
        throw_error(errc::protocol, "attach", "ipc broadcast: the slot is somebody else's");
    const std::uint64_t tail = peer_position();
    if (tail < next_ || (!overwrites_ && tail - next_ > limit_) || (next_ | tail) % step_ != 0)
        throw_error(errc::protocol, "attach", "ipc broadcast: its positions are wrong");
    tell();  // a writer that waits may have seen what the slot held before
}

// --- copies, where the writer does not wait ---

/// Before the bytes of a record that was copied out.
struct broadcast_reader_core::copy {
    copy* next;
};

namespace {
std::size_t copy_offset(std::uint32_t step) { return std::max<std::size_t>(step, sizeof(void*)); }
}  // namespace

broadcast_reader_core::~broadcast_reader_core() {
    while (copies_ != nullptr) {
        copy* const one = std::exchange(copies_, copies_->next);
        ::operator delete(one, std::align_val_t{copy_offset(step_)});
    }
}

void broadcast_reader_core::give_back_copy(const channel_record& record) noexcept {
    copies_ = ::new (record.at - copy_offset(step_)) copy{copies_};
    if (crowded()) serve_all();
}

bool broadcast_reader_core::find_more_or_less() noexcept {
    if (stopped_) return false;
    const std::uint64_t tail = peer_position();
    if (!valid())
        stopped_ = true;  // this reader has another handle now
    else if (tail < seen_ || (tail & (step_ - 1)) != 0)
        fail();
    else
        seen_ = tail;
    return !stopped_ && next_ != seen_;
}

bool broadcast_reader_core::take_copy(channel_record& out) noexcept {
    if (copies_ == nullptr) {
        const std::size_t room = copy_offset(step_) + (length_ != 0 ? length_ : largest_);
        void* at = ::operator new(room, std::align_val_t{copy_offset(step_)}, std::nothrow);
        if (at == nullptr) return false;  // not before another is given back
        copies_ = ::new (at) copy{nullptr};
    }
    std::byte* const to = reinterpret_cast<std::byte*>(copies_) + copy_offset(step_);
    for (int lapped = 0;;) {
        if (next_ == seen_ && !find_more_or_less()) {
            out.at = nullptr;
            return stopped_ || gone_;
        }
        std::byte* const at = place(next_);
        const std::uint64_t word = header_at(at).load(std::memory_order_relaxed);
        const std::uint64_t number = number_at(at).load(std::memory_order_relaxed);
        out.position = next_;
        out.length = static_cast<std::uint32_t>(word);
        out.span = static_cast<std::uint32_t>(word >> 32);
        const bool record = is_record(out);
        if (record) std::memcpy(to, at + step_, out.length);
        std::atomic_thread_fence(std::memory_order_acquire);
        const std::uint64_t low = more().low.load(std::memory_order_relaxed);
        if (low > next_) {
            // It has been overwritten, perhaps meanwhile: on with the oldest that is there.
            static_cast<void>(find_more_or_less());
            if (!stopped_ && (low > seen_ || (low & (step_ - 1)) != 0)) fail();
            if (stopped_)
                seen_ = next_;
            else
                // One who is lapped again and again goes on with what comes next; but no writer that
                // writes what it says is that much faster.
                next_ = ++lapped < 16 ? low : seen_;
            if (lapped == 10'000) {
                fail();
                seen_ = next_;
            }
            continue;
        }
        if (!record && (out.length != skipped || !is_span(out.span))) {
            fail();
            seen_ = next_;
            continue;
        }
        next_ += out.span;
        released_ = next_;
        if (!record) continue;
        out.missed = number > expected_ ? number - expected_ : 0;
        expected_ = number + 1;
        copies_ = copies_->next;
        out.at = to;
        return true;
    }
}

// --- waking the writer ---

void broadcast_reader_core::wake(std::uint64_t asleep) noexcept {
    told_ = asleep;
    all_readers().position.fetch_add(1, std::memory_order_seq_cst);
    if ((asleep & by_socket) != 0)
        wake_by_socket(control());
    else
        wake_all(all_readers().position);
}

void broadcast_reader_core::announced() noexcept {
    all_readers().asleep.fetch_add(std::uint64_t{1} << 32, std::memory_order_seq_cst);
}

void broadcast_reader_core::let_go() noexcept {
    all_readers().claims.fetch_add(1);  // so that the writer looks
    channel_reader_core::let_go();
    notices_.reset();
}

// --- another reader ---

broadcast_reader_core* broadcast_reader_core::share() {
    if (closed()) throw_error(errc::closed, "share", object);
    if (!valid()) throw_error(errc::closed, "share", "ipc broadcast: it was handed on");
    const auto slots = static_cast<std::uint32_t>(mine.type().limit / sizeof(reader_slot));
    auto [alive, its_writers] = make_sockets(SOCK_STREAM);
    const record_kind kind{mine.type().type, length_, step_};
    const segment_type back = readers_type(kind);
    const segment_type data = records_type(overwrites_, kind);
    channel_memory memory{ring_segment(mine.duplicate(), back, true, ring_segment::access::write),
                          ring_segment(others.duplicate(), data, true, ring_segment::access::read)};
    reader_place where;
    where.token = make_token();
    where.overwrites = overwrites_;
    where.notices = notices_.duplicate();
    for (where.slot = 0; where.slot < slots; ++where.slot) {
        reader_slot& one = slot(where.slot);
        std::uint64_t free = more().freed[where.slot].load(std::memory_order_acquire);
        if (one.token.load() != free) continue;
        // The writer is told first: whoever dies after that is missed.
        if (!notify(notices_.get(), {where.token, where.slot}, its_writers.get()))
            throw_errno(errno == ECONNRESET ? EPIPE : errno, "share", object);
        if (!one.token.compare_exchange_strong(free, where.token)) continue;
        one.words.asleep.store(0);
        one.expected.store(expected_);
        one.words.position.store(next_, std::memory_order_seq_cst);
        all_readers().claims.fetch_add(1, std::memory_order_seq_cst);
        where.alive = std::move(alive);
        return new broadcast_reader_core(std::move(memory), std::move(where));
    }
    // Those of dead readers are found out when the writer looks again.
    all_readers().claims.fetch_add(1);
    throw_errno(EAGAIN, "share", "ipc broadcast: it has as many readers as it may have");
}

void broadcast_reader_core::write(encoder& out, std::uint64_t signature) {
    check_unused();
    if (!closed()) {
        own().position.store(next_);
        slot(slot_).expected.store(expected_);
    }
    write_memory(out, signature);
    out.write(overwrites_);
    out.write(slot_);
    out.write(token_);
    out.write_handle(notices_.get());
}

void broadcast_reader_core::write_nothing(encoder& out, std::uint64_t signature) {
    channel_core::write_nothing(out, signature);
    out.write(false);
    out.write(std::uint32_t{0});
    out.write(std::uint64_t{0});
    out.write_handle(-1);
}

// --- making and attaching ---

broadcast_cores make_broadcast(channel_shape shape, std::size_t readers, bool overwrites) {
    if (readers == 0 || readers > most_readers)
        throw std::invalid_argument("make ipc broadcast: readers must be between 1 and 64");
    shape.step = std::max(shape.step, least_step);
    const record_kind kind{shape.type, shape.length};
    segment_type data = ring_type(records_type(overwrites, kind), shape);
    segment_type back = readers_type(kind);
    back.limit = readers * sizeof(reader_slot);
    back.ring = std::bit_ceil(std::max<std::uint64_t>(back.limit, ring_segment::page_size));
    back.step = 128;

    auto [from_readers, to_writer] = make_sockets(SOCK_SEQPACKET);
    auto [alive, its_writers] = make_sockets(SOCK_STREAM);
    ring_segment writers(data, shape.untrusted);
    ring_segment of_all(back, false);
    using enum ring_segment::access;
    ring_segment seen_by_reader(writers.read_only(), data, true, read);
    ring_segment seen_by_writer(of_all.read_only(), back, true, read);
    of_all.words().asleep.store(1);  // never what a position ends with

    reader_place where;
    where.token = make_token();
    where.overwrites = overwrites;
    where.alive = std::move(alive);
    where.notices = std::move(to_writer);
    reinterpret_cast<reader_slot*>(of_all.ring())->token.store(where.token);
    std::vector<broadcast_writer_core::listener> listeners;
    listeners.push_back({where.token, 0, std::move(its_writers)});
    auto* writer =
        new broadcast_writer_core({std::move(writers), std::move(seen_by_writer)}, overwrites,
                                  std::move(from_readers), std::move(listeners));
    try {
        return {writer, new broadcast_reader_core({std::move(of_all), std::move(seen_by_reader)},
                                                  std::move(where))};
    } catch (...) {
        writer->release();
        throw;
    }
}

broadcast_writer_core* read_broadcast_writer(decoder& in, std::uint64_t signature,
                                             const record_kind& kind) {
    if (in.read<std::uint64_t>() != signature)
        in.fail("a broadcast's end is of another side or carries another type");
    const bool overwrites = in.read<bool>();
    unique_fd own = in.read_handle();
    unique_fd peer = in.read_handle();
    unique_fd notices = in.read_handle();
    std::vector<broadcast_writer_core::listener> listeners(in.read_size(3));
    for (auto& each : listeners) {
        each.token = in.read<std::uint64_t>();
        each.slot = in.read<std::uint32_t>();
        each.socket = in.read_handle();
        if (each.token == 0 || !each.socket) in.fail("a reader without its socket");
    }
    if (!own && !peer && !notices) return nullptr;
    using enum ring_segment::access;
    ring_segment mine(std::move(own), records_type(overwrites, kind), true, write);
    ring_segment others(std::move(peer), readers_type(kind), true, read);
    const std::uint64_t slots = others.type().limit / sizeof(reader_slot);
    if (slots > most_readers || mine.type().step < least_step)
        in.fail("a broadcast of too many readers, or without numbers");
    for (const auto& each : listeners)
        if (each.slot >= slots) in.fail("a reader in no slot");
    return new broadcast_writer_core({std::move(mine), std::move(others)}, overwrites,
                                     std::move(notices), std::move(listeners));
}

broadcast_reader_core* read_broadcast_reader(decoder& in, std::uint64_t signature,
                                             const record_kind& kind) {
    if (in.read<std::uint64_t>() != signature)
        in.fail("a broadcast's end is of another side or carries another type");
    unique_fd own = in.read_handle();
    unique_fd peer = in.read_handle();
    reader_place where;
    where.alive = in.read_handle();
    where.overwrites = in.read<bool>();
    where.slot = in.read<std::uint32_t>();
    where.token = in.read<std::uint64_t>();
    where.notices = in.read_handle();
    if (!own && !peer && !where.alive) return nullptr;
    if (!where.alive || !where.notices) in.fail("a broadcast's reader without its sockets");
    using enum ring_segment::access;
    ring_segment mine(std::move(own), readers_type(kind), true, write);
    ring_segment others(std::move(peer), records_type(where.overwrites, kind), true, read);
    const std::uint64_t slots = mine.type().limit / sizeof(reader_slot);
    if (slots > most_readers || where.slot >= slots || others.type().step < least_step)
        in.fail("a broadcast's reader in no slot");
    return new broadcast_reader_core({std::move(mine), std::move(others)}, std::move(where));
}

}  // namespace runnel::ipc::detail

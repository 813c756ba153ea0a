// SPDX-License-Identifier: MIT
#include <runnel/ipc/detail/channel_core.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <runnel/error.hpp>
#include <runnel/ipc/codec.hpp>

namespace runnel::ipc::detail {
namespace {

constexpr const char* name = "channel";
constexpr std::uint32_t of_writer = 0x63687772;
constexpr std::uint32_t of_reader = 0x63687264;

segment_type type_of(std::uint32_t segment, const record_kind& kind) {
    segment_type what{.name = name, .kind = segment, .type = kind.type};
    what.length = kind.length;
    what.step = kind.step;
    return what;
}

std::uint64_t round_up(std::uint64_t n, std::uint64_t step) { return (n + step - 1) / step * step; }

}  // namespace

span_ledger::span_ledger(std::uint64_t ring, std::uint32_t step, const char* of)
    : mask_(ring - 1), step_(step) {
    void* at = ::mmap(nullptr, ring / step * sizeof(std::uint32_t), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw_errno(errno, "mmap", std::string("ipc ") + of);
    spans_ = static_cast<std::uint32_t*>(at);
}

span_ledger::~span_ledger() { ::munmap(spans_, (mask_ + 1) / step_ * sizeof(std::uint32_t)); }

channel_core::channel_core(const char* of, channel_memory&& memory, const ring_segment& ring,
                           words where, unique_fd control)
    : channel_memory(std::move(memory)),
      channel_side(of, where.own, where.peer, std::move(control), where.told_positions),
      ring_(ring.ring()),
      mask_(ring.type().ring - 1),
      limit_(ring.type().limit),
      step_(ring.type().step),
      length_(ring.type().length),
      largest_(static_cast<std::uint32_t>(limit_ - step_)),
      done_(ring.type().ring, step_, of) {}

void channel_core::write_memory(encoder& out, std::uint64_t signature) const {
    out.write(signature);
    out.write_handle(closed() ? -1 : mine.fd());
    out.write_handle(closed() ? -1 : others.fd());
    out.write_handle(control());
}

void channel_core::write_nothing(encoder& out, std::uint64_t signature) {
    out.write(signature);
    for (int i = 0; i < 3; ++i) out.write_handle(-1);
}

// --- the writer ---

channel_writer_core::channel_writer_core(const char* of, channel_memory&& memory, words where,
                                         unique_fd control)
    : channel_core(of, std::move(memory), mine, where, std::move(control)),
      reserved_(own().position.load()),
      tail_(reserved_),
      shown_(reserved_),
      floor_(reserved_) {}

channel_writer_core::channel_writer_core(channel_memory memory, unique_fd control)
    : channel_writer_core(name, std::move(memory), {memory.mine.words(), memory.others.words()},
                          std::move(control)) {
    floor_ = seen_ = peer_position();
    if (floor_ > tail_ || tail_ - floor_ > limit_ || (floor_ | tail_) % step_ != 0)
        throw_error(errc::protocol, "attach", "ipc channel: its positions are wrong");
}

bool channel_writer_core::find_room(std::uint64_t span) noexcept {
    if (stopped_) return false;
    flush();
    const std::uint64_t head = peer_position();
    if (!valid())
        stopped_ = true;  // this side has another handle now
    else if (head < seen_ || head > tail_ || (head & (step_ - 1)) != 0)
        fail();
    else
        floor_ = seen_ = head;
    return !stopped_ && fits(span);
}

bool channel_writer_core::done_behind() noexcept {
    while (const std::uint32_t span = done_.take(tail_)) {
        std::byte* const at = place(tail_);
        number(at, static_cast<std::uint32_t>(header_at(at).load(std::memory_order_relaxed)));
        tail_ += span;
    }
    const bool any = hurry_;
    if (done_.empty()) hurry_ = false;
    return any;
}

void channel_writer_core::shrink(channel_record& record, std::uint32_t length) {
    if (length > record.length)
        throw std::invalid_argument(std::string("publish on ipc ") + name_ +
                                    ": longer than the loan");
    record.length = length;
    const auto span = static_cast<std::uint32_t>(span_of(length));
    if (record.position + record.span != reserved_) return;
    reserved_ = record.position + span;
    record.span = span;
}

void channel_writer_core::give_back(const channel_record& record) noexcept {
    if (closed()) return;
    if (record.position + record.span == reserved_) {
        reserved_ = record.position;
    } else {
        done(record, skipped, true);
    }
    serve_all();
}

void channel_writer_core::refuse(const char* operation) {
    if (gone_ && !closed())
        throw_error(std::make_error_code(std::errc::broken_pipe), operation,
                    std::string("ipc ") + name_ + ": nobody reads it");
    throw_stopped(operation);
}

void channel_writer_core::check_unused() {
    if (closed()) return;
    flush();
    if (crowded() || reserved_ != tail_)
        throw std::invalid_argument(std::string("send on ipc ") + name_ + ": its writer is in use");
    if (mine.has_one_writer())
        throw std::invalid_argument(std::string("send on ipc ") + name_ +
                                    ": its reader is not trusted");
}

void channel_writer_core::write(encoder& out, std::uint64_t signature) {
    check_unused();
    write_memory(out, signature);
}

// --- the reader ---

channel_reader_core::channel_reader_core(const char* of, channel_memory&& memory, words where,
                                         unique_fd control)
    : channel_core(of, std::move(memory), others, where, std::move(control)),
      next_(own().position.load()),
      released_(next_),
      noticed_(next_) {
    seen_ = next_;
}

channel_reader_core::channel_reader_core(channel_memory memory, unique_fd control)
    : channel_reader_core(name, std::move(memory), {memory.mine.words(), memory.others.words()},
                          std::move(control)) {
    const std::uint64_t tail = peer_position();
    if (tail < next_ || tail - next_ > limit_ || (next_ | tail) % step_ != 0)
        throw_error(errc::protocol, "attach", "ipc channel: its positions are wrong");
}

bool channel_reader_core::find_more() noexcept {
    if (stopped_) return false;
    if (untold_) tell();
    const std::uint64_t tail = peer_position();
    if (!valid())
        stopped_ = true;  // this side has another handle now
    else if (tail < seen_ || tail - released_ > limit_ || (tail & (step_ - 1)) != 0)
        fail();
    else
        seen_ = tail;
    return !stopped_ && next_ != seen_;
}

void channel_reader_core::check_unused() const {
    if (!closed() && (crowded() || next_ != released_))
        throw std::invalid_argument(std::string("send on ipc ") + name_ + ": its reader is in use");
}

void channel_reader_core::write(encoder& out, std::uint64_t signature) {
    check_unused();
    write_memory(out, signature);
}

// --- making and attaching ---

segment_type ring_type(segment_type what, const channel_shape& shape) {
    if (!std::has_single_bit(shape.step) || shape.step > ring_segment::page_size)
        throw std::invalid_argument(std::string("make ipc ") + what.name +
                                    ": alignment must be a power of two, at most 4096");
    what.step = std::max(shape.step, 8U);
    constexpr std::uint64_t most = std::uint64_t{1} << 31;
    const std::uint64_t each = round_up(std::uint64_t{shape.length} + what.step, what.step);
    const bool fits = shape.length != 0 ? shape.records <= most / each : shape.bytes <= most;
    if (!fits)
        throw std::invalid_argument(std::string("make ipc ") + what.name +
                                    ": capacity beyond 2 GiB");
    what.limit = shape.length != 0 ? shape.records * each : shape.bytes;
    what.ring = std::bit_ceil(std::max<std::uint64_t>(what.limit, ring_segment::page_size));
    if (shape.length == 0) what.limit = what.ring;
    return what;
}

channel_cores make_channel(const channel_shape& shape) {
    const record_kind kind{shape.type, shape.length};
    const segment_type data = ring_type(type_of(of_writer, kind), shape);
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
        throw_errno(errno, "socketpair", channel_writer_core::object);
    unique_fd one(ends[0]);
    unique_fd other(ends[1]);
    ring_segment writers(data, shape.untrusted);
    ring_segment readers(type_of(of_reader, kind), false);
    using enum ring_segment::access;
    ring_segment seen_by_reader(writers.read_only(), type_of(of_writer, kind), true, read);
    ring_segment seen_by_writer(readers.read_only(), type_of(of_reader, kind), false, read);
    auto* writer =
        new channel_writer_core({std::move(writers), std::move(seen_by_writer)}, std::move(one));
    try {
        return {writer, new channel_reader_core({std::move(readers), std::move(seen_by_reader)},
                                                std::move(other))};
    } catch (...) {
        writer->release();
        throw;
    }
}

namespace {

template <class Core>
Core* read_core(decoder& in, std::uint64_t signature, const record_kind& kind) {
    constexpr bool writes = std::is_same_v<Core, channel_writer_core>;
    if (in.read<std::uint64_t>() != signature)
        in.fail("a channel's end is of another side or carries another type");
    unique_fd own = in.read_handle();
    unique_fd peer = in.read_handle();
    unique_fd control = in.read_handle();
    if (!own && !peer && !control) return nullptr;
    int domain = -1;
    ::socklen_t size = sizeof domain;
    if (!control || ::getsockopt(control.get(), SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 ||
        domain != AF_UNIX)
        in.fail("a channel's end without its socket");
    using enum ring_segment::access;
    const segment_type data = type_of(of_writer, kind);
    const segment_type back = type_of(of_reader, {kind.type, kind.length});
    ring_segment mine(std::move(own), writes ? data : back, writes, write);
    ring_segment others(std::move(peer), writes ? back : data, !writes, read);
    return new Core({std::move(mine), std::move(others)}, std::move(control));
}

}  // namespace

channel_writer_core* read_channel_writer(decoder& in, std::uint64_t signature,
                                         const record_kind& kind) {
    return read_core<channel_writer_core>(in, signature, kind);
}
channel_reader_core* read_channel_reader(decoder& in, std::uint64_t signature,
                                         const record_kind& kind) {
    return read_core<channel_reader_core>(in, signature, kind);
}

}  // namespace runnel::ipc::detail

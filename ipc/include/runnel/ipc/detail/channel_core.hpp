// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <runnel/ipc/coder.hpp>
#include <runnel/ipc/detail/channel_side.hpp>

// The two sides of an ipc::channel, for those who know nothing of its type. Records lie in a ring
// that the writer alone can write; positions count bytes and never go back. A record begins with a
// word, its length and its span, and `step` bytes further on is what it carries.

namespace runnel::ipc::detail {

/// A record in this process's mapping.
struct channel_record {
    std::byte* at = nullptr;  // what it carries; null: there is none
    std::uint64_t position = 0;
    std::uint32_t length = 0;
    std::uint32_t span = 0;    // from its beginning to the next
    std::uint64_t missed = 0;  // records before it that this reader did not get
};

/// Spans of records that are done out of their order, until those before them are done as well.
class span_ledger {
public:
    /// Room for every record of a ring; it takes memory when it is used. Throws std::system_error.
    span_ledger(std::uint64_t ring, std::uint32_t step, const char* name);
    ~span_ledger();
    span_ledger(const span_ledger&) = delete;
    span_ledger& operator=(const span_ledger&) = delete;

    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    void put(std::uint64_t position, std::uint32_t span) noexcept {
        at(position) = span;
        ++count_;
    }
    /// The span of what is done at `position`, which leaves the ledger; 0: nothing is.
    std::uint32_t take(std::uint64_t position) noexcept {
        const std::uint32_t span = std::exchange(at(position), 0);
        if (span != 0) --count_;
        return span;
    }

private:
    std::uint32_t& at(std::uint64_t position) noexcept {
        return spans_[(position & mask_) / step_];
    }
    std::uint32_t* spans_;
    const std::uint64_t mask_;
    const std::uint32_t step_;
    std::size_t count_ = 0;
};

/// The memory of a side: its own, and what the other side writes.
struct channel_memory {
    ring_segment mine;
    ring_segment others;
};

/// What both sides know of the ring.
class channel_core : protected channel_memory, public channel_side {
public:
    [[nodiscard]] std::uint32_t largest() const noexcept { return largest_; }

protected:
    /// The words of the two sides; each in its segment's first page if nothing else is said.
    struct words {
        side_words& own;
        const side_words& peer;
        bool told_positions = true;
    };
    channel_core(const char* name, channel_memory&& memory, const ring_segment& ring, words where,
                 unique_fd control);
    using header = std::atomic<std::uint64_t>;
    static constexpr std::uint32_t skipped = 0xffffffff;  // as a length: a loan that was dropped

    [[nodiscard]] std::byte* place(std::uint64_t position) const noexcept {
        return ring_ + (position & mask_);
    }
    [[nodiscard]] static header& header_at(std::byte* place) noexcept {
        return *reinterpret_cast<header*>(place);
    }
    /// The number of a record, where records begin at multiples of 16 or more.
    [[nodiscard]] static header& number_at(std::byte* place) noexcept {
        return *reinterpret_cast<header*>(place + sizeof(header));
    }
    void write_memory(encoder& out, std::uint64_t signature) const;

public:
    /// What stands for a handle on nothing.
    static void write_nothing(encoder& out, std::uint64_t signature);

protected:
    std::byte* const ring_;
    const std::uint64_t mask_;
    const std::uint64_t limit_;
    const std::uint32_t step_;
    const std::uint32_t length_;  // of every record; 0: each has its own
    const std::uint32_t largest_;
    span_ledger done_;
};

class channel_writer_core : public channel_core {
public:
    static constexpr const char* object = "ipc channel";
    channel_writer_core(channel_memory memory, unique_fd control);

    /// A place for a record. False: there is no room yet. A record that is null: there never is.
    bool reserve(std::uint32_t length, channel_record& out) noexcept {
        const std::uint64_t span = span_of(length);
        if (stopped_ || reserved_ + span - floor_ > limit_) [[unlikely]]
            if (!find_room(span)) return stopped_ ? (out.at = nullptr, true) : false;
        std::byte* at = place(reserved_);
        out.at = at + step_;
        out.position = reserved_;
        out.length = length;
        out.span = static_cast<std::uint32_t>(span);
        reserved_ += span;
        ++handled_;
        return true;
    }
    /// A record is complete: from now on readers see it, if `now` is set; else with the next.
    void publish(channel_record& record, std::uint32_t length, bool now) {
        if (closed()) [[unlikely]]
            throw_stopped("publish");
        if (length != record.length) [[unlikely]]
            shrink(record, length);
        done(record, record.length, now);
        if (crowded()) [[unlikely]]
            serve_all();
    }
    /// A record is not going to be published.
    void give_back(const channel_record& record) noexcept;
    void flush() noexcept {
        if (shown_ != tail_ && !closed()) commit_tail();
    }
    /// Throws why there is no record.
    [[noreturn]] void refuse(const char* operation);
    void write(encoder& out, std::uint64_t signature);

protected:
    channel_writer_core(const char* name, channel_memory&& memory, words where, unique_fd control);
    /// What follows from a full ring: room for `span` after all?
    [[gnu::cold]] virtual bool find_room(std::uint64_t span) noexcept;
    [[nodiscard]] bool fits(std::uint64_t span) const noexcept {
        return reserved_ + span - floor_ <= limit_;
    }
    void over() noexcept override { stopped_ = true; }
    /// Throws std::invalid_argument unless the handle can travel.
    void check_unused();

    std::uint64_t reserved_;  // where the next record begins
    std::uint64_t tail_;      // what is complete, without a gap
    std::uint64_t shown_;     // and what readers know of it
    std::uint64_t floor_;     // from here on it may be in use
    std::uint64_t next_number_ = 0;
    bool hurry_ = false;  // of what is complete before its turn, something was published

private:
    [[nodiscard]] std::uint64_t span_of(std::uint32_t length) const noexcept {
        return (std::uint64_t{length} + 2 * step_ - 1) & ~std::uint64_t{step_ - 1};
    }
    void done(const channel_record& record, std::uint32_t length, bool now) noexcept {
        std::byte* const at = record.at - step_;
        header_at(at).store(std::uint64_t{record.span} << 32 | length, std::memory_order_relaxed);
        if (record.position == tail_) [[likely]] {
            number(at, length);
            tail_ += record.span;
            if (!done_.empty()) [[unlikely]]
                now |= done_behind();
            if (now) commit_tail();
        } else {
            done_.put(record.position, record.span);
            hurry_ |= now;
        }
    }
    /// Numbers a record when its turn has come: what was dropped has none.
    void number(std::byte* at, std::uint32_t length) noexcept {
        if (step_ < 2 * sizeof(header)) return;
        number_at(at).store(next_number_, std::memory_order_relaxed);
        if (length != skipped) ++next_number_;
    }
    /// What was complete before its turn, and is in turn now. Was any of it published?
    [[gnu::cold]] bool done_behind() noexcept;
    void commit_tail() noexcept {
        shown_ = tail_;
        commit(tail_);
    }
    [[gnu::cold]] void shrink(channel_record& record, std::uint32_t length);
};

class channel_reader_core : public channel_core {
public:
    static constexpr const char* object = "ipc channel";
    channel_reader_core(channel_memory memory, unique_fd control);

    /// The next record. False: there is none yet. A record that is null: there never is.
    bool take(channel_record& out) noexcept {
        for (;;) {
            if (next_ == seen_ && !find_more()) [[unlikely]] {
                out.at = nullptr;
                return stopped_ || gone_;
            }
            std::byte* at = place(next_);
            const std::uint64_t word = header_at(at).load(std::memory_order_relaxed);
            out.at = at + step_;
            out.position = next_;
            out.length = static_cast<std::uint32_t>(word);
            out.span = static_cast<std::uint32_t>(word >> 32);
            if (is_record(out)) [[likely]] {
                next_ += out.span;
                ++handled_;
                return true;
            }
            if (out.length != skipped || !is_span(out.span)) {
                fail();
                seen_ = next_;
            } else {
                next_ += out.span;
                done(out);
            }
        }
    }
    /// A record is not needed any more; in any order.
    void give_back(const channel_record& record) noexcept {
        done(record);
        if (!on_loop() || released_ - noticed_ >= limit_ / 4) [[unlikely]] {
            noticed_ = released_;
            tell();
        }
    }
    /// Throws why there is no record, or returns at the end of all.
    void refuse(const char* operation) {
        if (stopped_) throw_stopped(operation);
    }
    /// Nothing is left, and nothing comes any more.
    [[nodiscard]] bool ended() noexcept {
        return closed() || (ask_gone() && next_ == seen_ && !find_more());
    }
    void write(encoder& out, std::uint64_t signature);

protected:
    channel_reader_core(const char* name, channel_memory&& memory, words where, unique_fd control);
    [[nodiscard]] bool is_span(std::uint32_t span) const noexcept {
        return span != 0 && span <= seen_ - next_ && (span & (step_ - 1)) == 0;
    }
    [[nodiscard]] bool is_record(const channel_record& one) const noexcept {
        return is_span(one.span) && one.length <= largest_ && one.length + step_ <= one.span &&
               (length_ == 0 || one.length == length_);
    }
    bool find_more() noexcept;
    void done(const channel_record& record) noexcept {
        if (record.position == released_) [[likely]] {
            released_ += record.span;
            if (!done_.empty()) [[unlikely]]
                while (const std::uint32_t span = done_.take(released_)) released_ += span;
            if (!closed()) commit_later(released_);
        } else {
            done_.put(record.position, record.span);
        }
    }
    void over() noexcept override {}
    /// Nothing more is received, not even what has been seen already.
    void let_go() noexcept override {
        seen_ = next_;
        channel_core::let_go();
    }
    /// Throws std::invalid_argument unless the handle can travel.
    void check_unused() const;

    std::uint64_t next_;      // where the next record to be taken begins
    std::uint64_t released_;  // up to here the writer may write again
    std::uint64_t noticed_;   // and so far the writer has been looked after
};

struct channel_cores {
    channel_writer_core* writer;
    channel_reader_core* reader;
};

struct channel_shape {
    std::uint64_t type = 0;     // signature_of its elements
    std::uint32_t length = 0;   // of every record; 0: each has its own
    std::uint32_t step = 8;     // alignment
    std::uint64_t records = 0;  // how many there may be
    std::uint64_t bytes = 0;    // how many they may take together, if each has its own length
    bool untrusted = false;
};

/// What has to be right when an end is attached.
struct record_kind {
    std::uint64_t type = 0;
    std::uint32_t length = 0;
    std::uint32_t step = 0;  // 0: records of bytes, aligned as the channel was made
};

/// `what`, with a ring of that shape. Throws std::invalid_argument.
segment_type ring_type(segment_type what, const channel_shape& shape);
/// A new channel. Throws std::system_error, std::invalid_argument.
channel_cores make_channel(const channel_shape& shape);
/// Null for a handle that was closed when it was sent.
channel_writer_core* read_channel_writer(decoder& in, std::uint64_t signature,
                                         const record_kind& kind);
channel_reader_core* read_channel_reader(decoder& in, std::uint64_t signature,
                                         const record_kind& kind);

}  // namespace runnel::ipc::detail

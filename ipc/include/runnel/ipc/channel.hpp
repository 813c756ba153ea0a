// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/channel_core.hpp>
#include <runnel/ipc/record.hpp>

/// Records from one writer to one reader, through shared memory, without a copy.
///
///     auto ends = ipc::channel<frame>({.capacity = 8});
///     auto child = ipc::spawn(show, std::move(ends.reader));
///     auto next = co_await ends.writer.loan();      // waits while the reader is behind
///     fill(*next);                                  // in place
///     next.publish();
///
///     while (auto f = co_await reader.receive()) draw(**f);   // in place; released when dropped
///
/// T is a trivially copyable type without pointers. A channel<std::byte> carries records of bytes,
/// each of its own length: loan(n), and span().
///
/// Both ends move, also to other processes and through pipes, when nothing of theirs is lent or
/// waits; there is one of each. Each belongs to one thread at a time. While both sides are awake
/// there is no system call. The reader has the records mapped read-only; a writer that is not to be
/// trusted can still change them while they are looked at, so copy, then check. A side is closed
/// when its handle is gone, in whatever way its process ended: what was published before is still
/// received, and what was lent to the dead is nobody's. Nothing checks what a T holds: from a writer
/// that is not to be trusted, it should have no bool or enum.
namespace runnel::ipc {

/// How a channel is made.
struct channel_options {
    /// How many records there may be, lent, published and being looked at together; 0: 256, or
    /// fewer if they did not fit into 1 MiB. Of records of bytes: how many bytes they may take
    /// together, a power of two or rounded up to one, where each takes `alignment` more than it has,
    /// rounded up to `alignment`; 0: 1 MiB. At most 2 GiB. The memory is a power of two in any case,
    /// and used in turn: of large records, three fit a cache that four of them and their headers do
    /// not.
    std::size_t capacity = 0;
    /// Of records of bytes: a power of two up to 4096. A T has its own.
    std::size_t alignment = 16;
    /// Nobody but this process's handle can write the records, not even by a trick of the reader's;
    /// the writer cannot travel then.
    bool untrusted_reader = false;
};

/// A place for a record of a channel; see record_loan in record.hpp.
template <record_value T>
using channel_loan = record_loan<T, detail::channel_writer_core>;
/// A record of a channel, in place: the writer may write there again when it has been dropped. See
/// record_view in record.hpp.
template <record_value T>
using channel_view = record_view<T, detail::channel_reader_core>;

/// The side that writes: loan() and try_loan() give a channel_loan<T>; see record_writer.
template <record_value T>
class channel_writer : public record_writer<T, detail::channel_writer_core> {
public:
    /// A handle on nothing: closed.
    channel_writer() noexcept = default;

private:
    friend detail::record_access;
    using channel_writer::record_writer::record_writer;
};

/// The side that reads: receive() and try_receive() give an optional channel_view<T>; see
/// record_reader.
template <record_value T>
class channel_reader : public record_reader<T, detail::channel_reader_core> {
public:
    /// A handle on nothing: closed.
    channel_reader() noexcept = default;

private:
    friend detail::record_access;
    using channel_reader::record_reader::record_reader;
};

/// The two ends of a channel.
template <record_value T>
struct channel_ends {
    channel_ends(channel_writer<T> in, channel_reader<T> out) noexcept
        : writer(std::move(in)), reader(std::move(out)) {}
    channel_writer<T> writer;
    channel_reader<T> reader;
};

/// Makes a channel. Throws std::system_error (EMFILE, ...), std::invalid_argument for options that
/// cannot be.
template <record_value T>
[[nodiscard]] channel_ends<T> channel(channel_options options = {}) {
    const detail::channel_cores made = detail::make_channel(
        detail::shape_for<T>(options.capacity, options.alignment, options.untrusted_reader));
    return {detail::record_access::make<channel_writer<T>>(made.writer),
            detail::record_access::make<channel_reader<T>>(made.reader)};
}

// implementation

template <class T>
struct codec<channel_writer<T>> {
    static constexpr std::uint64_t signature = 0x6368777269746572;
    using parts = signature_parts<T>;
    static constexpr bool carries_handles = true;
    static constexpr std::size_t min_size = 11;
    static void encode(encoder& out, const channel_writer<T>& end) {
        detail::record_access::write(out, end, signature_of<channel_writer<T>>);
    }
    static channel_writer<T> decode(decoder& in) {
        return detail::record_access::make<channel_writer<T>>(
            detail::read_channel_writer(in, signature_of<channel_writer<T>>, detail::kind_of<T>));
    }
};
template <class T>
struct codec<channel_reader<T>> {
    static constexpr std::uint64_t signature = 0x6368726561646572;
    using parts = signature_parts<T>;
    static constexpr bool carries_handles = true;
    static constexpr std::size_t min_size = 11;
    static void encode(encoder& out, const channel_reader<T>& end) {
        detail::record_access::write(out, end, signature_of<channel_reader<T>>);
    }
    static channel_reader<T> decode(decoder& in) {
        return detail::record_access::make<channel_reader<T>>(
            detail::read_channel_reader(in, signature_of<channel_reader<T>>, detail::kind_of<T>));
    }
};

}  // namespace runnel::ipc

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/broadcast_core.hpp>
#include <runnel/ipc/record.hpp>

/// Records from one writer to many readers, through shared memory: each reader sees every record, or
/// is told how many it missed.
///
///     auto ends = ipc::broadcast<price>({.capacity = 1024});
///     auto one = ipc::spawn(watch, ends.reader.share());
///     auto two = ipc::spawn(watch, std::move(ends.reader));
///     auto next = co_await ends.writer.loan();      // waits for the slowest reader
///     *next = price{...};
///     next.publish();
///
/// What to do about readers that are behind is decided when it is made. `wait` is back-pressure: the
/// writer waits for the slowest, and readers look at records in place. With `overwrite` the writer
/// never waits for readers: they get copies, and view.missed() says how many records were
/// overwritten before they came to them.
///
/// As with a channel, ends move, also to other processes, nothing is entered in the kernel while all
/// are awake, and readers have the records mapped read-only. A reader that is dropped, or whose
/// process ends in whatever way, holds nobody up. Readers share the memory in which they say how far
/// they are, so they have to trust each other, as to that.
namespace runnel::ipc {

/// What a writer does about readers that are behind.
enum class when_behind : unsigned char {
    wait,      ///< the writer waits for the slowest reader
    overwrite  ///< the writer goes on, and readers miss what they did not get in time
};

/// How a broadcast is made.
struct broadcast_options {
    /// As in channel_options. With `overwrite`, this is what a reader may be behind, more or less.
    std::size_t capacity = 0;
    /// As in channel_options, but at least 16.
    std::size_t alignment = 16;
    /// What is done about readers that are behind.
    when_behind policy = when_behind::wait;
    /// How many readers there may be at a time: 1 to 64.
    std::size_t readers = 16;
    /// As untrusted_reader in channel_options.
    bool untrusted_readers = false;
};

/// A place for a record of a broadcast; see record_loan in record.hpp.
template <record_value T>
using broadcast_loan = record_loan<T, detail::broadcast_writer_core>;
/// A record of a broadcast: in place, or, where the writer does not wait, a copy. `missed()` records
/// before it were lost to this reader. What is looked at in place may change once the reader that
/// it came from has been closed.
template <record_value T>
using broadcast_view = record_view<T, detail::broadcast_reader_core>;

/// The side that writes: loan() and try_loan() give a broadcast_loan<T>.
template <record_value T>
class broadcast_writer : public record_writer<T, detail::broadcast_writer_core> {
public:
    /// A handle on nothing: closed.
    broadcast_writer() noexcept = default;

    /// How many readers there are; 0 when it is closed. Asks the kernel about each. Throws
    /// std::system_error (errc::closed) on a handle on nothing.
    [[nodiscard]] std::size_t readers() { return this->core("readers").readers(); }

private:
    friend detail::record_access;
    using broadcast_writer::record_writer::record_writer;
};

/// The side that reads: receive() and try_receive() give an optional broadcast_view<T>; see
/// record_reader.
template <record_value T>
class broadcast_reader : public record_reader<T, detail::broadcast_reader_core> {
public:
    /// A handle on nothing: closed.
    broadcast_reader() noexcept = default;

    /// Another reader, which begins with what this one has not received yet. Throws
    /// std::system_error: EAGAIN when there are as many readers as there may be (one that has just
    /// gone counts until the writer has looked), std::errc::broken_pipe when the writer is gone,
    /// EMFILE, errc::closed.
    [[nodiscard]] broadcast_reader share() const {
        return broadcast_reader(this->core("share").share());
    }

private:
    friend detail::record_access;
    using broadcast_reader::record_reader::record_reader;
};

/// The ends of a broadcast; more readers are made by share().
template <record_value T>
struct broadcast_ends {
    broadcast_ends(broadcast_writer<T> in, broadcast_reader<T> out) noexcept
        : writer(std::move(in)), reader(std::move(out)) {}
    broadcast_writer<T> writer;
    broadcast_reader<T> reader;
};

/// Makes a broadcast. Throws std::system_error (EMFILE, ...), std::invalid_argument for options that
/// cannot be.
template <record_value T>
[[nodiscard]] broadcast_ends<T> broadcast(broadcast_options options = {}) {
    const detail::broadcast_cores made = detail::make_broadcast(
        detail::shape_for<T>(options.capacity, options.alignment, options.untrusted_readers),
        options.readers, options.policy == when_behind::overwrite);
    return {detail::record_access::make<broadcast_writer<T>>(made.writer),
            detail::record_access::make<broadcast_reader<T>>(made.reader)};
}

// implementation

template <class T>
struct codec<broadcast_writer<T>> {
    static constexpr std::uint64_t signature = 0x6263777269746572;
    using parts = signature_parts<T>;
    static constexpr bool carries_handles = true;
    static constexpr std::size_t min_size = 13;
    static void encode(encoder& out, const broadcast_writer<T>& end) {
        detail::record_access::write(out, end, signature_of<broadcast_writer<T>>);
    }
    static broadcast_writer<T> decode(decoder& in) {
        return detail::record_access::make<broadcast_writer<T>>(detail::read_broadcast_writer(
            in, signature_of<broadcast_writer<T>>, detail::kind_of<T>));
    }
};
template <class T>
struct codec<broadcast_reader<T>> {
    static constexpr std::uint64_t signature = 0x6263726561646572;
    using parts = signature_parts<T>;
    static constexpr bool carries_handles = true;
    static constexpr std::size_t min_size = 13;
    static void encode(encoder& out, const broadcast_reader<T>& end) {
        detail::record_access::write(out, end, signature_of<broadcast_reader<T>>);
    }
    static broadcast_reader<T> decode(decoder& in) {
        return detail::record_access::make<broadcast_reader<T>>(detail::read_broadcast_reader(
            in, signature_of<broadcast_reader<T>>, detail::kind_of<T>));
    }
};

}  // namespace runnel::ipc

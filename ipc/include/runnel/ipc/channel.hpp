// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <runnel/awaiter.hpp>
#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/channel_core.hpp>

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
/// T is a trivially copyable type that a codec would send: no pointers. A channel<std::byte> carries
/// records of bytes, each of its own length: loan(n), and span().
///
/// Both ends move, also to other processes and through pipes, when nothing of theirs is lent or
/// waits; they have no share(). Each belongs to one thread at a time. While both sides are awake
/// there is no system call. The reader has the records mapped read-only; a writer that is not to be
/// trusted can still change them while they are looked at, so copy, then check. A side is closed
/// when its handle is gone, in whatever way its process ended: what was published before is still
/// received, and what was lent to the dead is nobody's.
namespace runnel::ipc {

struct channel_options {
    /// How many records there may be, lent, published and being looked at together; for records of
    /// bytes, how many bytes they may take, rounded up to a power of two, each with 8 more and its
    /// alignment. 0: 256 records, or what fits into 1 MiB; 1 MiB. At most 2 GiB.
    std::size_t capacity = 0;
    /// Of records of bytes: a power of two up to 4096. A T has its own.
    std::size_t alignment = 16;
    /// Nobody but this process's handle can write the records, not even by a trick of the reader's;
    /// the writer cannot travel then.
    bool untrusted_reader = false;
};

/// What a channel can carry.
template <class T>
concept channel_value = std::is_trivially_copyable_v<T> && encodable<T> && !carries_handles<T> &&
                        alignof(T) <= 4096 && sizeof(T) <= (std::size_t{1} << 30);

template <channel_value T>
class channel_writer;
template <channel_value T>
class channel_reader;

namespace detail {

template <class T>
inline constexpr bool of_bytes = std::is_same_v<T, std::byte>;
template <class T>
inline constexpr std::uint32_t record_length = of_bytes<T> ? 0 : std::uint32_t{sizeof(T)};

template <class T>
class loan_operation;
template <class T>
class view_operation;
struct channel_access;

/// What has been given out, and keeps its side alive.
template <class Core>
class lent {
public:
    lent() noexcept = default;
    lent(Core* of, const channel_record& what) noexcept : core_(of), record_(what) { of->use(); }
    lent(lent&& other) noexcept
        : core_(std::exchange(other.core_, nullptr)), record_(other.record_) {}
    lent& operator=(lent&& other) noexcept {
        if (this != &other) {
            drop();
            core_ = std::exchange(other.core_, nullptr);
            record_ = other.record_;
        }
        return *this;
    }
    ~lent() { drop(); }
    void drop() noexcept {
        if (core_ == nullptr) return;
        core_->give_back(record_);
        std::exchange(core_, nullptr)->release();
    }
    /// Not to be given back any more.
    void forget() noexcept { std::exchange(core_, nullptr)->release(); }

    Core* core_ = nullptr;
    channel_record record_;
};

}  // namespace detail

/// A place in a channel for one record, to be written and published. Moves. It holds whatever was
/// there before (a T with a default constructor of its own is constructed). Loans become visible in
/// the order in which they were taken: one that was published waits for those before it. Dropped,
/// it is given back.
template <class T>
class [[nodiscard]] channel_loan {
public:
    /// Holds nothing.
    channel_loan() noexcept = default;

    [[nodiscard]] T& operator*() const noexcept
        requires(!detail::of_bytes<T>)
    {
        return *data();
    }
    [[nodiscard]] T* operator->() const noexcept
        requires(!detail::of_bytes<T>)
    {
        return data();
    }
    [[nodiscard]] std::span<T> span() const noexcept { return {data(), size()}; }
    [[nodiscard]] T* data() const noexcept {
        return std::launder(reinterpret_cast<T*>(lent_.record_.at));
    }
    /// Of a record of bytes its length; else 1.
    [[nodiscard]] std::size_t size() const noexcept {
        return detail::of_bytes<T> ? lent_.record_.length : 1;
    }
    /// Does it hold a place?
    [[nodiscard]] explicit operator bool() const noexcept { return lent_.core_ != nullptr; }

    /// The reader gets it, and is woken if it sleeps. Throws std::system_error (errc::closed).
    void publish() { publish_as(lent_.record_.length, true); }
    /// The same, of the first `n` bytes alone. Throws std::invalid_argument if it has fewer.
    void publish(std::size_t n)
        requires(detail::of_bytes<T>)
    {
        publish_as(checked(n), true);
    }
    /// Complete, but the reader gets it together with the next one that is published, at the next
    /// flush, or when the writer has to wait or is dropped: many records for one wake.
    void stage() { publish_as(lent_.record_.length, false); }
    void stage(std::size_t n)
        requires(detail::of_bytes<T>)
    {
        publish_as(checked(n), false);
    }
    /// Gives it back.
    void drop() noexcept { lent_.drop(); }

private:
    friend detail::loan_operation<T>;
    friend class channel_writer<T>;
    channel_loan(detail::channel_writer_core* of, const detail::channel_record& what)
        : lent_(of, what) {
        if constexpr (!detail::of_bytes<T>) ::new (static_cast<void*>(what.at)) T;
    }
    [[nodiscard]] std::uint32_t checked(std::size_t n) const {
        if (n > lent_.record_.length)
            throw std::invalid_argument("publish on ipc channel: longer than the loan");
        return static_cast<std::uint32_t>(n);
    }
    void publish_as(std::uint32_t length, bool now) {
        if (lent_.core_ == nullptr)
            throw std::invalid_argument("publish on ipc channel: the loan holds nothing");
        lent_.core_->publish(lent_.record_, length, now);
        lent_.forget();
    }
    detail::lent<detail::channel_writer_core> lent_;
};

/// A record of a channel, in place: the writer may write there again when it has been dropped.
/// Moves. Views are dropped in any order; room is given back up to the oldest that is held.
template <class T>
class [[nodiscard]] channel_view {
public:
    /// Holds nothing.
    channel_view() noexcept = default;

    [[nodiscard]] const T& operator*() const noexcept
        requires(!detail::of_bytes<T>)
    {
        return *data();
    }
    [[nodiscard]] const T* operator->() const noexcept
        requires(!detail::of_bytes<T>)
    {
        return data();
    }
    [[nodiscard]] std::span<const T> span() const noexcept { return {data(), size()}; }
    [[nodiscard]] const T* data() const noexcept {
        return std::launder(reinterpret_cast<const T*>(lent_.record_.at));
    }
    [[nodiscard]] std::size_t size() const noexcept {
        return detail::of_bytes<T> ? lent_.record_.length : 1;
    }
    [[nodiscard]] explicit operator bool() const noexcept { return lent_.core_ != nullptr; }
    /// Gives the room back to the writer. A writer that sleeps learns it when the loop turns.
    void drop() noexcept { lent_.drop(); }

private:
    friend detail::view_operation<T>;
    friend class channel_reader<T>;
    channel_view(detail::channel_reader_core* of, const detail::channel_record& what) noexcept
        : lent_(of, what) {}
    detail::lent<detail::channel_reader_core> lent_;
};

namespace detail {

/// The untyped part of both handles.
template <class Core>
class channel_handle {
public:
    /// Ends what waits on it with errc::closed; idempotent. What was staged is published. Loans and
    /// views stay readable, and loans cannot be published any more.
    void close() noexcept {
        if (core_ == nullptr) return;
        if constexpr (requires { core_->flush(); }) core_->flush();
        core_->close();
    }
    [[nodiscard]] bool closed() const noexcept { return core_ == nullptr || core_->closed(); }

protected:
    channel_handle() noexcept = default;
    explicit channel_handle(Core* of) noexcept : core_(of) {}
    channel_handle(channel_handle&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
    channel_handle& operator=(channel_handle&& other) noexcept {
        if (this != &other) {
            let_go();
            core_ = std::exchange(other.core_, nullptr);
        }
        return *this;
    }
    ~channel_handle() { let_go(); }
    [[nodiscard]] Core& core(const char* operation) const {
        if (core_ == nullptr) [[unlikely]]
            throw_error(errc::closed, operation, "ipc channel");
        return *core_;
    }

private:
    friend channel_access;
    void let_go() noexcept {
        if (core_ == nullptr) return;
        close();
        std::exchange(core_, nullptr)->release();
    }
    Core* core_ = nullptr;
};

}  // namespace detail

/// The side that writes. Several tasks of one loop may wait for it; they have their turn in order.
template <channel_value T>
class channel_writer : public detail::channel_handle<detail::channel_writer_core> {
public:
    /// A handle on nothing: closed.
    channel_writer() noexcept = default;

    /// Waits for room; gives a channel_loan<T>. Throws std::system_error: std::errc::broken_pipe
    /// when the reader is gone (seen at the latest when there is no room), errc::closed,
    /// errc::protocol for a reader that does not keep to the rules, with which it closes.
    /// Cancellation: atomic.
    auto loan()
        requires(!detail::of_bytes<T>)
    {
        return detail::loan_operation<T>(core("loan"), sizeof(T));
    }
    /// The same, of a record of `n` bytes. Throws std::invalid_argument beyond max_record.
    auto loan(std::size_t n)
        requires(detail::of_bytes<T>)
    {
        return detail::loan_operation<T>(core("loan"), checked(n));
    }
    /// A loan, or nothing if there is no room or somebody waits for it. Throws as loan does.
    [[nodiscard]] std::optional<channel_loan<T>> try_loan()
        requires(!detail::of_bytes<T>)
    {
        return try_to(sizeof(T));
    }
    [[nodiscard]] std::optional<channel_loan<T>> try_loan(std::size_t n)
        requires(detail::of_bytes<T>)
    {
        return try_to(checked(n));
    }
    /// The reader gets what was staged.
    void flush() { core("flush").flush(); }
    /// How many bytes a record may have at most.
    [[nodiscard]] std::size_t max_record() const { return core("max_record").largest(); }

private:
    friend detail::channel_access;
    using channel_handle::channel_handle;
    [[nodiscard]] std::uint32_t checked(std::size_t n) const {
        if (n > core("loan").largest())
            throw std::invalid_argument("loan on ipc channel: a record larger than the channel");
        return static_cast<std::uint32_t>(n);
    }
    std::optional<channel_loan<T>> try_to(std::uint32_t length) {
        auto& from = core("loan");
        detail::channel_record got;
        if (from.crowded() || !from.reserve(length, got)) return std::nullopt;
        if (got.at == nullptr) from.refuse("loan");
        return channel_loan<T>(&from, got);
    }
};

/// The side that reads. Several tasks of one loop may wait for it; they have their turn in order.
template <channel_value T>
class channel_reader : public detail::channel_handle<detail::channel_reader_core> {
public:
    /// A handle on nothing: closed.
    channel_reader() noexcept = default;

    /// Waits for the next record; gives std::optional<channel_view<T>>, empty at the end, when the
    /// writer is gone and all it published has been received. Throws std::system_error:
    /// errc::protocol for a writer that does not keep to the rules, with which it closes;
    /// errc::closed. Cancellation: atomic.
    auto receive() { return detail::view_operation<T>(core("receive")); }
    /// A view of the next record if there is one and nobody waits for it. Throws as receive does.
    [[nodiscard]] std::optional<channel_view<T>> try_receive() {
        auto& from = core("receive");
        detail::channel_record got;
        if (from.crowded() || !from.take(got)) return std::nullopt;
        if (got.at != nullptr) return channel_view<T>(&from, got);
        from.refuse("receive");
        return std::nullopt;
    }
    /// Nothing is left to be received, and nothing comes any more. Asks the kernel.
    [[nodiscard]] bool ended() { return core("ended").ended(); }

private:
    friend detail::channel_access;
    using channel_handle::channel_handle;
};

/// The two ends of a channel.
template <channel_value T>
struct channel_ends {
    channel_ends(channel_writer<T> in, channel_reader<T> out) noexcept
        : writer(std::move(in)), reader(std::move(out)) {}
    channel_writer<T> writer;
    channel_reader<T> reader;
};

/// Makes a channel. Throws std::system_error (EMFILE, ...), std::invalid_argument for options that
/// cannot be.
template <channel_value T>
[[nodiscard]] channel_ends<T> channel(channel_options options = {});

// implementation

namespace detail {

/// What both awaiters have in common: the core, and the record that was got.
template <class Core>
class channel_await : private side_waiter {
public:
    static constexpr bool is_atomic = true;
    bool await_suspend(waiter who) {
        if (!core_->crowded() && serve()) return false;
        core_->wait(*this, who);
        return true;
    }
    cancellation await_cancel() noexcept {
        return core_->leave(*this) ? cancellation::now : cancellation::too_late;
    }

protected:
    explicit channel_await(Core* of) noexcept : core_(of) { of->use(); }
    ~channel_await() { core_->release(); }
    Core* const core_;
    channel_record got_;

private:
    bool serve() noexcept override = 0;
};

template <class T>
class loan_operation {
public:
    loan_operation(channel_writer_core& of, std::uint32_t length) noexcept
        : core_(&of), length_(length) {}

    class awaiter final : public channel_await<channel_writer_core> {
    public:
        awaiter(channel_writer_core* of, std::uint32_t length) noexcept
            : channel_await(of), length_(length) {}
        bool await_ready() noexcept { return !core_->crowded() && core_->reserve(length_, got_); }
        channel_loan<T> await_resume() {
            if (got_.at == nullptr) [[unlikely]]
                core_->refuse("loan");
            return channel_loan<T>(core_, got_);
        }
        void await_describe(std::string& text) const { text += "loan on ipc channel"; }

    private:
        bool serve() noexcept override { return core_->reserve(length_, got_); }
        std::uint32_t length_;
    };
    awaiter operator co_await() const noexcept { return awaiter(core_, length_); }

private:
    channel_writer_core* core_;
    std::uint32_t length_;
};

template <class T>
class view_operation {
public:
    explicit view_operation(channel_reader_core& of) noexcept : core_(&of) {}

    class awaiter final : public channel_await<channel_reader_core> {
    public:
        explicit awaiter(channel_reader_core* of) noexcept : channel_await(of) {}
        bool await_ready() noexcept { return !core_->crowded() && core_->take(got_); }
        std::optional<channel_view<T>> await_resume() {
            if (got_.at != nullptr) [[likely]]
                return channel_view<T>(core_, got_);
            core_->refuse("receive");
            return std::nullopt;
        }
        void await_describe(std::string& text) const { text += "receive on ipc channel"; }

    private:
        bool serve() noexcept override { return core_->take(got_); }
    };
    awaiter operator co_await() const noexcept { return awaiter(core_); }

private:
    channel_reader_core* core_;
};

struct channel_access {
    template <class Handle, class Core>
    static Handle make(Core* core) noexcept {
        return Handle(core);
    }
    template <class Handle>
    static void write(encoder& out, const Handle& handle, std::uint64_t signature) {
        if (handle.core_ != nullptr) return handle.core_->write(out, signature);
        out.write(signature);
        for (int i = 0; i < 3; ++i) out.write_handle(-1);
    }
};

}  // namespace detail

template <channel_value T>
channel_ends<T> channel(channel_options options) {
    detail::channel_shape shape;
    shape.type = signature_of<T>;
    shape.length = detail::record_length<T>;
    shape.untrusted = options.untrusted_reader;
    const std::size_t capacity = options.capacity;
    if constexpr (detail::of_bytes<T>) {
        shape.step = options.alignment <= 4096 ? std::uint32_t(options.alignment) : 0;
        shape.bytes = capacity != 0 ? capacity : std::size_t{1} << 20;
    } else {
        constexpr std::size_t fitting = (std::size_t{1} << 20) / sizeof(T);
        shape.step = alignof(T);
        shape.records = capacity != 0 ? capacity : fitting > 256 ? 256 : fitting < 2 ? 2 : fitting;
    }
    const detail::channel_cores made = detail::make_channel(shape);
    return {detail::channel_access::make<channel_writer<T>>(made.writer),
            detail::channel_access::make<channel_reader<T>>(made.reader)};
}

template <class T>
struct codec<channel_writer<T>> {
    static constexpr std::uint64_t signature = 0x6368777269746572;
    using parts = signature_parts<T>;
    static constexpr bool carries_handles = true;
    static constexpr std::size_t min_size = 11;
    static void encode(encoder& out, const channel_writer<T>& end) {
        detail::channel_access::write(out, end, signature_of<channel_writer<T>>);
    }
    static channel_writer<T> decode(decoder& in) {
        return detail::channel_access::make<channel_writer<T>>(detail::read_channel_writer(
            in, signature_of<channel_writer<T>>, signature_of<T>, detail::record_length<T>));
    }
};
template <class T>
struct codec<channel_reader<T>> {
    static constexpr std::uint64_t signature = 0x6368726561646572;
    using parts = signature_parts<T>;
    static constexpr bool carries_handles = true;
    static constexpr std::size_t min_size = 11;
    static void encode(encoder& out, const channel_reader<T>& end) {
        detail::channel_access::write(out, end, signature_of<channel_reader<T>>);
    }
    static channel_reader<T> decode(decoder& in) {
        return detail::channel_access::make<channel_reader<T>>(detail::read_channel_reader(
            in, signature_of<channel_reader<T>>, signature_of<T>, detail::record_length<T>));
    }
};

}  // namespace runnel::ipc

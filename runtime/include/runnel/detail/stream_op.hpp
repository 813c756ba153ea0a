// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include <runnel/awaiter.hpp>
#include <runnel/detail/io_op.hpp>
#include <runnel/result.hpp>
#include <runnel/unique_fd.hpp>

// The operations of a byte_stream: io_ops that look into the stream's buffer when their turn comes,
// and ask the kernel until they have enough. The driver's queue of the descriptor keeps their
// order.

namespace runnel::detail {

/// Bytes that were read ahead.
class read_buffer {
public:
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
        return {data_.get() + begin_, end_ - begin_};
    }
    [[nodiscard]] std::string_view text() const noexcept {
        return {reinterpret_cast<const char*>(data_.get()) + begin_, end_ - begin_};
    }
    /// Room for `n` bytes or more behind the others; empty if there is no memory.
    [[nodiscard]] std::span<std::byte> room(std::size_t n) noexcept;
    void added(std::size_t n) noexcept { end_ += n; }
    void drop(std::size_t n) noexcept;

private:
    std::unique_ptr<std::byte[]> data_;
    std::size_t capacity_ = 0;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

/// What a byte_stream is made of.
struct stream_state {
    stream_state(unique_fd owned, std::string_view what) noexcept
        : fd(std::move(owned)), kind(what), shown(fd.get()) {}
    stream_state(stream_state&& other) noexcept;
    stream_state& operator=(stream_state&& other) noexcept;
    ~stream_state();
    void close() noexcept;
    unique_fd release();
    void end_pending() noexcept;
    void require_idle(const char* what) const noexcept;

    unique_fd fd;
    std::string_view kind;  // "pipe", for errors and dumps
    int shown;              // the number beside it; the descriptor may be closed
    bool borrowed = false;  // never closed
    unsigned pending = 0;   // operations that refer to this
    loop* home = nullptr;   // of the pending ones
    read_buffer buffer;
};

/// An operation of a stream, and its awaiter but for the value.
class stream_op : protected io_op {
public:
    bool await_ready() const noexcept { return false; }
    bool await_suspend(waiter who) noexcept;
    cancellation await_cancel() noexcept { return cancel(); }
    void await_describe(std::string& text) const;

protected:
    stream_op(stream_state& of, std::string_view verb, io_code code, io_direction way) noexcept;
    ~stream_op();
    void ask(const void* at, std::size_t length) noexcept;
    [[nodiscard]] bool failed() const noexcept { return result() < 0 || problem_; }
    [[nodiscard]] std::error_code failure() const noexcept;
    void check() const {
        if (failed()) [[unlikely]]
            throw_failure();
    }
    [[noreturn]] void throw_failure() const;

    stream_state& stream_;
    std::string_view verb_;
    std::error_code problem_;  // of an operation that the kernel has no objections to
    bool counted_ = false;
};

class stream_read final : public stream_op {
public:
    static constexpr bool is_atomic = true;
    struct wanted {
        std::span<std::byte> into;
    };
    stream_read(stream_state& of, const wanted& w) noexcept
        : stream_op(of, "read", io_code::read, io_direction::in), into_(w.into) {}
    std::size_t await_resume() const { return check(), static_cast<std::size_t>(result()); }
    runnel::result<std::size_t> await_result() const {
        if (failed()) return failure();
        return static_cast<std::size_t>(result());
    }

private:
    bool begin() noexcept override;
    std::span<std::byte> into_;
};

/// A read into the buffer until there is enough.
class stream_fill : public stream_op {
public:
    static constexpr bool is_atomic = true;

protected:
    stream_fill(stream_state& of, std::string_view verb) noexcept
        : stream_op(of, verb, io_code::read, io_direction::in) {}
    /// Takes what was asked for out of the buffer, if it is there; true also for a problem.
    virtual bool satisfied(bool at_end) = 0;
    /// How much is missing at least.
    [[nodiscard]] virtual std::size_t missing() const noexcept { return 1; }

private:
    bool begin() noexcept final { return step(false); }
    bool again(int result) noexcept final;
    bool step(bool at_end) noexcept;
};

class stream_exactly final : public stream_fill {
public:
    struct wanted {
        std::span<std::byte> into;
    };
    stream_exactly(stream_state& of, const wanted& w) noexcept
        : stream_fill(of, "read_exactly"), into_(w.into) {}
    void await_resume() const { check(); }
    runnel::result<void> await_result() const {
        if (failed()) return failure();
        return {};
    }

private:
    bool satisfied(bool at_end) override;
    std::size_t missing() const noexcept override {
        return into_.size() - stream_.buffer.bytes().size();
    }
    std::span<std::byte> into_;
};

class stream_until final : public stream_fill {
public:
    struct wanted {
        std::string_view delimiter;
        char one;  // used when the delimiter is empty
        std::size_t max;
    };
    using value = std::optional<std::string>;
    stream_until(stream_state& of, const wanted& w) noexcept
        : stream_fill(of, "read_until"), wanted_(w) {}
    value await_resume() { return check(), std::move(got_); }
    runnel::result<value> await_result() {
        if (failed()) return failure();
        return std::move(got_);
    }

private:
    bool satisfied(bool at_end) override;
    wanted wanted_;
    std::size_t searched_ = 0;
    value got_;
};

class stream_all final : public stream_fill {
public:
    struct wanted {
        std::size_t max;
    };
    stream_all(stream_state& of, const wanted& w) noexcept
        : stream_fill(of, "read_all"), max_(w.max) {}
    std::string await_resume() { return check(), std::move(got_); }
    runnel::result<std::string> await_result() {
        if (failed()) return failure();
        return std::move(got_);
    }

private:
    bool satisfied(bool at_end) override;
    std::size_t max_;
    std::string got_;
};

class stream_write final : public stream_op {
public:
    static constexpr bool is_atomic = true;
    struct wanted {
        std::span<const std::byte> from;
    };
    stream_write(stream_state& of, const wanted& w) noexcept
        : stream_op(of, "write", io_code::write, io_direction::out) {
        ask(w.from.data(), w.from.size());
    }
    std::size_t await_resume() const { return check(), static_cast<std::size_t>(result()); }
    runnel::result<std::size_t> await_result() const {
        if (failed()) return failure();
        return static_cast<std::size_t>(result());
    }
};

class stream_write_all final : public stream_op {
public:
    static constexpr bool is_atomic = false;
    struct wanted {
        std::span<const std::byte> from;
        std::size_t* written;
    };
    stream_write_all(stream_state& of, const wanted& w) noexcept
        : stream_op(of, "write_all", io_code::write, io_direction::out),
          left_(w.from),
          written_(w.written) {
        if (written_ != nullptr) *written_ = 0;
    }
    void await_resume() const { check(); }
    runnel::result<void> await_result() const {
        if (failed()) return failure();
        return {};
    }

private:
    bool begin() noexcept override;
    bool again(int result) noexcept override;
    std::span<const std::byte> left_;
    std::size_t* written_;
};

/// An operation that has not begun: a small value, begun by co_await.
template <class Op>
class [[nodiscard]] stream_operation {
public:
    stream_operation(stream_state& of, const typename Op::wanted& w) noexcept
        : stream_(of), wanted_(w) {}
    Op operator co_await() const noexcept { return Op(stream_, wanted_); }

private:
    stream_state& stream_;
    typename Op::wanted wanted_;
};

}  // namespace runnel::detail

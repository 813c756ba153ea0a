// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <runnel/awaiter.hpp>
#include <runnel/error.hpp>
#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/channel_core.hpp>

// What <runnel/ipc/record.hpp> is made of.

namespace runnel::ipc {

/// What a record can be: a trivially copyable type that a codec would send (no pointers), or
/// std::byte, for records of bytes, each of its own length.
template <class T>
concept record_value = std::is_trivially_copyable_v<T> && encodable<T> && !carries_handles<T> &&
                       alignof(T) <= 4096 && sizeof(T) <= (std::size_t{1} << 30);

template <record_value T, class Core>
class record_loan;
template <record_value T, class Core>
class record_view;

namespace detail {

template <class T>
inline constexpr bool of_bytes = std::is_same_v<T, std::byte>;
/// Where records begin: large ones at lines of the cache, so that two processes do not work on the
/// same line, and copies are as fast as they can be.
template <class T>
inline constexpr std::uint32_t record_step =
    std::max<std::uint32_t>(alignof(T), sizeof(T) >= 64 ? 64 : 8);
/// What a T is when an end of a channel is attached.
template <class T>
inline constexpr record_kind kind_of =
    of_bytes<T> ? record_kind{signature_of<T>}
                : record_kind{signature_of<T>, std::uint32_t{sizeof(T)}, record_step<T>};

struct record_access;

/// A record that has been given out, and keeps its side alive.
template <class Core>
class lent {
public:
    lent() noexcept = default;
    lent(Core* of, const channel_record& what) noexcept : core(of), record(what) { of->use(); }
    lent(lent&& other) noexcept : core(std::exchange(other.core, nullptr)), record(other.record) {}
    lent& operator=(lent&& other) noexcept {
        if (this != &other) {
            drop();
            core = std::exchange(other.core, nullptr);
            record = other.record;
        }
        return *this;
    }
    ~lent() { drop(); }
    void drop() noexcept {
        if (core == nullptr) return;
        core->give_back(record);
        forget();
    }
    /// Not to be given back any more.
    void forget() noexcept { std::exchange(core, nullptr)->release(); }

    Core* core = nullptr;
    channel_record record;
};

/// The untyped part of the handles.
template <class Core>
class record_end {
public:
    /// Ends what waits on it with errc::closed; idempotent. What was staged is published. Loans and
    /// views stay readable, and loans cannot be published any more.
    void close() noexcept {
        if (core_ == nullptr) return;
        if constexpr (requires { core_->flush(); }) core_->flush();
        core_->close();
    }
    /// It is closed, or a handle on nothing.
    [[nodiscard]] bool closed() const noexcept { return core_ == nullptr || core_->closed(); }

protected:
    record_end() noexcept = default;
    explicit record_end(Core* of) noexcept : core_(of) {}
    record_end(record_end&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
    record_end& operator=(record_end&& other) noexcept {
        if (this != &other) {
            let_go();
            core_ = std::exchange(other.core_, nullptr);
        }
        return *this;
    }
    ~record_end() { let_go(); }
    [[nodiscard]] Core& core(const char* operation) const {
        if (core_ == nullptr) [[unlikely]]
            throw_error(errc::closed, operation, Core::object);
        return *core_;
    }

private:
    friend record_access;
    void let_go() noexcept {
        if (core_ == nullptr) return;
        close();
        std::exchange(core_, nullptr)->release();
    }
    Core* core_ = nullptr;
};

/// For operations, which make loans and views, and for codecs.
struct record_access {
    template <class Made, class... Args>
    static Made make(Args&&... args) {
        return Made(std::forward<Args>(args)...);
    }
    template <class Handle>
    static void write(encoder& out, const Handle& handle, std::uint64_t signature) {
        if (handle.core_ != nullptr)
            handle.core_->write(out, signature);
        else
            std::remove_pointer_t<decltype(handle.core_)>::write_nothing(out, signature);
    }
};

/// A core that lives while somebody has this: operations, which may outlive the handle.
template <class Core>
class core_use {
public:
    explicit core_use(Core& of) noexcept : core_(&of) { of.use(); }
    core_use(const core_use& other) noexcept : core_(other.core_) { core_->use(); }
    core_use(core_use&& other) noexcept : core_use(std::as_const(other)) {}
    core_use& operator=(const core_use&) = delete;
    ~core_use() { core_->release(); }
    [[nodiscard]] Core& operator*() const noexcept { return *core_; }
    [[nodiscard]] Core* operator->() const noexcept { return core_; }

private:
    Core* const core_;
};

/// What the awaiters have in common: the core, and the record that was got.
template <class Core>
class record_await : private side_waiter {
public:
    static constexpr bool is_atomic = true;
    bool await_suspend(waiter who) {
        core_->wait(*this, who);  // await_ready has tried it just now
        return true;
    }
    cancellation await_cancel() noexcept {
        return core_->leave(*this) ? cancellation::now : cancellation::too_late;
    }

protected:
    explicit record_await(core_use<Core> of) noexcept : core_(std::move(of)) {}
    ~record_await() { unlink(); }  // before the core may go
    [[nodiscard]] Core& core() const noexcept { return *core_; }
    channel_record got_;

private:
    bool serve() noexcept override = 0;
    const core_use<Core> core_;
};

template <class T, class Core>
class [[nodiscard]] loan_operation {
public:
    using loan = record_loan<T, Core>;
    loan_operation(Core& of, std::uint32_t length) noexcept : core_(of), length_(length) {}

    class awaiter final : public record_await<Core> {
    public:
        awaiter(core_use<Core> of, std::uint32_t length) noexcept
            : record_await<Core>(std::move(of)), length_(length) {}
        bool await_ready() noexcept { return !this->core().crowded() && try_it(); }
        loan await_resume() {
            if (this->got_.at == nullptr) [[unlikely]]
                this->core().refuse("loan");
            return record_access::make<loan>(&this->core(), this->got_);
        }
        void await_describe(std::string& text) const {
            text.append("loan on ").append(Core::object);
        }

    private:
        bool try_it() noexcept { return this->core().reserve(length_, this->got_); }
        bool serve() noexcept override { return try_it(); }
        std::uint32_t length_;
    };
    awaiter operator co_await() const noexcept { return awaiter(core_, length_); }

private:
    core_use<Core> core_;
    std::uint32_t length_;
};

template <class T, class Core>
class [[nodiscard]] view_operation {
public:
    using view = record_view<T, Core>;
    explicit view_operation(Core& of) noexcept : core_(of) {}

    class awaiter final : public record_await<Core> {
    public:
        explicit awaiter(core_use<Core> of) noexcept : record_await<Core>(std::move(of)) {}
        bool await_ready() noexcept { return !this->core().crowded() && try_it(); }
        std::optional<view> await_resume() {
            if (this->got_.at != nullptr) [[likely]]
                return record_access::make<view>(&this->core(), this->got_);
            this->core().refuse("receive");
            return std::nullopt;
        }
        void await_describe(std::string& text) const {
            text.append("receive on ").append(Core::object);
        }

    private:
        bool try_it() noexcept { return this->core().take(this->got_); }
        bool serve() noexcept override { return try_it(); }
    };
    awaiter operator co_await() const noexcept { return awaiter(core_); }

private:
    core_use<Core> core_;
};

/// The ring that options ask for.
template <class T>
channel_shape shape_for(std::size_t capacity, std::size_t alignment, bool untrusted) {
    channel_shape shape;
    shape.type = signature_of<T>;
    shape.length = kind_of<T>.length;
    shape.untrusted = untrusted;
    constexpr std::size_t usual = std::size_t{1} << 20;
    if constexpr (of_bytes<T>) {
        shape.step = alignment <= 4096 ? static_cast<std::uint32_t>(alignment) : 0;
        shape.bytes = capacity != 0 ? capacity : usual;
    } else {
        shape.step = record_step<T>;
        constexpr std::size_t fitting = usual / sizeof(T);
        shape.records = capacity != 0 ? capacity : std::clamp<std::size_t>(fitting, 2, 256);
    }
    return shape;
}

}  // namespace detail
}  // namespace runnel::ipc

// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <exception>
#include <optional>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>

#include <runnel/awaiter.hpp>
#include <runnel/detail/await.hpp>
#include <runnel/detail/branch.hpp>
#include <runnel/outcome.hpp>
#include <runnel/task.hpp>

// What a combinator waits for. An operand stands in for the task that would otherwise await it.

namespace runnel::detail {

class operand_base;

/// Somebody who waits for several operands.
class combinator {
public:
    /// `which` has just completed or become cancelled. Called by the loop, and never from inside
    /// a call of the combinator's own.
    virtual void settled(operand_base& which) noexcept = 0;
    [[nodiscard]] virtual waiter upward() const noexcept = 0;
    /// Do its tasks run beside each other, so that each is a logical task of its own?
    [[nodiscard]] virtual bool side_by_side() const noexcept { return false; }

protected:
    ~combinator() = default;
};

class operand_base {
public:
    enum class status : unsigned char { idle, waiting, asked, done, cancelled };

    /// Takes it if it is there at once, without starting anything.
    virtual bool ready(combinator& up) noexcept = 0;
    /// Starts it; false when it was done before start returned.
    virtual bool start(combinator& up) noexcept = 0;
    /// Asks for cancellation: afterwards it is cancelled, or asked and settled() will follow, or
    /// done and settled() has been or will be called.
    virtual void request_stop() noexcept = 0;
    virtual void dump_part(dump_sink& sink) const = 0;

    [[nodiscard]] status state() const noexcept { return state_; }
    [[nodiscard]] bool done() const noexcept { return state_ == status::done; }
    [[nodiscard]] bool open() const noexcept {
        return state_ == status::waiting || state_ == status::asked;
    }

protected:
    operand_base() noexcept = default;
    operand_base(const operand_base&) = delete;
    operand_base& operator=(const operand_base&) = delete;
    ~operand_base() = default;
    combinator* up_ = nullptr;
    status state_ = status::idle;
};

void dump_operand(dump_sink& sink, const std::string& what);
void dump_operand(dump_sink& sink, const branch& of);

/// An operand that is an awaiter: no frame, no scope of its own.
template <class D>
class operand final : public operand_base, public await_point {
    using awaiter_type = held_awaiter<D>;
    using bare = std::remove_reference_t<awaiter_type>;

public:
    using value_type = decltype(std::declval<bare&>().await_resume());
    static constexpr bool is_atomic = atomic_awaitable<D>;

    explicit operand(std::remove_reference_t<D>& description)
        : inner_(detail::get_awaiter(static_cast<D&&>(description))) {}

    bool ready(combinator& up) noexcept override {
        up_ = &up;
        try {
            if (!inner_.await_ready()) return false;
        } catch (...) {
            error_ = std::current_exception();
        }
        state_ = status::done;
        return true;
    }
    bool start(combinator& up) noexcept override {
        up_ = &up;
        state_ = status::waiting;
        try {
            if constexpr (std::is_void_v<decltype(inner_.await_suspend(waiter(*this)))>) {
                inner_.await_suspend(waiter(*this));
                return true;
            } else if (inner_.await_suspend(waiter(*this))) {
                return true;
            }
        } catch (...) {
            error_ = std::current_exception();
        }
        state_ = status::done;
        return false;
    }
    void request_stop() noexcept override {
        if (state_ != status::waiting) return;
        switch (inner_.await_cancel()) {
            case cancellation::now: state_ = status::cancelled; break;
            case cancellation::later: state_ = status::asked; break;
            case cancellation::too_late: break;
        }
    }
    void dump_part(dump_sink& sink) const override {
        std::string text;
        if constexpr (describes_itself<bare>) inner_.await_describe(text);
        if (open()) dump_operand(sink, text);
        if constexpr (dumps_itself<bare>) inner_.await_dump(sink);
    }
    value_type take() {
        if (error_) std::rethrow_exception(error_);
        if constexpr (std::is_void_v<value_type>) {
            if (!early_) inner_.await_resume();
        } else {
            if (early_) return static_cast<value_type&&>(*early_);
            return inner_.await_resume();
        }
    }
    /// What it threw; it is done. An awaiter says so only by throwing from await_resume, so the
    /// value is taken now, and kept.
    std::exception_ptr error() noexcept {
        if (!error_ && !early_) {
            try {
                if constexpr (std::is_void_v<value_type>) {
                    inner_.await_resume();
                    early_ = true;
                } else {
                    early_.emplace(inner_.await_resume());
                }
            } catch (...) {
                error_ = std::current_exception();
            }
        }
        return error_;
    }

private:
    void run() noexcept override {
        const bool gone = state_ == status::asked && inner_.await_cancel() == cancellation::now;
        state_ = gone ? status::cancelled : status::done;
        up_->settled(*this);
    }
    branch& scope() const noexcept override { return up_->upward().scope(); }
    const frame_point* frame() const noexcept override { return up_->upward().frame(); }
    // Cancellation reaches an operand through its combinator only.
    cancellation cancel() noexcept override { return cancellation::too_late; }

    struct early_reference {  // for awaiters that give references
        std::remove_reference_t<value_type>* to = nullptr;
        explicit operator bool() const noexcept { return to != nullptr; }
        void emplace(value_type&& value) noexcept { to = &value; }
        std::remove_reference_t<value_type>& operator*() const noexcept { return *to; }
    };
    using early =
        std::conditional_t<std::is_void_v<value_type>, bool,
                           std::conditional_t<std::is_reference_v<value_type>, early_reference,
                                              std::optional<std::remove_reference_t<value_type>>>>;

    awaiter_type inner_;
    std::exception_ptr error_;
    early early_{};
};

/// An operand that is a task: a scope of cancellation of its own. When it has ended its frame is
/// destroyed, whatever the others do: its parameters may be what they wait for the end of.
template <class T>
class task_operand : public operand_base, public branch {
public:
    using value_type = T;
    static constexpr bool is_atomic = false;

    explicit task_operand(task<T>& work) : frame_(task_access::take(work)) {}
    ~task_operand() {
        if (frame_) frame_.destroy();
    }
    bool ready(combinator& up) noexcept override {
        up_ = &up;
        return false;
    }
    bool start(combinator& up) noexcept override {
        up_ = &up;
        state_ = status::waiting;
        bind(up.upward().scheduler());
        adopt(frame_.promise());
        branch::start();
        return true;
    }
    void request_stop() noexcept override {
        if (state_ != status::waiting) return;
        state_ = status::asked;
        branch::cancel();
    }
    void dump_part(dump_sink& sink) const override {
        if (open()) dump_operand(sink, *this);
    }
    T take() {
        if constexpr (std::is_void_v<T>)
            **end_;
        else
            return **std::move(end_);
    }
    /// What it threw; it is done.
    std::exception_ptr error() noexcept { return end_->error(); }

private:
    void ended(bool cancelled) noexcept override {
        if (!cancelled) keep_end();
        frame_ = {};
        state_ = cancelled ? status::cancelled : status::done;
        up_->settled(*this);
    }
    void keep_end() noexcept {
        if (std::exception_ptr error = frame_.promise().error()) {
            end_.emplace(std::move(error));
        } else {
            try {
                if constexpr (std::is_void_v<T>)
                    end_.emplace(std::in_place);
                else
                    end_.emplace(std::in_place, frame_.promise().take());
            } catch (...) {
                end_.emplace(std::current_exception());
            }
        }
        frame_.destroy();
    }
    branch& logical() noexcept override {
        return up_->side_by_side() ? *this : up_->upward().scope().logical();
    }
    std::coroutine_handle<promise<T>> frame_;
    std::optional<outcome<T>> end_;
};

template <class T>
class operand<task<T>> final : public task_operand<T> {
    using task_operand<T>::task_operand;
};
template <class T>
class operand<task<T>&> final : public task_operand<T> {
    using task_operand<T>::task_operand;
};

/// Takes the outcome of a settled operand.
template <class D>
outcome<typename operand<D>::value_type> take_outcome(operand<D>& from) noexcept {
    using value = typename operand<D>::value_type;
    if (!from.done()) return {};
    try {
        if constexpr (std::is_void_v<value>) {
            from.take();
            return outcome<void>(std::in_place);
        } else {
            return outcome<value>(std::in_place, from.take());
        }
    } catch (...) {
        return outcome<value>(std::current_exception());
    }
}

// What a combinator's description keeps: values are moved in, named things are referred to.
template <class A>
using described = std::conditional_t<std::is_lvalue_reference_v<A>, A, std::remove_cvref_t<A>>;

template <class D>
using await_value_t = typename operand<D>::value_type;

template <class A>
concept operable = is_task<std::remove_cvref_t<A>> || awaitable<A>;

/// Fails to compile, with advice, for what a combinator cannot take.
template <class... A>
constexpr bool explain_operands() {
    static_assert(((operable<A> || !foreign_awaitable<A>) && ...),
                  "this awaitable cannot be cancelled: pass uncancellable(std::move(it)), and "
                  "whoever cancels waits until it is done");
    static_cast<void>((explain_awaitable<A, operable<A> || foreign_awaitable<A>>() && ...));
    return (operable<A> && ...);
}
/// What is returned instead then, so that there is one error.
struct refused {
    bool await_ready() const;
    void await_suspend(waiter) const;
    void await_resume() const;
    cancellation await_cancel() const noexcept;
};

}  // namespace runnel::detail

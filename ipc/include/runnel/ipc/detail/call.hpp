// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/detail/child.hpp>
#include <runnel/task.hpp>

// A call that is made in another process: how its arguments get there and its result back.

namespace runnel::ipc::detail {

/// Where a child leaves its result.
class result_sink {
public:
    /// Sends the value that `encoded` holds; its handles are borrowed. Throws std::system_error.
    virtual void send_value(const encoder& encoded) = 0;

protected:
    ~result_sink() = default;
};

/// Reads the arguments, calls the function at `fn` with them and sends what it gives.
using child_body = task<> (*)(const void* fn, decoder& in, result_sink& out);

std::shared_ptr<child> start_child(std::string_view name, std::chrono::nanoseconds grace,
                                   const encoder& args, child_body body, const void* fn);

/// A function, or an object without state.
template <class F>
concept spawnable =
    (std::is_pointer_v<F> && std::is_function_v<std::remove_pointer_t<F>>) || std::is_class_v<F>;

template <class T>
struct task_value : std::type_identity<std::remove_cvref_t<T>> {};
template <class T>
struct task_value<task<T>> : std::type_identity<std::remove_cvref_t<T>> {};

// The parameters that F declares; those of a generic lambda are what it is called with.
template <class... P>
struct parameter_list {};
template <class F>
struct signature_of_call {};
template <class R, class... P>
struct signature_of_call<R (*)(P...)> : std::type_identity<parameter_list<P...>> {};
template <class R, class... P>
struct signature_of_call<R (*)(P...) noexcept> : std::type_identity<parameter_list<P...>> {};
template <class R, class C, class... P>
struct signature_of_call<R (C::*)(P...) const> : std::type_identity<parameter_list<P...>> {};
template <class R, class C, class... P>
struct signature_of_call<R (C::*)(P...) const noexcept> : std::type_identity<parameter_list<P...>> {
};
template <class R, class C, class... P>
struct signature_of_call<R (C::*)(P...)> : std::type_identity<parameter_list<P...>> {};

template <class F, class... Args>
struct parameters : std::type_identity<parameter_list<std::decay_t<Args>...>> {};
template <class F, class... Args>
    requires std::is_pointer_v<F>
struct parameters<F, Args...> : signature_of_call<F> {};
template <class F, class... Args>
    requires requires { &F::operator(); }
struct parameters<F, Args...> : signature_of_call<decltype(&F::operator())> {};

// An argument that has its parameter's type is encoded where it is; others are converted first.
template <class Value, class Arg>
using held_argument =
    std::conditional_t<std::is_same_v<Value, std::remove_cvref_t<Arg>>, const Value&, const Value>;

/// An argument given as an rvalue is gone from the parent, with the descriptors that it owned.
template <class Arg>
void drop_moved([[maybe_unused]] std::remove_reference_t<Arg>& arg) {
    if constexpr (!std::is_lvalue_reference_v<Arg> && !std::is_const_v<Arg> &&
                  !std::is_trivially_destructible_v<Arg>) {
        [[maybe_unused]] const Arg gone(std::move(arg));
    }
}

template <class F, class List, class... Args>
struct call_with;

template <class F, class... P, class... Args>
struct call_with<F, parameter_list<P...>, Args...> {
    static_assert(sizeof...(P) == sizeof...(Args), "spawn: one argument for each parameter of fn");
    using returned = std::invoke_result_t<F&, P...>;
    using result = typename task_value<returned>::type;
    using values = std::tuple<std::decay_t<P>...>;
    using held = std::tuple<held_argument<std::decay_t<P>, Args>...>;

    static constexpr void check() {
        static_assert(
            std::is_pointer_v<F> || std::is_empty_v<F>,
            "spawn: a lambda with captures cannot travel; pass what it needs as arguments");
        static_assert(((!std::is_lvalue_reference_v<Args> ||
                        std::is_constructible_v<std::decay_t<P>, Args>) &&
                       ...),
                      "spawn: a handle is moved in, std::move(h), or shared, h.share()");
        static_assert((!is_unowned<P> && ...),
                      "spawn: a view or pointer parameter has nothing to refer to in the child");
        if constexpr (!std::is_void_v<result>) static_assert(detail::explain<result>());
    }
    static void encode(encoder& out, const held& args) {
        std::apply([&]([[maybe_unused]] const std::decay_t<P>&... each) { (out.write(each), ...); },
                   args);
        out.check_limits();
    }

    static task<> run(const void* fn, decoder& in, result_sink& out) {
        values args{in.read<std::decay_t<P>>()...};
        in.finish();
        F function = *static_cast<const F*>(fn);
        encoder encoded;
        if constexpr (runnel::detail::is_task<returned>) {
            auto work = invoke(function, args, std::index_sequence_for<P...>());
            if constexpr (std::is_void_v<result>) {
                co_await std::move(work);
            } else {
                const result value = co_await std::move(work);
                ipc::encode(encoded, value);
                out.send_value(encoded);
                co_return;
            }
        } else if constexpr (std::is_void_v<result>) {
            invoke(function, args, std::index_sequence_for<P...>());
        } else {
            const result value = invoke(function, args, std::index_sequence_for<P...>());
            ipc::encode(encoded, value);
            out.send_value(encoded);
            co_return;
        }
        out.send_value(encoded);
    }

private:
    template <class T>
    static constexpr bool is_unowned = std::is_pointer_v<std::decay_t<T>>;
    template <std::size_t... I>
    static returned invoke(F& function, [[maybe_unused]] values& args, std::index_sequence<I...>) {
        return std::invoke(function, static_cast<P&&>(std::get<I>(args))...);
    }
};

template <class F, class... Args>
using call = call_with<F, typename parameters<F, Args...>::type, Args...>;

}  // namespace runnel::ipc::detail

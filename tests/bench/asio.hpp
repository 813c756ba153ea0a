// SPDX-License-Identifier: MIT

// Boost.Asio as a tuned user writes it: one thread told so, typed executors, coroutines. Works with
// Boost 1.74 and later.
#pragma once

#include <utility>  // Boost 1.74 uses std::exchange without it

#include <boost/asio.hpp>

#include "bench.hpp"

namespace asio = boost::asio;
using boost::system::error_code;
using executor = asio::io_context::executor_type;
template <class T = void>
using co = asio::awaitable<T, executor>;
using timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                         asio::wait_traits<std::chrono::steady_clock>, executor>;
using socket_stream = asio::basic_stream_socket<asio::local::stream_protocol, executor>;
using pipe_stream = asio::posix::basic_stream_descriptor<executor>;
constexpr asio::use_awaitable_t<executor> use{};

// For asio::co_spawn: an error ends the program.
inline void rethrow(std::exception_ptr e) {
    if (e) std::rethrow_exception(e);
}

// SPDX-License-Identifier: MIT
#include "dump.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

#include <runnel/detail/operand.hpp>
#include <runnel/loop.hpp>

#include "loop_core.hpp"

namespace runnel {
namespace detail {

std::string place(const std::source_location& where) {
    const char* file = where.file_name();
    if (const char* slash = std::strrchr(file, '/')) file = slash + 1;
    // Compilers append the parameters, and GCC the name of the frame's type.
    std::string function = where.function_name();
    for (const std::string_view nameless : {"{anonymous}::", "(anonymous namespace)::"})
        for (std::size_t at = 0; (at = function.find(nameless)) != std::string::npos;)
            function.erase(at, nameless.size());
    function.resize(std::min(function.size(), function.find('(')));
    if (const auto space = function.rfind(' '); space != std::string::npos)
        function.erase(0, space + 1);
    return std::string(file) + ':' + std::to_string(where.line()) + " in " + function;
}

void dump_operand(dump_sink& sink, const std::string& what) {
    const dump_sink::deeper nested(sink);
    sink.line("- " + (what.empty() ? std::string("an awaitable") : what));
}

void dump_operand(dump_sink& sink, const branch& of) { of.dump_tree(sink); }

void branch::dump_tree(dump_sink& sink) const {
    const dump_sink::deeper nested(sink);
    std::string head = "task";
    if (const task_identity* known = known_identity())
        head += ' ' + std::to_string(known->id) + (known->name.empty() ? "" : ' ' + known->name);
    if (cancel_requested()) head += " (cancelled)";
    const promise_base* at = root_;
    if (at == nullptr || at->awaiting == nullptr) {
        sink.line(head + ": ready to run");
        return;
    }
    sink.line(head);
    const dump_sink::deeper below(sink);
    while (at != nullptr) {
        if (at->awaiting == nullptr) {
            sink.line("ready to run");
            return;
        }
        const auto& point = static_cast<const frame_point&>(*at->awaiting);
        const promise_base* next = point.child();
        std::string text = "at " + place(point.where());
        if (next == nullptr) {
            std::string what;
            point.describe(what);
            text += ": waits for " + (what.empty() ? std::string("an awaitable") : what);
            text += ", " + std::to_string(sink.now_ms() - point.since()) + " ms";
        }
        sink.line(text);
        if (next == nullptr) point.dump(sink);
        at = next;
    }
}

}  // namespace detail

void loop::dump(std::ostream& out) const {
    const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
        core_->sched.now().time_since_epoch());
    detail::dump_sink sink(out, static_cast<std::uint32_t>(now.count()));
    const loop_stats now_stats = stats();
    sink.line("loop: " + std::to_string(now_stats.tasks) + " tasks, " +
              std::to_string(now_stats.timers) + " timers, " + std::to_string(now_stats.in_flight) +
              " requests in flight");
    core_->root.dump_children(sink);
    if (core_->reaper.size() != 0) sink.line("being reaped:");
    core_->reaper.dump_children(sink);
}

}  // namespace runnel

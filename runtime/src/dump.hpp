// SPDX-License-Identifier: MIT
#pragma once

#include <ostream>
#include <source_location>
#include <string>

#include <runnel/detail/branch.hpp>

namespace runnel::detail {

/// "file.cpp:12 in function".
std::string place(const std::source_location& where);

/// Writes a tree of tasks, indented.
class dump_sink {
public:
    dump_sink(std::ostream& out, std::uint32_t now_ms) noexcept : out_(out), now_ms_(now_ms) {}
    void line(const std::string& text) {
        for (int i = 0; i < depth_; ++i) out_ << "  ";
        out_ << text << '\n';
    }
    [[nodiscard]] std::uint32_t now_ms() const noexcept { return now_ms_; }

    class deeper {
    public:
        explicit deeper(dump_sink& sink) noexcept : sink_(sink) { ++sink_.depth_; }
        ~deeper() { --sink_.depth_; }

    private:
        dump_sink& sink_;
    };

private:
    std::ostream& out_;
    std::uint32_t now_ms_;
    int depth_ = 0;
};

}  // namespace runnel::detail

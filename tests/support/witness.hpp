// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <runnel/loop.hpp>

/// Notes its destruction: which locals went, in which order, how often.
struct witness {
    witness(std::string& log, char name) : log_(log), name_(name) {}
    witness(const witness&) = delete;
    witness& operator=(const witness&) = delete;
    ~witness() { log_ += name_; }

private:
    std::string& log_;
    char name_;
};

inline constexpr runnel::loop_options virtual_time{.virtual_time = true};

// SPDX-License-Identifier: MIT
#include <runnel/error.hpp>

#include <cstdlib>
#include <string>

namespace runnel {
namespace {

class category final : public std::error_category {
public:
    const char* name() const noexcept override { return "runnel"; }
    std::string message(int value) const override {
        switch (static_cast<errc>(value)) {
            case errc::protocol: return "malformed bytes from the peer";
            case errc::message_too_long: return "message longer than the receiver accepts";
            case errc::truncated: return "stream ended inside a message";
            case errc::closed: return "handle is closed";
            case errc::wrong_thread: return "loop used from a second thread";
        }
        return "unknown runnel error " + std::to_string(value);
    }
    std::error_condition default_error_condition(int value) const noexcept override {
        switch (static_cast<errc>(value)) {
            case errc::protocol: return std::make_error_condition(std::errc::protocol_error);
            case errc::message_too_long: return std::make_error_condition(std::errc::message_size);
            case errc::wrong_thread:
                return std::make_error_condition(std::errc::operation_not_permitted);
            default: return {value, *this};
        }
    }
};

}  // namespace

const std::error_category& error_category() noexcept {
    static const category instance;
    return instance;
}

void throw_error(std::error_code why, std::string_view operation, std::string_view object,
                 int object_number) {
    std::string text(operation);
    text.append(" on ").append(object);
    if (object_number >= 0) text.append(" ").append(std::to_string(object_number));
    throw std::system_error(why, text);
}

void throw_errno(int number, std::string_view operation, std::string_view object,
                 int object_number) {
    throw_error({std::abs(number), std::system_category()}, operation, object, object_number);
}

}  // namespace runnel

// SPDX-License-Identifier: MIT
#include <runnel/ipc/exit_status.hpp>

#include <cstring>

namespace runnel::ipc {

std::string to_string(const exit_status& status) {
    if (const auto code = status.code()) return "exited with code " + std::to_string(*code);
    if (const auto signal = status.signal()) {
        std::string text = "killed by signal " + std::to_string(*signal);
        if (const char* name = ::sigdescr_np(*signal)) text.append(" (").append(name).append(")");
        return text;
    }
    return "ended, its status is unknown";
}

}  // namespace runnel::ipc

// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace runnel::ipc::detail {

/// Who this process is among those that spawn each other: the one thing of ipc that belongs to the
/// process as a whole, like its id.
struct identity {
    std::string name = "MainProcess";
    std::string prefix = "Process-";  // of the names of its children
    unsigned children = 0;

    static identity& own() noexcept;
    /// The default name of the next child.
    std::string next_child();
    /// In a new child: `automatic` is what next_child gave in its parent.
    void become(const std::string& new_name, const std::string& automatic);
};

}  // namespace runnel::ipc::detail

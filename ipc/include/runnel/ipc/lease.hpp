// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <utility>

#include <runnel/ipc/detail/queue_core.hpp>

namespace runnel::ipc {

/// An item that is leased: delivered again, to somebody, if it is dropped before done(), or if this
/// process ends.
template <class T>
class [[nodiscard]] lease {
public:
    /// By get_leased and try_get_leased of a getter.
    lease(detail::lease_core known, T item) : known_(std::move(known)), item_(std::move(item)) {}
    /// The item, this process's copy of it.
    [[nodiscard]] T& operator*() noexcept { return item_; }
    [[nodiscard]] T* operator->() noexcept { return &item_; }
    [[nodiscard]] const T& operator*() const noexcept { return item_; }
    [[nodiscard]] const T* operator->() const noexcept { return &item_; }
    /// How often it has been delivered, this time included.
    [[nodiscard]] std::uint32_t deliveries() const noexcept { return known_.deliveries(); }
    /// The item is done with, and never delivered again; idempotent.
    void done() noexcept { known_.end(true); }
    /// The item goes back now; nothing happens after done().
    void give_back() noexcept { known_.end(false); }

private:
    detail::lease_core known_;
    T item_;
};

}  // namespace runnel::ipc

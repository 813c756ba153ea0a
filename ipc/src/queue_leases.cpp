// SPDX-License-Identifier: MIT
#include "queue_leases.hpp"

#include <utility>

#include <sys/mman.h>

namespace runnel::ipc::detail {
namespace {

constexpr std::size_t kept = 16384;  // bytes of a copy that stay for the next one

object_type type_of(std::size_t room) {
    return {.name = "queue", .kind = 0x7361656c, .body = queue_leases::most * room};
}
std::size_t room_for(std::size_t item) {
    constexpr std::size_t page = object_memory::page_size;
    return (item + page - 1) / page * page;
}

}  // namespace

void queue_leases::make(std::size_t item) {
    room_ = room_for(item);
    copies_ = object_memory(type_of(room_));
    copies_.publish();
}

void queue_leases::attach(unique_fd memory, std::size_t item) {
    room_ = room_for(item);
    copies_ = object_memory(std::move(memory), type_of(room_));
}

void queue_leases::end(std::size_t i) noexcept {
    at(i).word.store(0);
    if (at(i).length > kept) ::madvise(copy(i).data(), room_, MADV_REMOVE);
}

}  // namespace runnel::ipc::detail

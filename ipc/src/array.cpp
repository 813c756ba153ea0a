// SPDX-License-Identifier: MIT
#include <runnel/ipc/array.hpp>

#include <limits>
#include <stdexcept>
#include <string>

#include <runnel/error.hpp>
#include <runnel/ipc/detail/shared_object.hpp>

namespace runnel::ipc::detail {
namespace {

constexpr object_type array_type(std::uint64_t type, std::size_t bytes) noexcept {
    return {.name = "array", .kind = kind_array, .type = type, .body = bytes};
}
std::size_t bytes_of(std::size_t count, std::size_t each) {
    constexpr std::size_t most = std::numeric_limits<std::ptrdiff_t>::max() / 4;
    if (count > most / each) throw std::invalid_argument("ipc array: too many elements");
    return count * each;
}

}  // namespace

array_memory::array_memory(std::uint64_t type, std::size_t count, std::size_t each)
    : memory_(array_type(type, bytes_of(count, each))), count_(count) {
    stored_count() = count;
    memory_.publish();
}

array_memory::array_memory(std::uint64_t type, std::size_t each, decoder& in)
    : memory_(in.read_handle(), array_type(type, 0)),
      count_(stored_count().load()),
      lock_(codec<mutex>::decode(in)) {
    if (count_ > memory_.body_size() / each)
        throw_error(errc::protocol, "attach", "ipc array: it is smaller than it says");
}

void array_memory::write(encoder& out) const {
    out.write_handle(memory_.fd());
    codec<mutex>::encode(out, lock_);
}

std::atomic<std::uint64_t>& array_memory::stored_count() const noexcept {
    return *reinterpret_cast<std::atomic<std::uint64_t>*>(memory_.page(0) +
                                                          object_memory::header_size);
}

void array_memory::out_of_range(const char* operation, std::size_t i, std::size_t count) {
    throw std::out_of_range(std::string(operation) + " on ipc array: element " + std::to_string(i) +
                            " of " + std::to_string(count));
}

}  // namespace runnel::ipc::detail

// SPDX-License-Identifier: MIT
// Bytes and descriptors from a peer, decoded as values of many shapes. What can be decoded has to
// come out of its own encoding again.
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

#include <runnel/error.hpp>
#include <runnel/ipc.hpp>

#include "fuzz.hpp"

using namespace runnel;

namespace {

enum class colour : std::uint8_t { red, green, blue };

struct leaf {
    std::int32_t id = 0;
    std::string name;
    std::vector<double> samples;
    std::optional<bool> flag;
};
struct tree {
    leaf own;
    std::vector<tree> below;
};
struct mixed {
    std::variant<std::monostate, std::int64_t, std::string, std::vector<leaf>> what;
    std::map<std::string, std::vector<std::optional<std::uint16_t>>> table;
    std::array<colour, 3> colours{};
    std::chrono::nanoseconds when{};
};
struct files {
    std::string name;
    std::vector<unique_fd> all;
    std::optional<unique_fd> maybe;
};
struct ends {
    ipc::sender<int> out;
    ipc::receiver<std::string> in;
    std::vector<ipc::connection<leaf>> more;
};

}  // namespace

template <>
inline constexpr auto runnel::ipc::enum_range<colour> = std::pair(colour::red, colour::blue);

namespace {

template <class T>
void try_one(std::span<const std::byte> bytes, std::span<unique_fd> handles) {
    std::optional<T> value;
    try {
        value.emplace(ipc::decode<T>(bytes, handles));
    } catch (const std::system_error& e) {
        fuzz::require(e.code() == make_error_code(errc::protocol));
        return;
    }
    ipc::encoder once;
    ipc::encode(once, *value);
    if constexpr (!ipc::carries_handles<T>) {
        ipc::encoder twice;
        const T same = ipc::decode<T>(once.bytes());
        ipc::encode(twice, same);
        fuzz::require(once.bytes().size() == twice.bytes().size());
    }
}

using decoder = void (*)(std::span<const std::byte>, std::span<unique_fd>);
constexpr decoder all[] = {
    try_one<int>,
    try_one<std::string>,
    try_one<leaf>,
    try_one<tree>,
    try_one<mixed>,
    try_one<files>,
    try_one<ends>,
    try_one<ipc::mutex>,
    try_one<std::vector<std::vector<std::vector<std::string>>>>,
    try_one<std::map<int, std::set<std::u16string>>>,
    try_one<std::unordered_map<std::string, std::unordered_multiset<std::uint8_t>>>,
    try_one<std::tuple<bool, colour, std::byte, std::pair<float, std::list<bool>>>>,
    try_one<std::variant<std::deque<bool>, std::optional<std::optional<int>>, ipc::sender<tree>>>,
    try_one<std::vector<std::monostate>>,
    try_one<std::multimap<std::string, std::variant<int, leaf>>>,
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const auto bytes = std::as_bytes(std::span(data, size)).subspan(2);
    std::vector<unique_fd> handles = fuzz::descriptors(data[1]);
    all[data[0] % std::size(all)](bytes, handles);
    return 0;
}

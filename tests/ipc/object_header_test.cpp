// SPDX-License-Identifier: MIT
// What the memory of a shared object says it is: each part of its header is looked at when the
// object arrives, and the refusal says which part was wrong.
#include <runnel/ipc/detail/object_memory.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <runnel/ipc.hpp>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

/// Of a header: where it is, and what is said when it is another.
struct part {
    ::off_t at;
    std::string_view refused;
};
constexpr std::array parts{part{0, "holds no object"},         part{4, "holds no object"},
                           part{8, "made by another version"}, part{12, "another kind of object"},
                           part{16, "made for another type"},  part{20, "made for another type"},
                           part{24, "another size"},           part{32, "another kind of object"},
                           part{36, "made by another version"}};

/// What is said of a handle that arrives; empty if it is taken.
template <class Handle>
std::string refusal(const ipc::encoder& sent) {
    std::vector<unique_fd> handles;
    for (const int fd : sent.handles())
        handles.emplace_back(fd < 0 ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    try {
        static_cast<void>(ipc::decode<Handle>(sent.bytes(), handles));
    } catch (const std::system_error& error) {
        CHECK(error.code() == errc::protocol);
        return error.what();
    }
    return {};
}

/// Changes each part of the header in the memory that is the `which`th descriptor of the handle.
template <class Handle>
void looks_at_all(std::string_view name, const Handle& handle, std::size_t which = 0) {
    ipc::encoder sent;
    ipc::encode(sent, handle);
    const int memory = sent.handles()[which];
    for (const part& one : parts) {
        INFO(name << ", at " << one.at);
        std::uint32_t right = 0;
        REQUIRE(::pread(memory, &right, sizeof right, one.at) == sizeof right);
        const std::uint32_t wrong = right ^ 0x1000;
        REQUIRE(::pwrite(memory, &wrong, sizeof wrong, one.at) == sizeof wrong);
        const std::string text = refusal<Handle>(sent);
        CHECK(text.find("ipc " + std::string(name) + ": ") != std::string::npos);
        CHECK(text.find(one.refused) != std::string::npos);
        REQUIRE(::pwrite(memory, &right, sizeof right, one.at) == sizeof right);
    }
    CHECK(refusal<Handle>(sent).empty());
}

}  // namespace

TEST_CASE("a shared object is refused by its magic number, version, kind, type and size") {
    const support::no_leaks leaks;
    const auto words = ipc::queue<std::uint64_t>();
    looks_at_all("queue", words.putter);
    looks_at_all("queue", words.getter);
    const auto leased = ipc::queue<std::string>({.max_bytes = 1 << 16, .lease = true});
    looks_at_all("queue", leased.getter);
    looks_at_all("queue", leased.getter, 1);  // the memory of what is leased
    looks_at_all("value", ipc::value<int>(1));
    looks_at_all("value", ipc::value<std::array<std::uint64_t, 9>>());
    looks_at_all("event", ipc::event());
    looks_at_all("semaphore", ipc::semaphore(1));
    looks_at_all("barrier", ipc::barrier(2));
    looks_at_all("condition", ipc::condition());
    looks_at_all("array", ipc::array<int>(3));
    looks_at_all("list", ipc::list({1, "two"}));
}

TEST_CASE("a shared object is not taken for one of another class") {
    const auto arrives_as_condition = [](const auto& handle) {
        ipc::encoder sent;
        ipc::encode(sent, handle);
        return refusal<ipc::condition>(sent);
    };
    CHECK(arrives_as_condition(ipc::condition()).empty());
    CHECK(arrives_as_condition(ipc::event()).find("another kind of object") != std::string::npos);
    CHECK(arrives_as_condition(ipc::value<int>(1)).find("another kind of object") !=
          std::string::npos);
}

// SPDX-License-Identifier: MIT
#include <runnel/ipc/shared_memory.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string_view>

#include <sys/mman.h>
#include <sys/stat.h>

#include "tools.hpp"

using namespace runnel;
using namespace runnel::test;
using namespace std::chrono_literals;

namespace {

std::string_view text(const ipc::shared_memory& m, std::size_t n) {
    return {reinterpret_cast<const char*>(m.view().data()), n};
}
void write(const ipc::shared_memory& m, std::string_view what) {
    std::memcpy(m.bytes().data(), what.data(), what.size());
}
std::error_code os_error(int number) { return {number, std::system_category()}; }

/// A name of this test and process.
std::string a_name() {
    static int count = 0;
    return "runnel-test-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
}
bool there(const std::string& name) { return std::filesystem::exists("/dev/shm/" + name); }

}  // namespace

TEST_CASE("shared memory without a name is zero, and the same for all handles and processes") {
    both_ways([]() -> task<> {
        const ipc::shared_memory m(5000);
        CHECK(m.size() == 5000);
        CHECK(std::all_of(m.view().begin(), m.view().end(),
                          [](std::byte b) { return b == std::byte{0}; }));
        auto child = ipc::spawn(
            [](ipc::shared_memory its) -> task<ipc::shared_memory> {
                write(its, "there");
                co_return its;
            },
            m.share());
        const ipc::shared_memory back = co_await child.join();
        CHECK(text(m, 5) == "there");
        write(back, "where");
        CHECK(text(m, 5) == "where");
        CHECK(back.size() == 5000);
        CHECK(m.name().empty());
    });
}

TEST_CASE("shared memory grows and shrinks") {
    const support::no_leaks leaks;
    ipc::shared_memory m(100);
    write(m, "kept");
    ipc::shared_memory other = m.share();
    m.resize(100000);
    CHECK(m.size() == 100000);
    CHECK(text(m, 4) == "kept");
    CHECK(m.view()[99999] == std::byte{0});
    CHECK(other.size() == 100);
    CHECK(other.refresh() == 100000);
    m.bytes()[99999] = std::byte{7};
    CHECK(other.view()[99999] == std::byte{7});
    m.resize(10);
    CHECK(other.refresh() == 10);
    CHECK_THROWS_AS(m.resize(0), std::invalid_argument);
    m.fix_size();
    CHECK(code_of([&] { m.resize(20); }) == os_error(EPERM));
    CHECK(text(m, 4) == "kept");
}

TEST_CASE("frozen shared memory is only read, by everybody") {
    const support::no_leaks leaks;
    ipc::shared_memory m(10);
    write(m, "final");
    {
        const ipc::shared_memory other = m.share();
        CHECK(code_of([&] { m.freeze(); }) == os_error(EBUSY));
        CHECK(!m.frozen());
        write(m, "Final");
    }
    m.freeze();
    CHECK(m.frozen());
    CHECK(text(m, 5) == "Final");
    CHECK(code_of([&] { (void)m.bytes(); }) == os_error(EPERM));
    CHECK(code_of([&] { m.resize(20); }) == os_error(EPERM));
    const ipc::shared_memory other = m.share();
    CHECK(other.frozen());
    CHECK(text(other, 5) == "Final");
    ipc::encoder out;
    ipc::encode(out, m);
    std::vector<unique_fd> handles;
    handles.emplace_back(::fcntl(out.handles()[0], F_DUPFD_CLOEXEC, 3));
    const auto came = ipc::decode<ipc::shared_memory>(out.bytes(), handles);
    CHECK(came.frozen());
    CHECK(text(came, 5) == "Final");
}

TEST_CASE("named shared memory is made, opened and unlinked") {
    const support::no_leaks leaks;
    const std::string name = a_name();
    {
        const auto made = ipc::shared_memory::create_named(name, 100);
        CHECK(made.size() == 100);
        CHECK(made.name() == name);
        struct ::stat file{};
        CHECK(::stat(("/dev/shm/" + name).c_str(), &file) == 0);
        CHECK((file.st_mode & 0777) == 0600);
        CHECK(file.st_size == 100);
        write(made, "named");
        const auto opened = ipc::shared_memory::open_named("/" + name);
        CHECK(opened.size() == 100);
        CHECK(text(opened, 5) == "named");
        CHECK(code_of([&] { (void)ipc::shared_memory::create_named(name, 1); }) ==
              os_error(EEXIST));
        const auto passed = opened.share();
        CHECK(passed.name() == name);
    }
    CHECK(!there(name));
    CHECK(code_of([&] { (void)ipc::shared_memory::open_named(name); }) == os_error(ENOENT));
    {
        auto made = ipc::shared_memory::create_named(name, 1, ipc::shared_name::keep);
        auto moved = std::move(made);
    }
    CHECK(there(name));
    ipc::shared_memory::unlink(name);
    CHECK(code_of([&] { ipc::shared_memory::unlink(name); }) == os_error(ENOENT));
    const auto first = ipc::shared_memory::create_named("", 10);
    const auto second = ipc::shared_memory::create_named("", 10);
    CHECK(first.name() != second.name());
    CHECK(there(first.name()));
}

TEST_CASE("what is no size and no name for shared memory") {
    const support::no_leaks leaks;
    using memory = ipc::shared_memory;
    CHECK_THROWS_AS(memory(0), std::invalid_argument);
    CHECK_THROWS_AS(memory(static_cast<std::size_t>(-1)), std::invalid_argument);
    CHECK_THROWS_AS(memory::create_named("runnel-none", 0), std::invalid_argument);
    CHECK_THROWS_AS(memory::create_named(std::string_view("a\0b", 3), 1), std::invalid_argument);
    CHECK_THROWS_AS(memory::open_named(std::string_view("a\0b", 3)), std::invalid_argument);
    CHECK_THROWS_AS(memory::open_named("a/b"), std::invalid_argument);
    CHECK_THROWS_AS(memory::open_named(""), std::invalid_argument);
    memory m(1);
    const memory other = std::move(m);
    CHECK_THROWS_AS(m.bytes(), std::invalid_argument);  // NOLINT: what is tested
    CHECK_THROWS_AS(m.share(), std::invalid_argument);  // NOLINT
    // What comes from elsewhere and is no memory.
    signal_pipe ends;
    ipc::encoder out;
    out.write_handle(ends.hear.get());
    std::vector<unique_fd> handles;
    handles.push_back(ends.hear.duplicate());
    CHECK(code_of([&] { (void)ipc::decode<memory>(out.bytes(), handles); }) == errc::protocol);
}

TEST_CASE("shared memory without a name is gone with the process that was killed") {
    both_ways([]() -> task<> {
        signal_pipe up;
        auto child = ipc::spawn(
            [](unique_fd say) -> task<> {
                const ipc::shared_memory m(1 << 20);
                write(m, "mine");
                tell(say);
                co_await sleep_for(1h);
            },
            std::move(up.say));
        bool is_up = co_await told(up.hear);
        CHECK(is_up);
        child.kill();
        co_await child.wait();
    });
}

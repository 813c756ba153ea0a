// SPDX-License-Identifier: MIT
#include "support/hostile.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ostream>
#include <span>
#include <system_error>

#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <runnel/error.hpp>
#include <runnel/with_timeout.hpp>

#include "support/environment.hpp"
#include "support/forked.hpp"
#include "support/kill_storm.hpp"

namespace runnel::test {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

std::vector<std::span<unsigned char>> writable(const std::vector<int>& memories) {
    std::vector<std::span<unsigned char>> all;
    for (const int fd : memories) {
        struct ::stat about{};
        if (::fstat(fd, &about) != 0 || !S_ISREG(about.st_mode) || about.st_size <= 0) continue;
        const auto size = static_cast<std::size_t>(about.st_size);
        void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at != MAP_FAILED) all.push_back({static_cast<unsigned char*>(at), size});
    }
    return all;
}

void scribble(const std::vector<int>& memories, std::uint64_t seed, clock::time_point until) {
    const auto all = writable(memories);
    std::mt19937_64 random(seed);
    while (!all.empty() && clock::now() < until) {
        // In bursts, so that the others get somewhere in between.
        for (std::uint64_t n = random() % 32; n > 0; --n) {
            const auto memory = all[random() % all.size()];
            const std::size_t width =
                std::min<std::size_t>(std::size_t{1} << random() % 4, memory.size());
            // The beginning is where the headers are.
            const std::size_t reach =
                random() % 2 != 0 ? memory.size() : std::min<std::size_t>(memory.size(), 256);
            const std::size_t at = random() % (reach / width) * width;
            std::uint64_t value = 0;
            std::memcpy(&value, memory.data() + at, width);
            switch (random() % 6) {
                case 0: value = random(); break;
                case 1: value = 0; break;
                case 2: value = ~std::uint64_t{0}; break;
                case 3: value += random() % 9 - 4; break;
                case 4: value ^= std::uint64_t{1} << random() % 64; break;
                default: value = random() % (2 * memory.size()); break;
            }
            std::memcpy(memory.data() + at, &value, width);
        }
        ::sched_yield();
    }
}

struct counters {
    std::uint64_t done, late, refused, protocol, otherwise;
    char first[200];
};

task<> use(const hostile_object& object, clock::time_point until, counters& count) {
    while (clock::now() < until) {
        try {
            const bool in_time = co_await with_timeout(object.operation(), 10ms);
            ++(in_time ? count.done : count.late);
        } catch (const std::system_error& e) {
            // Who can write everything may shut down, too, and name another pid namespace.
            if (e.code() == make_error_code(errc::protocol)) ++count.protocol;
            if (e.code() == make_error_code(errc::protocol) ||
                e.code() == make_error_code(errc::closed) ||
                e.code() == std::errc::operation_not_supported)
                ++count.refused;
            else if (count.otherwise++ == 0)
                std::snprintf(count.first, sizeof count.first, "%s", e.what());
        } catch (const std::exception& e) {
            if (count.otherwise++ == 0)
                std::snprintf(count.first, sizeof count.first, "%s", e.what());
        }
    }
}

}  // namespace

scribbler::scribbler(std::vector<int> memories, std::uint64_t seed,
                     std::chrono::milliseconds budget)
    : child_(forked([&] {
          scribble(memories, seed, clock::now() + budget);
          return 0;
      })) {}
scribbler::~scribbler() {
    ::kill(child_, SIGKILL);
    reaped(child_);
}

std::string forger::forged(std::string_view right) {
    std::string bytes(right);
    for (std::uint64_t n = 1 + random_() % 4; n > 0; --n) {
        const std::size_t at = bytes.empty() ? 0 : random_() % bytes.size();
        switch (random_() % 6) {
            case 0: bytes.resize(at); break;
            case 1: bytes.append(random_() % 64, static_cast<char>(random_())); break;
            case 2: bytes.insert(at, 1, static_cast<char>(random_())); break;
            case 3:
                if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ 1 << random_() % 8);
                break;
            case 4:  // in a header, where it does most
                if (!bytes.empty()) bytes[at % 24 % bytes.size()] = static_cast<char>(random_());
                break;
            default:
                if (!bytes.empty()) bytes[at] = static_cast<char>(random_());
                break;
        }
    }
    return bytes;
}

hostile_report scribbled(const std::function<hostile_object()>& make, std::uint64_t seed) {
    constexpr std::chrono::milliseconds each = 120ms;
    const std::uint64_t rounds = number_from_env("RUNNEL_ROUNDS", 3);
    hostile_report report;
    for (std::uint64_t round = 0; round < rounds; ++round) {
        const shared_memory_block memory(sizeof(counters));
        auto* count = memory.as<counters>();
        const hostile_object object = make();
        const auto until = clock::now() + each;
        const ::pid_t victim = forked_task("victim", [&] { return use(object, until, *count); });
        const scribbler hostile(object.descriptors, seed + round, each + 2s);
        int status = 0;
        const auto patience = until + 5s;
        while (::waitpid(victim, &status, WNOHANG) == 0) {
            if (clock::now() > patience) {
                ++report.stuck;
                ::kill(victim, SIGKILL);
                ::waitpid(victim, &status, 0);
                status = 0;
                break;
            }
            ::usleep(500);
        }
        if (status != 0) ++report.crashed;
        ++report.rounds;
        report.done += count->done;
        report.late += count->late;
        report.refused += count->refused;
        report.protocol += count->protocol;
        report.otherwise += count->otherwise;
        if (report.first.empty()) report.first = count->first;
    }
    return report;
}

std::ostream& operator<<(std::ostream& out, const hostile_report& r) {
    out << r.rounds << " rounds, " << r.done << " operations done, " << r.late << " given up, "
        << r.refused << " refused, " << r.protocol << " of them as nonsense, " << r.otherwise
        << " otherwise; " << r.crashed << " crashed, " << r.stuck << " stuck";
    if (!r.first.empty()) out << "; " << r.first;
    return out;
}

}  // namespace runnel::test

// SPDX-License-Identifier: MIT
#include "support/kill_storm.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <numeric>
#include <ostream>
#include <random>
#include <system_error>
#include <utility>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/environment.hpp"
#include "support/forked.hpp"

namespace runnel::test {

using clock = std::chrono::steady_clock;

shared_memory_block::shared_memory_block(std::size_t size)
    : at_(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
      size_(size) {
    if (at_ == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
}
shared_memory_block::~shared_memory_block() { ::munmap(at_, size_); }

item_log::item_log(std::uint64_t capacity)
    : capacity_(capacity),
      memory_(sizeof(head) + capacity * sizeof(item)),
      head_(memory_.as<head>()),
      items_(reinterpret_cast<item*>(head_ + 1)) {}

std::uint64_t item_log::begin_put() noexcept {
    const std::uint64_t number = head_->next.fetch_add(1);
    if (number >= capacity_) {
        head_->next.store(capacity_);
        return capacity_;
    }
    items_[number].begun.store(1);
    return number;
}
void item_log::put(std::uint64_t number) noexcept { items_[number].put.store(1); }
void item_log::got(std::uint64_t number) noexcept {
    if (number >= capacity_ || items_[number].begun.load() == 0)
        corrupt();
    else
        items_[number].got.fetch_add(1);
}
void item_log::corrupt() noexcept { head_->corrupt.fetch_add(1); }

item_log::sums item_log::count() const {
    sums all;
    for (std::uint64_t i = 0; i < capacity_ && i < head_->next.load(); ++i) {
        const item& one = items_[i];
        all.begun += one.begun;
        all.put += one.put;
        all.got += one.got != 0 ? 1 : 0;
        all.twice += one.got > 1 ? 1 : 0;
        all.lost += one.put != 0 && one.got == 0 ? 1 : 0;
    }
    all.corrupt = head_->corrupt;
    return all;
}

std::uint64_t storm_result::kills_of(unsigned first, unsigned count) const {
    return std::accumulate(kills.begin() + first, kills.begin() + first + count, std::uint64_t{0});
}

std::ostream& operator<<(std::ostream& out, const storm_result& result) {
    return out << result.all << " kills" << (result.enough ? "" : ", too few,") << " in "
               << result.took.count() << " ms, " << result.failed << " workers failed, "
               << result.hung << " hung";
}

storm_kills::storm_kills()
    : wanted(number_from_env("RUNNEL_KILLS", sanitized ? 50 : 150)),
      least(std::getenv("RUNNEL_KILLS") != nullptr ? wanted : wanted / 10) {}

kill_storm::kill_storm(const storm_options& options, work worker)
    : options_(options),
      work_(std::move(worker)),
      memory_(sizeof(std::atomic<bool>)),
      stop_(memory_.as<std::atomic<bool>>()),
      workers_(options.workers, 0),
      begun_(clock::now()) {
    result_.kills.resize(options.workers);
    for (unsigned i = 0; i < options_.workers; ++i) start(i);
}

kill_storm::~kill_storm() {
    for (const ::pid_t pid : workers_) {
        if (pid <= 0) continue;
        ::kill(pid, SIGKILL);
        reaped(pid);
    }
}

bool kill_storm::stopping() const noexcept { return stop_->load(std::memory_order_relaxed); }

void kill_storm::start(unsigned slot) {
    workers_[slot] = forked_task("worker", [&] { return work_(*this, slot); });
}

/// Reaps a worker.
void kill_storm::end_of(unsigned slot, bool killed) {
    const int status = reaped(std::exchange(workers_[slot], 0));
    if (killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
        ++result_.kills[slot];
        ++result_.all;
    } else if (status != 0) {
        ++result_.failed;
    }
}

void kill_storm::rage() {
    std::mt19937_64 random(options_.seed);
    const auto mean = static_cast<double>(options_.mean_gap.count());
    std::exponential_distribution<double> gap(1.0 / mean);
    for (const storm_kills& kills = options_.kills; result_.all < kills.wanted;) {
        const auto took = clock::now() - begun_;
        if (took > (result_.all < kills.least ? 10 * options_.budget : options_.budget)) break;
        // Mostly short gaps, so that workers are killed while they begin as well.
        ::usleep(static_cast<::useconds_t>(std::min(gap(random), 10 * mean)));
        const auto slot = static_cast<unsigned>(random() % options_.workers);
        ::kill(workers_[slot], SIGKILL);
        end_of(slot, true);
        start(slot);
    }
}

storm_result kill_storm::calm() {
    stop_->store(true);
    const auto until = clock::now() + options_.calm;
    for (unsigned slot = 0; slot < options_.workers; ++slot) {
        ::siginfo_t info{};
        for (;;) {
            info.si_pid = 0;
            ::waitid(P_PID, static_cast<::id_t>(workers_[slot]), &info,
                     WEXITED | WNOHANG | WNOWAIT);
            if (info.si_pid != 0 || clock::now() > until) break;
            ::usleep(500);
        }
        if (info.si_pid == 0) {
            ++result_.hung;
            ::kill(workers_[slot], SIGKILL);
        }
        end_of(slot, false);
    }
    result_.enough = result_.all >= options_.kills.least;
    result_.took = std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - begun_);
    return result_;
}

}  // namespace runnel::test

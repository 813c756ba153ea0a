// SPDX-License-Identifier: MIT
// Four processes throw dice: each throw is counted in a shared histogram, and a shared counter
// tells the parent how far they are.
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include <runnel/ipc.hpp>

using namespace runnel;

constexpr int throws_each = 25'000;
constexpr int workers = 4;

void throw_dice(unsigned seed, ipc::array<std::uint64_t> bins, ipc::value<int> done) {
    std::mt19937 dice(seed);
    for (int i = 0; i < throws_each; ++i) {
        bins.fetch_add(dice() % 6 + dice() % 6, 1);  // no lock: one atomic instruction
        if (i % 1000 == 999) done.fetch_add(1000);
    }
}

int main() {
    return run([]() -> task<int> {
        const ipc::array<std::uint64_t> bins(11);  // all zero
        const ipc::value<int> done(0);
        std::vector<ipc::process<>> all;
        for (unsigned i = 0; i < workers; ++i)
            all.push_back(ipc::spawn(throw_dice, i + 1, bins.share(), done.share()));

        constexpr int half = workers * throws_each / 2;
        co_await done.until([](int n) { return n >= half; });
        std::printf("half of it is done\n");
        for (auto& one : all) co_await one.join();
        std::printf("%d throws\n", done.load());

        auto held = co_await bins.lock();  // all of them, while it is held
        std::uint64_t sum = 0;
        for (const std::uint64_t n : held) sum += n;
        std::printf("%llu counted\n", static_cast<unsigned long long>(sum));
        for (std::size_t i = 0; i < held.size(); ++i)
            std::printf("%2zu %s\n", i + 2, std::string(held[i] / 1000, '*').c_str());
        co_return 0;
    });
}

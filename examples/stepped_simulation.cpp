// SPDX-License-Identifier: MIT
// Heat spreads along a rod that four processes share. In each step every process computes its part
// from what all have computed before; a barrier keeps them in step.
#include <cstddef>
#include <cstdio>
#include <vector>

#include <runnel/ipc.hpp>

using namespace runnel;

constexpr std::size_t cells = 40;
constexpr unsigned parts = 4;
constexpr int steps = 200;

/// One of two rods is read, and the other one written; they change places with each step.
task<> simulate(unsigned part, ipc::array<double> even, ipc::array<double> odd, ipc::barrier step,
                ipc::value<int> steps_done) {
    const std::size_t first = part * cells / parts;
    const std::size_t last = (part + 1) * cells / parts;
    for (int i = 0; i < steps; ++i) {
        const auto& from = i % 2 == 0 ? even : odd;
        const auto& to = i % 2 == 0 ? odd : even;
        for (std::size_t x = first; x < last; ++x) {
            const double left = from.load(x == 0 ? 0 : x - 1);
            const double right = from.load(x + 1 == cells ? x : x + 1);
            to.store(x, from.load(x) + 0.25 * (left - 2 * from.load(x) + right));
        }
        // Throws if one of the others has died: nobody computes with what it has left behind.
        const auto place = co_await step.arrive_and_wait();
        if (place == 0) steps_done.fetch_add(1);  // one of them does what is to be done once
    }
}

int main() {
    return run([]() -> task<int> {
        const ipc::array<double> even(cells);
        const ipc::array<double> odd(cells);
        even.store(cells / 2, 100.0);
        const ipc::barrier step(parts);
        const ipc::value<int> steps_done(0);
        std::vector<ipc::process<>> all;
        for (unsigned i = 0; i < parts; ++i)
            all.push_back(ipc::spawn(simulate, i, even.share(), odd.share(), step.share(),
                                     steps_done.share()));
        for (auto& one : all) co_await one.join();

        double sum = 0;
        for (std::size_t x = 0; x < cells; ++x) sum += even.load(x);
        std::printf("%d steps, heat %.3f\n", steps_done.load(), sum);
        for (std::size_t x = 0; x < cells; x += 4) std::printf("%2zu %6.3f\n", x, even.load(x));
        co_return 0;
    });
}

// SPDX-License-Identifier: MIT
// A camera process draws frames straight into shared memory, and a viewer looks at them there: no
// frame is ever copied, and the camera waits when the viewer is three frames behind.
#include <cstdint>
#include <cstdio>
#include <utility>

#include <runnel/ipc.hpp>

using namespace runnel;

struct frame {
    std::uint32_t number;
    std::uint8_t pixels[360][640];
};

task<> camera(ipc::channel_writer<frame> out) {
    for (std::uint32_t n = 0; n < 100; ++n) {
        auto next = co_await out.loan();
        next->number = n;
        for (int y = 0; y < 360; ++y)
            for (int x = 0; x < 640; ++x) next->pixels[y][x] = std::uint8_t(x + y + int(n));
        next.publish();
    }
}

std::uint64_t brightness(const frame& f) {
    std::uint64_t sum = 0;
    for (const auto& row : f.pixels)
        for (const std::uint8_t pixel : row) sum += pixel;
    return sum;
}

int main() {
    return run([]() -> task<int> {
        auto ends = ipc::channel<frame>({.capacity = 3});
        auto child = ipc::spawn(camera, std::move(ends.writer));
        std::uint32_t seen = 0;
        while (auto f = co_await ends.reader.receive()) {  // empty once the camera is gone
            if ((*f)->number != seen++) co_return 1;
            if (seen % 25 == 0)
                std::printf("frame %u: brightness %llu\n", (*f)->number,
                            static_cast<unsigned long long>(brightness(**f)));
        }
        co_await child.join();
        std::printf("%u frames, none copied\n", seen);
        co_return 0;
    });
}

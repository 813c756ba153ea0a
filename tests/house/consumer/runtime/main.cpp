// SPDX-License-Identifier: MIT
#include <runnel/runnel.hpp>

using namespace runnel;
using namespace std::chrono_literals;

int main() {
    return run([]() -> task<int> {
        auto ends = make_pipe();
        co_await ends.writer.write_all("42\n");
        const auto line = co_await with_timeout(ends.reader.read_until('\n'), 1h);
        co_return line && *line == "42" ? 0 : 1;
    });
}

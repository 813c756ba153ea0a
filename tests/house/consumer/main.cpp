// SPDX-License-Identifier: MIT
#include <runnel/error.hpp>
#if __has_include(<runnel/runnel.hpp>) && __has_include(<runnel/ipc.hpp>)
#include <runnel/ipc.hpp>
#include <runnel/runnel.hpp>

runnel::task<int> answer() { co_return 42; }

int main() {
    return runnel::run([]() -> runnel::task<int> { co_return co_await answer() - 42; });
}
#else
int main() { return runnel::make_error_code(runnel::errc::closed).message().empty(); }
#endif

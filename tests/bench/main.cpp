// SPDX-License-Identifier: MIT

// The main of every C++ benchmark program; bench.hpp says how it is called.
#include "bench.hpp"

int main(int argc, char** argv) {
    if (argc == 2 && !std::strcmp(argv[1], "--list")) {
        for (auto* j = bench::job::first(); j; j = j->next)
            std::printf("%s %s\n", j->name, j->impl);
        return 0;
    }
    if (argc < 3) {
        std::fprintf(stderr, "usage: %s --list | JOB IMPL [key=value ...]\n", argv[0]);
        return 1;
    }
    bench::limit_lifetime();
    signal(SIGPIPE, SIG_IGN);
    for (auto* j = bench::job::first(); j; j = j->next) {
        if (std::strcmp(j->name, argv[1]) || std::strcmp(j->impl, argv[2])) continue;
        j->run(bench::options(argc - 3, argv + 3));
        return 0;
    }
    std::fprintf(stderr, "%s: no job %s of %s here\n", argv[0], argv[1], argv[2]);
    return 1;
}

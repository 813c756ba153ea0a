// SPDX-License-Identifier: MIT
// After every test the machine is as it was before: no descriptor, no child, and no name in /dev/shm
// is left behind. Part of every test program.
#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>
using listener = Catch::EventListenerBase;
#else
#define CATCH_CONFIG_EXTERNAL_INTERFACES
#include <catch2/catch.hpp>
using listener = Catch::TestEventListenerBase;
#endif

#include <cstdio>
#include <cstdlib>

#include <sys/prctl.h>
#include <unistd.h>

#include "../leaks.hpp"

namespace {

struct untouched : listener {
    using listener::listener;
    void testRunStarting(const Catch::TestRunInfo&) override {
        // Orphans become children of this process, and are seen.
        ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    }
    void testCaseStarting(const Catch::TestCaseInfo&) override {
        process_ = ::getpid();
        before_ = support::holdings::now();
    }
    void testCaseEnded(const Catch::TestCaseStats&) override {
        if (::getpid() != process_) return;  // Catch2 in a forked child that a signal kills
        const auto after = support::holdings::now();
        check("descriptors", before_.descriptors, after.descriptors);
        check("children", before_.children, after.children);
        check("names in /dev/shm", 0, before_.names_left().size());
    }

private:
    static void check(const char* what, std::size_t before, std::size_t after) {
        if (after <= before) return;
        std::fprintf(stderr, "the test has left something behind: %zu %s, %zu before it\n", after,
                     what, before);
        std::exit(70);
    }
    ::pid_t process_ = 0;
    support::holdings before_;
};

CATCH_REGISTER_LISTENER(untouched)

}  // namespace

// SPDX-License-Identifier: MIT

// What every benchmark program shares: how it is started, how it measures, how it prints.
//
// A program holds the jobs of one implementation (bench_raw, bench_runnel, bench_asio, ...). A job
// is added by one source file with a `static bench::job`; main.cpp finds it. The programs of other
// languages have the same face:
//
//   PROGRAM --list                     a line `JOB IMPL` for each job it has
//   PROGRAM JOB IMPL [key=value ...]   runs one job once: a line `METRIC VALUE` for each result,
//                                      or `skip WHY` when it has nothing for this case
//
// Metrics that end in `_per_s` are better when larger, all others when smaller. The keys are the
// labels of the case (`cpu=same link=pipe`) and `seconds`, the time to measure for.
//
// cpu=two: the starter allows two cpus; the measuring process takes the first, its child the
// second. All other placement is done by the starter, so that no implementation can place itself
// better than another.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bench {

[[noreturn]] inline void die(const char* what) {
    std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
    _exit(2);
}

inline std::uint64_t now_ns() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return std::uint64_t(t.tv_sec) * 1000000000u + std::uint64_t(t.tv_nsec);
}

class options {
public:
    options(int count, char** words) : count_(count), words_(words) {}

    const char* text(const char* key, const char* otherwise = "") const {
        std::size_t n = std::strlen(key);
        for (int i = 0; i < count_; ++i)
            if (!std::strncmp(words_[i], key, n) && words_[i][n] == '=') return words_[i] + n + 1;
        return otherwise;
    }
    bool is(const char* key, const char* value) const { return !std::strcmp(text(key), value); }
    long number(const char* key, long otherwise) const {
        const char* t = text(key);
        return *t ? std::atol(t) : otherwise;
    }
    double seconds() const { return std::atof(text("seconds", "0.15")); }

private:
    int count_;
    char** words_;
};

// A job of this program; objects of static storage put themselves into a list.
struct job {
    using function = void (*)(const options&);
    job(const char* name_, const char* impl_, function run_)
        : name(name_), impl(impl_), run(run_), next(first()) {
        first() = this;
    }
    static job*& first() {
        static job* head = nullptr;
        return head;
    }
    const char* name;
    const char* impl;
    function run;
    job* next;
};

inline void report(const char* metric, double value) {
    std::printf("%s %.6g\n", metric, value);
    std::fflush(stdout);
}

[[noreturn]] inline void skip(const char* why) {
    std::printf("skip %s\n", why);
    std::fflush(stdout);
    _exit(0);
}

// Measures in slices and takes their median, so that a preemption spoils one slice and not the
// result:
//     bench::meter m(opt);
//     while (m.more(1000)) for (int i = 0; i < 1000; ++i) operation();
//     bench::report("ns_per_operation", m.median_ns());
// The first slice warms up and is dropped. Ends after the time asked for, but not before three
// slices.
class meter {
public:
    explicit meter(const options& opt) : budget_(std::uint64_t(opt.seconds() * 1e9)) {}

    bool more(std::uint64_t operations) {
        std::uint64_t t = now_ns();
        if (!begin_)
            begin_ = t;
        else if (!warm_)
            warm_ = true;
        else
            slices_[count_++] = double(t - slice_) / double(operations);
        if (count_ == capacity || (count_ >= 3 && t - begin_ > budget_)) return false;
        slice_ = now_ns();
        return true;
    }
    double median_ns() {
        std::nth_element(slices_, slices_ + count_ / 2, slices_ + count_);
        return slices_[count_ / 2];
    }

private:
    static constexpr unsigned capacity = 2048;
    std::uint64_t budget_, begin_ = 0, slice_ = 0;
    bool warm_ = false;
    unsigned count_ = 0;
    double slices_[capacity];
};

inline long resident_bytes() {
    long all = 0, resident = 0;
    std::FILE* f = std::fopen("/proc/self/statm", "r");
    if (!f || std::fscanf(f, "%ld %ld", &all, &resident) != 2) die("/proc/self/statm");
    std::fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
}

// ---- two processes

// A program that hangs is a failure, not a stuck machine.
inline void limit_lifetime() { alarm(30); }

// The cpus this process was started with: placing it narrows its own, and not what its next child
// may use.
inline const cpu_set_t& starting_cpus() {
    static const cpu_set_t cpus = [] {
        cpu_set_t set;
        if (sched_getaffinity(0, sizeof set, &set)) die("sched_getaffinity");
        return set;
    }();
    return cpus;
}

inline void place(const options& opt, int role) {
    if (!opt.is("cpu", "two")) return;
    for (int cpu = 0, nth = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &starting_cpus()) || nth++ != role) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (sched_setaffinity(0, sizeof one, &one)) die("sched_setaffinity");
        return;
    }
    die("cpu=two needs two cpus");
}

// A forked process that runs `body` and exits; it dies with its parent. wait() must find it ended
// well.
class child {
public:
    template <class Body>
    child(const options& opt, Body body) {
        starting_cpus();
        pid_t parent = getpid();
        pid_ = fork();
        if (pid_ < 0) die("fork");
        if (pid_ == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent) _exit(3);
            limit_lifetime();
            place(opt, 1);
            body();
            _exit(0);
        }
        place(opt, 0);
    }
    child(const child&) = delete;
    child& operator=(const child&) = delete;

    void wait() {
        int status = 0;
        if (waitpid(pid_, &status, 0) != pid_) die("waitpid");
        if (status) {
            std::fprintf(stderr, "child ended with status %#x\n", unsigned(status));
            _exit(2);
        }
    }

private:
    pid_t pid_;
};

// Where one process reads and writes; the same descriptor twice for a socket.
struct ends {
    int in = -1, out = -1;
    void close() {
        ::close(in);
        if (out != in) ::close(out);
    }
};

// link=pipe: two pipes. link=socket: a socket pair of the given type. [0] is the parent's, [1] the
// child's.
struct link {
    ends side[2];

    static link open(const options& opt, int type = SOCK_STREAM) {
        return opt.is("link", "pipe") ? pipes() : sockets(type);
    }
    static link pipes() {
        int there[2], back[2];
        if (pipe(there) || pipe(back)) die("pipe");
        link made;
        made.side[0] = {back[0], there[1]};
        made.side[1] = {there[0], back[1]};
        return made;
    }
    static link sockets(int type) {
        int pair[2];
        if (socketpair(AF_UNIX, type, 0, pair)) die("socketpair");
        link made;
        made.side[0] = {pair[0], pair[0]};
        made.side[1] = {pair[1], pair[1]};
        return made;
    }
    // Each process keeps one side: the other's copy would hide the end of stream.
    ends keep(int role) {
        side[1 - role].close();
        return side[role];
    }
};

// Messages of one slice of a one-way stream, then one answer: enough that the answer's wake-up does
// not count.
inline int one_way_count(long size) { return size <= 1024 ? 20000 : size <= 65536 ? 1000 : 60; }

}  // namespace bench

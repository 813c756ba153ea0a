// SPDX-License-Identifier: MIT
#include "child_main.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <exception>
#include <iostream>
#include <memory>
#include <typeinfo>
#include <utility>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <runnel/as_result.hpp>
#include <runnel/fork.hpp>
#include <runnel/io.hpp>
#include <runnel/ipc/codec.hpp>
#include <runnel/race.hpp>
#include <runnel/run.hpp>

#include "control.hpp"
#include "identity.hpp"

namespace runnel::ipc::detail {
namespace {

void reset_signals() noexcept {
    for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
    ::signal(SIGINT, SIG_IGN);
    ::sigset_t none;
    ::sigemptyset(&none);
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

/// The numbers of all open descriptors.
std::vector<int> open_numbers() {
    std::vector<int> all;
    if (::DIR* listing = ::opendir("/proc/self/fd")) {
        while (const ::dirent* entry = ::readdir(listing)) {
            int number = -1;
            const char* name = entry->d_name;
            std::from_chars(name, name + std::strlen(name), number);
            if (number >= 0 && number != ::dirfd(listing)) all.push_back(number);
        }
        ::closedir(listing);
        return all;
    }
    ::rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const int end = static_cast<int>(std::min<::rlim_t>(limit.rlim_cur, 1 << 20));
    for (int number = 0; number < end; ++number)
        if (::fcntl(number, F_GETFD) >= 0) all.push_back(number);
    return all;
}

/// Leaves nothing of the parent's open but the descriptors that are the child's, and no number free
/// that something in the child's copy of memory still refers to.
void close_the_parents(const child_start& start) {
    for (const unique_fd& each : start.room) ::close(each.get());
    std::vector<int> kept{start.control.get(), start.filler};
    for (const unique_fd& each : start.handles) kept.push_back(each.get());
    std::ranges::sort(kept);
    for (const int number : open_numbers()) {
        if (std::ranges::binary_search(kept, number)) continue;
        // 0, 1 and 2 stay, unless the host had closed them and something else is there: whatever
        // closes on exec is not a standard stream.
        if (number <= 2 && (::fcntl(number, F_GETFD) & FD_CLOEXEC) == 0) continue;
        // Numbers beyond a limit that was lowered since cannot be occupied, nor given out again.
        if (::dup3(start.filler, number, O_CLOEXEC) < 0) ::close(number);
    }
}

void flush_streams() noexcept {
    try {
        std::cout.flush();
        std::clog.flush();
        std::wcout.flush();
        std::wclog.flush();
    } catch (...) {  // if the host has asked streams to throw
    }
    std::fflush(nullptr);
}

[[noreturn]] void leave(int code) noexcept {
    flush_streams();
    ::_exit(code);
}

/// What the child tells its parent, once.
class reporter final : public result_sink {
public:
    explicit reporter(int socket) noexcept : socket_(socket) {}
    void send_value(const encoder& encoded) override {
        send(child_report::kind::value, encoded);
        code_ = 0;
    }
    /// The exception that is being handled.
    void send_error() noexcept {
        std::pair<std::string, std::string> told;
        try {
            told.first = type_of_current();
            try {
                throw;
            } catch (const std::exception& e) {
                told.second = e.what();
            } catch (...) {
            }
            encoder encoded;
            ipc::encode(encoded, told);
            send(child_report::kind::error, encoded);
        } catch (...) {  // the parent is gone, or learns from the status that something was wrong
        }
    }
    void send_stopped() noexcept {
        try {
            send(child_report::kind::stopped, encoder());
        } catch (...) {
        }
        code_ = 0;
    }
    [[nodiscard]] int code() const noexcept { return code_; }

private:
    void send(child_report::kind what, const encoder& encoded) {
        control::send(socket_, what, encoded.bytes(), encoded.handles());
    }
    static std::string type_of_current() {
        const std::type_info* type = abi::__cxa_current_exception_type();
        if (type == nullptr) return "an exception of another language";
        const std::unique_ptr<char, void (*)(void*)> readable(
            abi::__cxa_demangle(type->name(), nullptr, nullptr, nullptr), std::free);
        return readable ? readable.get() : type->name();
    }

    int socket_;
    int code_ = 1;
};

task<> guarded(const child_start& start, decoder& in, reporter& out) {
    try {
        co_await start.body(start.fn, in, out);
    } catch (...) {
        out.send_error();
    }
}

/// The function, until it ends, the parent asks to stop, or the parent is gone.
task<> supervised(const child_start& start, decoder& in, reporter& out) {
    auto watched = as_result(io::poll(start.control.get(), POLLIN));
    auto ends = co_await race(guarded(start, in, out), watched);
    if (!std::get<0>(ends)) out.send_stopped();
}

}  // namespace

void child_main(child_start& start) noexcept {
    reporter out(start.control.get());
    try {
        reset_after_fork();
        reset_signals();
        // exit() in the child runs this first, and nothing of what the parent has registered.
        ::on_exit([](int code, void*) { leave(code); }, nullptr);
        close_the_parents(start);
        identity::own().become(start.name, start.automatic_name);
        decoder in(start.args.bytes(), start.handles);
        run(supervised(start, in, out));
    } catch (...) {
        out.send_error();
    }
    leave(out.code());
}

}  // namespace runnel::ipc::detail

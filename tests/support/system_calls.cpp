// SPDX-License-Identifier: MIT
#include "support/system_calls.hpp"

#include <cerrno>
#include <cstdarg>
#include <cstdint>

#include <dlfcn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace support {

void (*on_system_call)(const system_call&) = nullptr;

namespace {

template <class F>
F next_of(const char* name) {
    return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

template <class F>
long told(system_call call, F make) {
    if (on_system_call == nullptr) return make();
    on_system_call(call);
    call.result = make();
    const int error = errno;
    if (on_system_call != nullptr) on_system_call(call);
    errno = error;
    return *call.result;
}

}  // namespace
}  // namespace support

// It reads six arguments where there may be fewer, as the kernel does.
extern "C" [[gnu::no_sanitize_address]] long syscall(long number, ...) noexcept {
    static const auto next = support::next_of<long (*)(long, ...)>("syscall");
    std::array<long, 6> a{};
    std::va_list list;
    va_start(list, number);
    for (long& each : a) each = va_arg(list, long);
    va_end(list);
    return support::told({number, a, {}},
                         [&] { return next(number, a[0], a[1], a[2], a[3], a[4], a[5]); });
}

extern "C" ::ssize_t recv(int fd, void* into, std::size_t size, int flags) {
    static const auto next = support::next_of<::ssize_t (*)(int, void*, std::size_t, int)>("recv");
    return support::told(
        {SYS_recvfrom,
         {fd, reinterpret_cast<std::intptr_t>(into), static_cast<long>(size), flags},
         {}},
        [&] { return next(fd, into, size, flags); });
}

extern "C" ::ssize_t read(int fd, void* into, std::size_t size) {
    static const auto next = support::next_of<::ssize_t (*)(int, void*, std::size_t)>("read");
    return support::told(
        {SYS_read, {fd, reinterpret_cast<std::intptr_t>(into), static_cast<long>(size)}, {}},
        [&] { return next(fd, into, size); });
}

extern "C" ::ssize_t write(int fd, const void* from, std::size_t size) {
    static const auto next =
        support::next_of<::ssize_t (*)(int, const void*, std::size_t)>("write");
    return support::told(
        {SYS_write, {fd, reinterpret_cast<std::intptr_t>(from), static_cast<long>(size)}, {}},
        [&] { return next(fd, from, size); });
}

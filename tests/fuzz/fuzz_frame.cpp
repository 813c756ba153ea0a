// SPDX-License-Identifier: MIT
// Datagrams that a peer has made by hand, received as messages: a pipe gives values, or an error,
// and what comes after an error does no harm either. The input is a type, and datagrams with a
// length (two bytes) and a choice of descriptors (one) before each.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <runnel/error.hpp>
#include <runnel/ipc.hpp>
#include <runnel/runnel.hpp>

#include "fuzz.hpp"

using namespace runnel;

namespace {

struct parcel {
    std::string label;
    std::vector<unique_fd> files;
};

void post(int fd, std::span<const std::uint8_t> bytes, const std::vector<unique_fd>& handles) {
    ::iovec part{const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
    ::msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(::cmsghdr) std::array<unsigned char, CMSG_SPACE(3 * sizeof(int))> control{};
    if (!handles.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(handles.size() * sizeof(int));
        ::cmsghdr* head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(handles.size() * sizeof(int));
        for (std::size_t i = 0; i < handles.size(); ++i) {
            const int number = handles[i].get();
            std::copy_n(reinterpret_cast<const unsigned char*>(&number), sizeof number,
                        CMSG_DATA(head) + i * sizeof number);
        }
    }
    ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

template <class T>
task<> receive_all(ipc::connection<T>& from) {
    for (int errors = 0; errors < 4;) {
        std::optional<T> got;
        try {
            got = co_await from.recv();
            if (!got) break;
        } catch (const std::system_error& e) {
            const bool known = e.code() == make_error_code(errc::protocol) ||
                               e.code() == make_error_code(errc::message_too_long) ||
                               e.code() == make_error_code(errc::closed);
            fuzz::require(known);
            fuzz::require(e.code() != make_error_code(errc::protocol) || from.closed());
            ++errors;
        }
    }
}

template <class T>
void try_one(std::span<const std::uint8_t> input) {
    static loop home;  // a ring for each input would be most of the work
    auto [raw, end] = ipc::pipe<T>({.max_message = 4096});
    for (int i = 0; i < 8 && input.size() >= 3; ++i) {
        const std::size_t length =
            std::min<std::size_t>(input[0] | input[1] << 8, input.size() - 3);
        post(raw.native_handle(), input.subspan(3, length), fuzz::descriptors(input[2]));
        input = input.subspan(3 + length);
    }
    raw.close();
    home.start(receive_all<T>, std::ref(end));
    home.run();
}

using receiver = void (*)(std::span<const std::uint8_t>);
constexpr receiver all[] = {
    try_one<int>,
    try_one<std::string>,
    try_one<parcel>,
    try_one<ipc::sender<int>>,
    try_one<std::array<std::uint64_t, 200>>,
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) return 0;
    all[data[0] % std::size(all)](std::span(data, size).subspan(1));
    return 0;
}

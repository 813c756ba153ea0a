// SPDX-License-Identifier: MIT
#include "buffers.hpp"

#include <cstring>

namespace runnel::ipc::detail {
namespace {

// Several are in use at a time only if several messages are under way. Room for large bodies is
// kept once, and what the largest needed is not.
constexpr std::size_t kept = 8;
constexpr std::size_t largest_kept = std::size_t{8} << 20;

std::size_t extra_of(const outgoing& buffer) noexcept { return buffer.body.capacity(); }
std::size_t extra_of(const incoming& buffer) noexcept { return buffer.capacity; }

template <class Buffer>
struct cache {
    std::array<std::unique_ptr<Buffer>, kept> free;
    std::size_t count = 0;
    ~cache() { gone = true; }
    static thread_local bool gone;  // buffers can come back while the thread ends
};
template <class Buffer>
thread_local bool cache<Buffer>::gone = false;
template <class Buffer>
thread_local cache<Buffer> buffers;

template <class Buffer>
std::unique_ptr<Buffer, give_back> take() {
    if (!cache<Buffer>::gone) {
        cache<Buffer>& from = buffers<Buffer>;
        if (from.count != 0)
            return std::unique_ptr<Buffer, give_back>(from.free[--from.count].release());
    }
    return std::unique_ptr<Buffer, give_back>(new Buffer);
}

template <class Buffer>
void keep(Buffer* used) noexcept {
    used->reset();
    std::unique_ptr<Buffer> back(used);
    if (cache<Buffer>::gone) return;
    cache<Buffer>& to = buffers<Buffer>;
    const std::size_t most = to.count == 0 ? largest_kept : 4 * largest_datagram_body;
    if (to.count != kept && extra_of(*back) <= most) to.free[to.count++] = std::move(back);
}

}  // namespace

std::unique_ptr<outgoing, give_back> take_outgoing() { return take<outgoing>(); }
std::unique_ptr<incoming, give_back> take_incoming() { return take<incoming>(); }

void give_back::operator()(outgoing* used) const noexcept { keep(used); }
void give_back::operator()(incoming* used) const noexcept { keep(used); }

std::span<std::byte> incoming::room(std::size_t n) {
    if (capacity < n) {
        capacity = 0;
        whole.reset();
        whole = std::make_unique_for_overwrite<std::byte[]>(n);
        capacity = n;
    }
    return {whole.get(), n};
}

void control_block::put(::msghdr& message, std::span<const int> numbers, int last) noexcept {
    const std::size_t count = numbers.size() + (last >= 0 ? 1 : 0);
    if (count == 0) return;
    message.msg_control = bytes.data();
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    ::cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(count * sizeof(int));
    unsigned char* to = CMSG_DATA(head);
    if (!numbers.empty()) std::memcpy(to, numbers.data(), numbers.size_bytes());
    if (last >= 0) std::memcpy(to + numbers.size_bytes(), &last, sizeof(int));
}

void control_block::collect(::msghdr& message, std::vector<unique_fd>& into) noexcept {
    for (::cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr;
         head = CMSG_NXTHDR(&message, head)) {
        constexpr int of_the_sender = 4;  // SCM_PIDFD, which old headers lack
        if (head->cmsg_level != SOL_SOCKET) continue;
        if (head->cmsg_type != SCM_RIGHTS && head->cmsg_type != of_the_sender) continue;
        const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i != count; ++i) {
            int number = -1;
            std::memcpy(&number, CMSG_DATA(head) + i * sizeof(int), sizeof(int));
            unique_fd owned(number < 0 ? -1 : number);
            if (head->cmsg_type == SCM_RIGHTS) into.push_back(std::move(owned));
        }
    }
}

}  // namespace runnel::ipc::detail

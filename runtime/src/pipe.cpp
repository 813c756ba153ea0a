// SPDX-License-Identifier: MIT
#include <runnel/pipe.hpp>

#include <cerrno>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <runnel/error.hpp>

namespace runnel {

pipe_ends make_pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) throw_errno(errno, "open", "pipe");
    return {byte_reader(unique_fd(ends[0]), "pipe"), byte_writer(unique_fd(ends[1]), "pipe")};
}

std::pair<byte_stream, byte_stream> make_socket_pair() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        throw_errno(errno, "open", "socket pair");
    return {byte_stream(unique_fd(ends[0]), "socket"), byte_stream(unique_fd(ends[1]), "socket")};
}

}  // namespace runnel

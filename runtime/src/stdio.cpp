// SPDX-License-Identifier: MIT
#include <runnel/stdio.hpp>

#include <unistd.h>

namespace runnel {

byte_reader standard_input() {
    return byte_reader(byte_reader::borrowed_t{}, STDIN_FILENO, "standard input");
}
byte_writer standard_output() {
    return byte_writer(byte_writer::borrowed_t{}, STDOUT_FILENO, "standard output");
}
byte_writer standard_error() {
    return byte_writer(byte_writer::borrowed_t{}, STDERR_FILENO, "standard error");
}

}  // namespace runnel

// SPDX-License-Identifier: MIT
// A channel or a broadcast, used while what each side writes is overwritten: the other side gives
// records or errors. The input is which of them, and then steps: one byte each, and what it needs.
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <runnel/ipc/broadcast.hpp>
#include <runnel/ipc/channel.hpp>
#include <runnel/runnel.hpp>

#include "fuzz.hpp"

using namespace runnel;

namespace {

struct frame {
    std::array<std::uint64_t, 5> words{};
};

/// Reads all of a record, as a user would.
template <class View>
std::uint64_t look_at(const View& view) {
    std::uint64_t sum = 0;
    for (const std::byte each : std::as_bytes(view.span())) sum += std::to_integer<unsigned>(each);
    return sum;
}

template <class T, class Ends>
class session {
public:
    session(fuzz::script& input, Ends ends)
        : input_(input),
          ends_(std::move(ends)),
          of_writer_(ends_.writer),
          of_reader_(ends_.reader) {}
    void step() {
        switch (input_.byte() % 12) {
            case 0:
            case 1: of_writer_.change(input_); break;
            case 2: of_reader_.change(input_); break;
            case 3:
            case 4: fuzz::attempt([this] { write(); }); break;
            case 5:
            case 6: fuzz::attempt([this] { read(); }); break;
            case 7: views_.clear(); break;
            case 8:
                if (!views_.empty()) views_.erase(views_.begin());
                break;
            case 9: fuzz::attempt([this] { static_cast<void>(ends_.reader.ended()); }); break;
            case 10: fuzz::attempt([this] { travel(); }); break;
            default: fuzz::attempt([this] { share(); }); break;
        }
    }

private:
    using reader = decltype(Ends::reader);
    using view = typename decltype(std::declval<reader&>().try_receive())::value_type;

    void write() {
        if constexpr (std::is_same_v<T, std::byte>) {
            const std::size_t size = input_.number(2) % (ends_.writer.max_record() + 1);
            auto loan = ends_.writer.try_loan(size);
            if (!loan) return;
            if (size != 0) loan->data()[size - 1] = std::byte{1};
            loan->publish(size - size / 3);
        } else {
            auto loan = ends_.writer.try_loan();
            if (!loan) return;
            (*loan)->words[2] = 7;
            if (input_.byte() % 4 == 0)
                loan->stage();
            else
                loan->publish();
        }
    }
    void read() {
        auto got = ends_.reader.try_receive();
        if (!got) return;
        static_cast<void>(look_at(*got));
        if (views_.size() < 3) views_.push_back(std::move(*got));
    }
    /// The side that comes is made of what is in memory.
    void travel() {
        if (input_.byte() % 2 == 0) {
            ends_.writer = fuzz::arrived(ends_.writer);
        } else {
            views_.clear();
            ends_.reader = fuzz::arrived(ends_.reader);
        }
    }
    void share() {
        if constexpr (requires { ends_.reader.share(); }) {
            auto other = ends_.reader.share();
            auto got = other.try_receive();
            if (got) static_cast<void>(look_at(*got));
        }
    }

    fuzz::script& input_;
    Ends ends_;
    fuzz::written_memory of_writer_;
    fuzz::written_memory of_reader_;
    std::vector<view> views_;
};

template <class T, class Ends>
void try_one(fuzz::script& input, Ends ends) {
    session<T, Ends> its(input, std::move(ends));
    for (int i = 0; i < 200 && !input.over(); ++i) its.step();
}

template <class T>
void try_all(fuzz::script& input, unsigned which) {
    using enum ipc::when_behind;
    constexpr std::size_t capacity = std::is_same_v<T, std::byte> ? 4096 : 16;
    switch (which % 3) {
        case 0: return try_one<T>(input, ipc::channel<T>({.capacity = capacity}));
        case 1: return try_one<T>(input, ipc::broadcast<T>({.capacity = capacity, .readers = 3}));
        default:
            return try_one<T>(
                input,
                ipc::broadcast<T>({.capacity = capacity, .policy = overwrite, .readers = 3}));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) return 0;
    fuzz::script input(std::span(data, size).subspan(1));
    if (data[0] % 2 == 0)
        try_all<std::byte>(input, data[0] / 2);
    else
        try_all<frame>(input, data[0] / 2);
    return 0;
}

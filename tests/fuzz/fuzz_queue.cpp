// SPDX-License-Identifier: MIT
// A queue, used while its memory is overwritten: it gives items or errors. The input is which
// queue, and then steps: one byte each, and what it needs.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <runnel/ipc/queue.hpp>
#include <runnel/runnel.hpp>

#include "fuzz.hpp"

using namespace runnel;

namespace {

constexpr std::size_t lock_in_page = 4096 - 16;

template <class T>
struct items;
template <>
struct items<std::uint64_t> {
    static std::uint64_t make(fuzz::script& input) { return input.byte(); }
};
template <>
struct items<std::string> {
    static std::string make(fuzz::script& input) { return std::string(input.number(2), 'x'); }
};

template <class T>
class session {
public:
    session(fuzz::script& input, bool leased)
        : input_(input),
          leased_(leased),
          ends_(ipc::queue<T>({.max_items = 8, .max_bytes = 1 << 16, .lease = leased})),
          memory_(ends_.putter) {
        again();
    }
    void step() {
        switch (input_.byte() % 12) {
            case 0:
            case 1:
            case 2: memory_.change(input_, lock_in_page); break;
            case 3:
            case 4: {
                const T item = items<T>::make(input_);
                fuzz::attempt([&] { static_cast<void>(out_.try_put(item)); });
                break;
            }
            case 5: fuzz::attempt([&] { static_cast<void>(in_.try_get()); }); break;
            case 6:
                if (leased_)
                    lease();
                else
                    fuzz::attempt([&] { in_.task_done(); });
                break;
            case 7: fuzz::attempt([&] { in_.task_done(); }); break;
            case 8: fuzz::attempt([&] { static_cast<void>(in_.size() + in_.full()); }); break;
            case 9: held_.reset(); break;
            case 10:
                if (input_.byte() % 4 == 0) fuzz::attempt([&] { out_.shutdown(ipc::immediate); });
                break;
            default: fuzz::attempt([&] { again(); }); break;
        }
    }

private:
    void again() {
        out_ = fuzz::arrived(ends_.putter);
        in_ = fuzz::arrived(ends_.getter);
    }
    void lease() {
        static loop home;  // a ring for each input would be most of the work
        fuzz::attempt([this] {
            home.start(
                [](session& its) -> task<> {
                    try {
                        auto got =
                            co_await with_timeout(its.in_.get_leased(), std::chrono::seconds(0));
                        if (!got || !*got) co_return;
                        if (its.input_.byte() % 2 == 0)
                            (*got)->give_back();
                        else
                            its.held_ = std::move(*got);
                    } catch (...) {
                        its.thrown_ = std::current_exception();
                    }
                },
                std::ref(*this));
            home.run();
            if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
        });
    }

    fuzz::script& input_;
    const bool leased_;
    ipc::queue_ends<T> ends_;
    fuzz::written_memory memory_;
    ipc::putter<T> out_;
    ipc::getter<T> in_;
    std::optional<ipc::lease<T>> held_;
    std::exception_ptr thrown_;
};

template <class T>
void try_one(fuzz::script& input, bool leased) {
    session<T> its(input, leased);
    for (int i = 0; i < 200 && !input.over(); ++i) its.step();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) return 0;
    fuzz::script input(std::span(data, size).subspan(1));
    if (data[0] % 2 == 0)
        try_one<std::uint64_t>(input, data[0] / 2 % 2 != 0);
    else
        try_one<std::string>(input, data[0] / 2 % 2 != 0);
    return 0;
}

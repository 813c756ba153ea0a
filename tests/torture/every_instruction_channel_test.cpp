// SPDX-License-Identifier: MIT
// A process is killed after each instruction of what it does with a channel or a broadcast.
#include <array>
#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>

#include <runnel/ipc/broadcast.hpp>
#include <runnel/ipc/channel.hpp>
#include <runnel/runnel.hpp>

#include "support/arrived.hpp"
#include "support/catch.hpp"
#include "torture/step_tools.hpp"

using namespace runnel;
using namespace runnel::test;

namespace {

/// A record that tells whether it is whole.
struct frame {
    std::array<std::uint64_t, 64> copies{};
    void fill(std::uint64_t number) { copies.fill(number); }
    [[nodiscard]] int number() const {
        for (const std::uint64_t each : copies) expect(each == copies[0], "half a record");
        return static_cast<int>(copies[0]);
    }
};

auto made(ipc::channel_ends<frame>*, std::size_t capacity) {
    return ipc::channel<frame>({.capacity = capacity});
}
auto made(ipc::broadcast_ends<frame>*, std::size_t capacity) {
    return ipc::broadcast<frame>({.capacity = capacity});
}

/// Ends is that of a channel or of a broadcast.
template <class Ends, bool Futex>
class with_records : public watched_scenario {
protected:
    explicit with_records(std::size_t capacity = 4)
        : ends_(made(static_cast<Ends*>(nullptr), capacity)) {}

    template <class Writer>
    static task<> publish(Writer& writer, std::uint64_t number) {
        auto one = co_await writer.loan();
        one->fill(number);
        one.publish();
    }
    /// The number of the next record; 9 is the end.
    template <class Reader>
    static task<int> next(Reader& reader) {
        auto view = co_await reader.receive();
        co_return view ? (**view).number() : 9;
    }

private:
    with_futex<Futex> first_;

protected:
    Ends ends_;
};

/// The victim publishes 1 and 2; it is the only writer.
template <class Ends, bool Staged, bool Watched, bool Futex>
class record_publish : public with_records<Ends, Futex> {
public:
    task<> victim() override {
        auto mine = arrived(this->ends_.writer);
        this->ends_.reader.close();
        begin_step_window();
        auto one = co_await mine.loan();
        one->fill(1);
        Staged ? one.stage() : one.publish();
        auto two = co_await mine.loan();
        two->fill(2);
        two.publish();
        end_step_window();
    }
    bool has_bystander() const override { return Watched; }
    task<> bystander() override {
        this->ends_.writer.close();
        const int one = co_await this->next(this->ends_.reader);
        if (one == 9) {
            this->say(9);
            co_return;
        }
        expect(one == 1, "a record that was not published");
        const int two = co_await this->next(this->ends_.reader);
        expect(two == 2 || two == 9, "a record that was not published");
        this->say(two == 2 ? 2 : 1);
    }
    void killed(step_point) override { this->ends_.writer.close(); }
    task<std::string> survivor(step_point at) override {
        if (!Watched) co_await bystander();
        const int said = this->said();
        expect(!at.completed || said == 2, "a record is lost that was published");
        expect(!Staged || said != 1, "what was staged has come by itself");
        co_return said == 9 ? "none" : said == 1 ? "one" : "both";
    }
};

/// There are 1 and 2, and no room for more. The victim looks at 1 and gives it back; a bystander
/// waits for room, for 3.
template <class Ends, bool Watched, bool Futex>
class record_receive : public with_records<Ends, Futex> {
public:
    record_receive() : with_records<Ends, Futex>(2) {
        run([this]() -> task<> {
            co_await this->publish(this->ends_.writer, 1);
            co_await this->publish(this->ends_.writer, 2);
        });
    }
    task<> victim() override {
        auto mine = arrived(this->ends_.reader);
        begin_step_window();
        {
            auto view = co_await mine.receive();
            expect(view && (**view).number() == 1, "another record");
        }
        co_await yield();  // the loop tells the writer
        end_step_window();
    }
    bool has_bystander() const override { return Watched; }
    task<> bystander() override {
        this->ends_.reader.close();
        try {
            co_await this->publish(this->ends_.writer, 3);
            this->say(1);
        } catch (const std::system_error& e) {
            expect(e.code() == std::errc::broken_pipe, e.what());
            this->say(2);
        }
    }
    void killed(step_point) override { this->ends_.reader.close(); }
    task<std::string> survivor(step_point at) override {
        if (Watched) co_return "told";
        // The only reader is dead: the writer finds out, whatever room there is.
        this->ends_.reader.close();
        bool told = false;
        for (int i = 0; i < 4 && !told; ++i) {
            try {
                co_await this->publish(this->ends_.writer, 3);
            } catch (const std::system_error& e) {
                expect(e.code() == std::errc::broken_pipe, e.what());
                told = true;
            }
        }
        static_cast<void>(at);
        expect(told, "the writer is not told that the reader is dead");
        co_return "told";
    }
};

/// One of two readers of a broadcast is killed while it receives: the other one sees everything,
/// and the writer, which waits for the slowest, goes on.
template <bool Futex>
class one_of_readers : public with_records<ipc::broadcast_ends<frame>, Futex> {
public:
    one_of_readers() : with_records<ipc::broadcast_ends<frame>, Futex>(2) {
        run([this]() -> task<> {
            co_await this->publish(this->ends_.writer, 1);
            co_await this->publish(this->ends_.writer, 2);
        });
    }
    task<> victim() override {
        auto mine = arrived(other_);
        begin_step_window();
        {
            auto view = co_await mine.receive();
            expect(view && (**view).number() == 1, "another record");
        }
        co_await yield();
        end_step_window();
    }
    task<std::string> survivor(step_point) override {
        other_.close();
        for (int i = 1; i <= 6; ++i) {
            const int got = co_await this->next(this->ends_.reader);
            expect(got == i, "the other reader misses records");
            co_await this->publish(this->ends_.writer, static_cast<std::uint64_t>(i + 2));
        }
        co_return "the other goes on";
    }

private:
    ipc::broadcast_reader<frame> other_ = this->ends_.reader.share();
};

/// A reader of a broadcast is killed while it makes another one.
template <bool Futex>
class reader_share : public with_records<ipc::broadcast_ends<frame>, Futex> {
public:
    reader_share() : with_records<ipc::broadcast_ends<frame>, Futex>(2) {}
    task<> victim() override {
        auto mine = arrived(other_);
        begin_step_window();
        auto third = mine.share();
        end_step_window();
        co_return;
    }
    task<std::string> survivor(step_point) override {
        other_.close();
        for (int i = 1; i <= 6; ++i) {
            co_await this->publish(this->ends_.writer, static_cast<std::uint64_t>(i));
            const int got = co_await this->next(this->ends_.reader);
            expect(got == i, "the other reader misses records");
        }
        expect(this->ends_.writer.readers() == 1, "a dead reader counts");
        // Its place is another's.
        auto again = this->ends_.reader.share();
        co_await this->publish(this->ends_.writer, 7);
        const int seventh = co_await this->next(again);
        expect(seventh == 7, "a new reader misses records");
        co_return "the other goes on";
    }

private:
    ipc::broadcast_reader<frame> other_ = this->ends_.reader.share();
};

using channel = ipc::channel_ends<frame>;
using broadcast = ipc::broadcast_ends<frame>;

template <class Scenario>
void survives(const char* operation) {
    CHECK(step_kill<Scenario>(operation).violations == 0);
}
template <class Scenario>
void wakes(const char* operation) {
    CHECK(step_kill<Scenario>(operation, held_up()).violations == 0);
}

}  // namespace

TEST_CASE("a writer killed after any instruction of publish leaves whole records, in order",
          "[every_instruction]") {
    survives<record_publish<channel, false, false, true>>("channel publish");
    survives<record_publish<channel, true, false, true>>("channel stage and publish");
    survives<record_publish<channel, false, true, true>>("channel publish, the reader sleeps");
    survives<record_publish<channel, false, true, false>>(
        "channel publish, the reader sleeps, no futex");
    survives<record_publish<broadcast, false, false, true>>("broadcast publish");
    survives<record_publish<broadcast, false, true, true>>("broadcast publish, a reader sleeps");
}

TEST_CASE("a reader killed after any instruction of receive and release leaves nobody waiting",
          "[every_instruction]") {
    survives<record_receive<channel, false, true>>("channel receive, release");
    survives<record_receive<channel, true, true>>("channel release, the writer sleeps");
    survives<record_receive<channel, true, false>>("channel release, the writer sleeps, no futex");
    survives<record_receive<broadcast, true, true>>("broadcast release, the writer sleeps");
    survives<one_of_readers<true>>("broadcast receive, one of two readers");
    survives<reader_share<true>>("broadcast reader share");
}

TEST_CASE("a side of a channel that is held up after any instruction loses no wake-up",
          "[every_instruction]") {
    wakes<record_publish<channel, false, true, true>>("channel publish, held up");
    wakes<record_publish<channel, false, true, false>>("channel publish, held up, no futex");
    wakes<record_receive<channel, true, true>>("channel release, held up");
    wakes<record_receive<channel, true, false>>("channel release, held up, no futex");
    wakes<record_publish<broadcast, false, true, true>>("broadcast publish, held up");
    wakes<record_receive<broadcast, true, true>>("broadcast release, held up");
}

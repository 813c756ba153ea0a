// SPDX-License-Identifier: MIT
// Random cancels of random operations, and a ledger: nothing is lost, nothing comes twice.
// RUNNEL_SEED repeats a run; RUNNEL_TORTURE says how many cancels (a million, if it is not set;
// fewer with sanitizers).
#include <array>
#include <charconv>
#include <cstdlib>
#include <iostream>
#include <random>
#include <unordered_map>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <runnel/ipc/mutex.hpp>
#include <runnel/ipc/pipe.hpp>
#include <runnel/ipc/spawn.hpp>
#include <runnel/runnel.hpp>

#include "support/catch.hpp"
#include "support/environment.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t default_cancels = test::sanitized ? 50'000 : 1'000'000;

/// Numbers that are put in and taken out, each once, in whatever order it is told of.
class ledger {
public:
    void put(std::uint64_t number) { add(number, 1); }
    void take(std::uint64_t number) { add(number, -1); }
    void take(std::string_view text) {
        std::uint64_t number = 0;
        const auto end = std::from_chars(text.data(), text.data() + text.size(), number);
        if (end.ec != std::errc() || end.ptr != text.data() + text.size()) ++wrong_;
        take(number);
    }
    [[nodiscard]] std::size_t open() const { return open_.size(); }
    [[nodiscard]] bool balanced() const { return wrong_ == 0 && open_.empty(); }

private:
    void add(std::uint64_t number, int by) {
        const int now = open_[number] += by;
        if (now == 0)
            open_.erase(number);
        else if (now != by)
            ++wrong_;
    }
    std::unordered_map<std::uint64_t, int> open_;
    std::uint64_t wrong_ = 0;
};

std::string rest_of(int fd) {
    REQUIRE(::fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    std::string all;
    char data[4096];
    for (::ssize_t n; (n = ::read(fd, data, sizeof data)) > 0;) all.append(data, std::size_t(n));
    return all;
}

/// A stream of lines, each of which is a number. A write that was cancelled is gone on with by the
/// next, from where it says that it has stopped.
template <class Reader, class Writer>
class line_stream {
public:
    line_stream(Reader reader, Writer writer)
        : reader_(std::move(reader)), writer_(std::move(writer)) {}

    task<std::size_t> read_line() {
        const auto line = co_await reader_.read_until('\n');
        numbers_.take(*line);
        co_return 1;
    }
    task<std::size_t> read_width() {
        std::array<char, width> line;
        co_await reader_.read_exactly(std::as_writable_bytes(std::span(line)));
        if (line.back() != '\n') numbers_.take("no line");
        numbers_.take(std::string_view(line.data(), width - 1));
        co_return 1;
    }
    task<std::size_t> write(std::size_t lines) {
        const auto held = co_await turn_.lock();
        if (done_ == text_.size()) refill(lines);
        struct at_end {
            std::size_t& done;
            std::size_t written = 0;
            ~at_end() { done += written; }
        } so_far{done_};
        co_await writer_.write_all(std::string_view(text_).substr(done_), &so_far.written);
        co_return 1;
    }
    /// Takes what was not written, not received, or received and not taken. All there?
    [[nodiscard]] bool settle() {
        const auto ahead = reader_.buffered();
        std::string all(reinterpret_cast<const char*>(ahead.data()), ahead.size());
        all += rest_of(reader_.native_handle());
        all += text_.substr(done_);
        for (std::size_t i = 0; i < all.size(); i += width)
            numbers_.take(std::string_view(all).substr(i, width - 1));
        return numbers_.balanced() && !turn_.is_locked() && all.size() % width == 0;
    }

private:
    static constexpr std::size_t width = 10;
    void refill(std::size_t lines) {
        text_.clear();
        done_ = 0;
        for (std::size_t i = 0; i < lines; ++i) {
            numbers_.put(next_);
            text_ += std::to_string(next_++);
            text_ += '\n';
        }
    }
    Reader reader_;
    Writer writer_;
    mutex turn_;
    std::string text_;
    std::size_t done_ = 0;
    std::uint64_t next_ = 100'000'000;
    ledger numbers_;
};

/// A pipe of messages, each of which is a number.
template <class T>
class messages {
public:
    task<std::size_t> send() {
        const std::uint64_t number = next_++;
        const T message = made_of(number);
        co_await ends_.sender.send(message);
        numbers_.put(number);
        co_return 1;
    }
    task<std::size_t> recv() {
        const auto got = co_await ends_.receiver.recv();
        numbers_.take(*got);
        co_return 1;
    }
    [[nodiscard]] bool settle() {
        ends_.sender.close();
        run([this]() -> task<> {
            while (auto got = co_await ends_.receiver.recv()) numbers_.take(*got);
        });
        return numbers_.balanced();
    }

private:
    static T made_of(std::uint64_t number) {
        if constexpr (std::is_same_v<T, std::string>)
            return std::to_string(number);
        else
            return number;
    }
    ipc::simplex_pipe<T> ends_ = ipc::pipe<T>(ipc::simplex);
    std::uint64_t next_ = 0;
    ledger numbers_;
};

/// A lock that a neighbour, a process with nothing else to do, wants as well. Two counters in memory
/// that both share are equal whenever nobody is inside.
class shared_lock {
public:
    shared_lock()
        : counters_(static_cast<counters*>(::mmap(nullptr, sizeof(counters), PROT_READ | PROT_WRITE,
                                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
        REQUIRE(counters_ != MAP_FAILED);
        neighbour_ =
            ipc::spawn(live_next_door, lock_.share(), reinterpret_cast<std::uintptr_t>(counters_));
    }
    ~shared_lock() {
        neighbour_.kill();
        ::munmap(counters_, sizeof(counters));
    }
    shared_lock(const shared_lock&) = delete;
    shared_lock& operator=(const shared_lock&) = delete;

    /// `pause` is awaited inside.
    task<std::size_t> enter(task<> pause) {
        const auto held = co_await lock_.lock();
        if (held.owner_died()) ++wrong_;
        const visit inside(*counters_, wrong_);
        co_await std::move(pause);
        co_return 1;
    }
    /// Free, soon; never held by two; and the neighbour has had it.
    [[nodiscard]] bool settle() {
        bool in_order = false;
        run([&]() -> task<> {
            const auto deadline = std::chrono::steady_clock::now() + 20s;
            while (!in_order && std::chrono::steady_clock::now() < deadline) {
                const auto held = co_await with_timeout(lock_.lock(), 20s);
                if (!held || counters_->begun != counters_->ended) co_return;
                in_order = counters_->next_door != 0 && counters_->failed == 0 && wrong_ == 0;
            }
        });
        return in_order;
    }

private:
    struct counters {
        std::uint64_t begun, ended, next_door, failed;
    };
    /// Plain increments on purpose: the lock orders them, or they go wrong.
    class visit {
    public:
        visit(counters& of, std::uint64_t& wrong) : of_(of) {
            if (of_.begun != of_.ended) ++wrong;
            ++of_.begun;
        }
        ~visit() { ++of_.ended; }
        visit(const visit&) = delete;
        visit& operator=(const visit&) = delete;

    private:
        counters& of_;
    };
    static task<> live_next_door(ipc::mutex lock, std::uintptr_t at) {
        auto& all = *reinterpret_cast<counters*>(at);  // forked: mapped there, too
        for (std::uint64_t i = 0;; ++i) {
            const auto limit = std::chrono::microseconds(i % 3 == 0 ? 10 : 10'000);
            auto held = co_await with_timeout(lock.lock(), limit);
            if (held) {
                const visit inside(all, all.failed);
                ++all.next_door;
                if (i % 8 == 0) co_await sleep_for(20us);
            }
            held.reset();
            // There is no order among those who want it: who is always there has it always.
            if (i % 4 == 0) co_await sleep_for(50us);
        }
    }
    ipc::mutex lock_;
    counters* counters_;
    std::uint64_t wrong_ = 0;
    ipc::process<> neighbour_;
};

auto small_pipe() {
    pipe_ends ends = make_pipe();
    REQUIRE(::fcntl(ends.writer.native_handle(), F_SETPIPE_SZ, 4096) > 0);
    return line_stream<byte_reader, byte_writer>(std::move(ends.reader), std::move(ends.writer));
}
auto small_socket() {
    auto ends = make_socket_pair();
    const int least = 1;
    REQUIRE(::setsockopt(ends.second.native_handle(), SOL_SOCKET, SO_SNDBUF, &least,
                         sizeof least) == 0);
    return line_stream<byte_stream, byte_stream>(std::move(ends.first), std::move(ends.second));
}

/// What all the tasks of a run share: things to be taken, with a ledger for each.
class world {
public:
    explicit world(std::uint64_t seed) : random(seed) {
        int fds[2];
        REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
        pipe_out.reset(fds[0]);
        pipe_in.reset(fds[1]);
        REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0);
        packets_out.reset(fds[0]);
        packets_in.reset(fds[1]);
    }
    std::uint64_t pick(std::uint64_t n) { return random() % n; }

    std::mt19937_64 random;
    unique_fd pipe_out, pipe_in, packets_out, packets_in;
    semaphore permits{0};
    event token;
    mutex room;
    line_stream<byte_reader, byte_writer> pipe = small_pipe();
    line_stream<byte_stream, byte_stream> socket = small_socket();
    messages<std::uint64_t> numbers;
    messages<std::string> texts;
    shared_lock shared;
    static constexpr std::size_t kinds = 4;  // counted here; the others have ledgers of their own
    std::uint64_t put[kinds]{}, taken[kinds]{};
    int inside = 0, crowds = 0;
    std::uint64_t operations = 0, cancelled = 0, wanted = 0;
    [[nodiscard]] bool over() const { return cancelled >= wanted; }
};

/// Takes one item of a random kind, cancelled in a random way after a random while.
class taker {
public:
    explicit taker(world& of) : w_(of) {}

    task<> run() {
        while (!w_.over()) {
            const std::size_t got = co_await cancelled_in_some_way(something());
            ++w_.operations;
            if (got == 0) ++w_.cancelled;
        }
    }

private:
    task<std::size_t> something() {
        switch (w_.pick(15)) {
            case 0: return read(w_.pipe_out);
            case 1: return recv(w_.packets_out);
            case 2: return acquire();
            case 3: return take_token();
            case 4: return stay_in_room();
            case 5:
            case 6: return w_.pipe.read_line();
            case 7: return w_.pipe.write(1 + w_.pick(2));
            case 8:
            case 9: return w_.socket.read_width();
            case 10: return w_.socket.write(1 + w_.pick(500));
            case 11: return w_.pick(2) == 0 ? w_.numbers.send() : w_.texts.send();
            case 12: return w_.numbers.recv();
            case 13:
                // Less often: it takes as long as another process takes to get a CPU.
                if (w_.pick(4) == 0) return w_.shared.enter(after_a_while(w_.random()));
                return stay_in_room();
            default: return w_.texts.recv();
        }
    }
    // Each leaves its trace in the ledger only when it was delivered.
    task<std::size_t> read(const unique_fd& fd) {
        char c = 0;
        const std::size_t n = co_await io::read(fd.get(), std::as_writable_bytes(std::span(&c, 1)));
        w_.taken[0] += n;
        co_return n;
    }
    task<std::size_t> recv(const unique_fd& fd) {
        char c = 0;
        const std::size_t n = co_await io::recv(fd.get(), std::as_writable_bytes(std::span(&c, 1)));
        w_.taken[1] += n;
        co_return n;
    }
    task<std::size_t> acquire() {
        co_await w_.permits.acquire();
        ++w_.taken[2];
        co_return 1;
    }
    task<std::size_t> take_token() {
        co_await w_.token.wait();
        if (w_.token.is_set()) {  // several are resumed by one set
            w_.token.clear();
            ++w_.taken[3];
        }
        co_return 1;
    }
    task<std::size_t> stay_in_room() {
        const auto held = co_await w_.room.lock();
        if (++w_.inside != 1) ++w_.crowds;
        struct at_end {
            int& inside;
            ~at_end() { --inside; }
        } const guard{w_.inside};
        co_await after_a_while(w_.random());
        co_return 1;
    }
    task<> after_a_while(std::uint64_t way) {
        switch (way % 4) {
            case 0: break;
            case 1: co_await yield(); break;
            case 2: co_await io::nop(); break;
            default: co_await sleep_for(std::chrono::microseconds(way % 16)); break;
        }
    }
    task<std::size_t> cancelled_in_some_way(task<std::size_t> work) {
        const std::uint64_t way = w_.random();
        std::size_t got = 0;
        switch ((way >> 8) % 5) {
            case 0: {
                auto one =
                    co_await with_timeout(std::move(work), std::chrono::microseconds(way % 20));
                got = one.value_or(0);
                break;
            }
            case 1: {
                auto both = co_await race(std::move(work), after_a_while(way));
                auto& first = std::get<0>(both);
                got = first ? *first : 0;
                break;
            }
            case 2: {
                co_await open_nursery([&](nursery& n) -> task<> {
                    n.start([](task<std::size_t> take,
                               std::size_t& into) -> task<> { into = co_await std::move(take); },
                            std::move(work), std::ref(got));
                    co_await after_a_while(way);
                    n.cancel();
                });
                break;
            }
            case 3: {
                std::stop_source stop;
                co_await open_nursery([&](nursery& n) -> task<> {
                    n.start(
                        [](task<> wait, std::stop_source& s) -> task<> {
                            co_await std::move(wait);
                            s.request_stop();
                        },
                        after_a_while(way), std::ref(stop));
                    auto one = co_await cancel_on(stop.get_token(), std::move(work));
                    got = one.value_or(0);
                });
                break;
            }
            default: {
                auto nested =
                    co_await race(with_timeout(std::move(work), 10us), after_a_while(way));
                auto& first = std::get<0>(nested);
                got = first && *first ? **first : 0;
                break;
            }
        }
        co_return got;
    }
    world& w_;
};

task<> feed(world& w) {
    while (!w.over()) {
        const std::uint64_t kind = w.pick(w.kinds);
        if (w.pick(8) == 0 && w.put[kind] - w.taken[kind] < 20) {
            const char c = 'x';
            const auto one = std::as_bytes(std::span(&c, 1));
            switch (kind) {
                case 0: w.put[0] += co_await io::write(w.pipe_in.get(), one); break;
                case 1: w.put[1] += co_await io::send(w.packets_in.get(), one); break;
                case 2:
                    w.permits.release();
                    ++w.put[2];
                    break;
                default:
                    if (w.token.is_set()) break;
                    w.token.set();
                    ++w.put[3];
                    break;
            }
        }
        co_await yield();
    }
}

/// Gives how many were cancelled.
std::uint64_t torture(std::uint64_t seed, std::uint64_t cancels, bool chaos) {
    INFO("RUNNEL_SEED=" << seed << " chaos " << chaos);
    world w(seed);
    w.wanted = cancels;
    loop_options options;
    if (chaos) options.chaos.seed = seed | 1;
    std::vector<taker> takers(8, taker(w));
    run(
        [&]() -> task<> {
            co_await open_nursery([&](nursery& n) -> task<> {
                for (taker& each : takers)
                    n.start([](taker& t) { return t.run(); }, std::ref(each));
                n.start(feed, std::ref(w));
                co_return;
            });
        },
        options);
    int left = 0;
    REQUIRE(::ioctl(w.pipe_out.get(), FIONREAD, &left) == 0);
    std::uint64_t packets = 0;
    char c = 0;
    while (::recv(w.packets_out.get(), &c, 1, MSG_DONTWAIT) == 1) ++packets;
    CHECK(w.put[0] == w.taken[0] + std::uint64_t(left));
    CHECK(w.put[1] == w.taken[1] + packets);
    CHECK(w.put[2] == w.taken[2] + w.permits.available());
    CHECK(w.put[3] == w.taken[3] + (w.token.is_set() ? 1 : 0));
    CHECK(w.crowds == 0);
    CHECK(w.inside == 0);
    CHECK(!w.room.is_locked());
    CHECK(w.pipe.settle());
    CHECK(w.socket.settle());
    CHECK(w.numbers.settle());
    CHECK(w.texts.settle());
    CHECK(w.shared.settle());
    std::cout << "seed " << seed << (chaos ? ", chaos" : "") << ": " << w.operations
              << " operations, " << w.cancelled << " cancelled\n";
    return w.cancelled;
}

}  // namespace

TEST_CASE("a million random cancels of pipes, streams, events and locks lose nothing") {
    const std::uint64_t seed = test::announced_seed("cancel_test");
    const std::uint64_t cancels = test::number_from_env("RUNNEL_TORTURE", default_cancels);
    std::uint64_t done = 0;
    for (std::uint64_t i = 0; done < cancels; ++i) {
        const std::uint64_t portion = std::min<std::uint64_t>(cancels - done, 50'000);
        done += torture(seed + i, portion, i % 4 == 3);
    }
    CHECK(done >= cancels);
}

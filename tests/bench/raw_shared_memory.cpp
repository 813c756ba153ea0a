// SPDX-License-Identifier: MIT

// Messages through shared memory without a library, the limits of what runnel does:
//   raw_spin         a ring of one writer and one reader that watch each other and never sleep
//   raw_futex        the same ring with a wake protocol; sleeps at once, by futex(2)
//   raw_uring_futex  the same, with runnel's spin and its way to sleep
//   raw_memcpy       the copy alone, in one process
//   raw_unsafe       a ring of many writers and readers for mp_queue. A process killed in the
//                    middle of it stops all others: this is the speed without that promise.
#include "messages.hpp"
#include "raw_park.hpp"

namespace {

// As many slots as fit 1 MiB, at most 1024, at least 4; messages are read where they lie.
struct slots {
    explicit slots(long size) : stride((size + 7) / 8 * 8) {
        while (count > 4 && count * stride > 1 << 20) count /= 2;
        std::size_t bytes = std::size_t(count) * std::size_t(stride);
        memory = static_cast<char*>(
            mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
        if (memory == MAP_FAILED) bench::die("mmap");
        std::memset(memory, 0, bytes);
    }
    char* at(unsigned i) { return memory + long(i & unsigned(count - 1)) * stride; }

    long stride, count = 1024;
    char* memory;
};

template <class Wait>
class ring {
public:
    explicit ring(long size) : slots_(size), sides_(bench::shared<sides>()) {}

    void send(const char* m, long n) {
        side& reader = sides_->reader;
        if (mine_ - seen_ == unsigned(slots_.count)) await(reader, seen_);
        std::memcpy(slots_.at(mine_), m, std::size_t(n));
        publish(sides_->writer, ++mine_);
    }
    template <class F>
    void recv(long, F f) {
        if (mine_ == seen_) await(sides_->writer, seen_);
        f(slots_.at(mine_));
        publish(sides_->reader, ++mine_);
    }

private:
    struct side {
        alignas(64) raw::word position{0};
        alignas(64) raw::word parked{0};  // who waits for `position` to change
    };
    struct sides {
        side writer, reader;
    };

    // Until the other side has moved on from `seen`, which is only read again when it must be.
    void await(side& other, unsigned& seen) {
        auto moved = [&] { return other.position.load(std::memory_order_acquire) != seen; };
        while (!moved() && !Wait::spin(moved)) {
            other.parked.store(1, std::memory_order_relaxed);
            std::atomic_thread_fence(std::memory_order_seq_cst);
            if (!moved()) Wait::sleep(other.parked, 1);
            other.parked.store(0, std::memory_order_relaxed);
        }
        seen = other.position.load(std::memory_order_acquire);
    }
    void publish(side& mine, unsigned position) {
        mine.position.store(position, std::memory_order_release);
        if constexpr (Wait::parks) {
            std::atomic_thread_fence(std::memory_order_seq_cst);
            if (mine.parked.load(std::memory_order_relaxed) && mine.parked.exchange(0))
                raw::futex_wake(mine.parked, 1);
        }
    }

    slots slots_;
    sides* sides_;
    unsigned mine_ = 0, seen_ = 0;
};

// Vyukov's bounded queue: a slot's number says whose turn it is.
class many_ring {
public:
    explicit many_ring(long) : all_(bench::shared<all>()) {
        for (unsigned i = 0; i < count; ++i) all_->slot[i].turn = i;
    }
    void send(const char* m, long n) {
        auto put = [&] {
            return step(all_->tail, 0, 1, [&](char* at) { std::memcpy(at, m, std::size_t(n)); });
        };
        if (!put()) all_->space.wait<raw::uring_futex>(put);
        all_->items.signal();
    }
    template <class F>
    void recv(long, F f) {
        auto get = [&] { return step(all_->head, 1, count, f); };
        if (!get()) all_->items.wait<raw::uring_futex>(get);
        all_->space.signal();
    }

private:
    static constexpr unsigned count = 1024;
    struct all {
        alignas(64) raw::word tail{0};
        alignas(64) raw::word head{0};
        raw::gate items, space;
        struct {
            raw::word turn;
            char bytes[64];
        } slot[count];
    };
    // Uses the slot at `where` if its turn is `due` past it, and makes it `next` past it.
    template <class Use>
    bool step(raw::word& where, unsigned due, unsigned next, Use use) {
        unsigned at = where.load(std::memory_order_relaxed);
        for (;;) {
            auto& s = all_->slot[at % count];
            int ahead = int(s.turn.load(std::memory_order_acquire) - at - due);
            if (ahead < 0) return false;
            if (ahead > 0) {
                at = where.load(std::memory_order_relaxed);
            } else if (where.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) {
                use(s.bytes);
                s.turn.store(at + next, std::memory_order_release);
                return true;
            }
        }
    }
    all* all_;
};

using bench::both_ways, bench::peer_jobs;
bench::spinning_jobs<both_ways<ring<raw::spinning>>> spin_jobs("raw_spin");
peer_jobs<both_ways<ring<raw::futex>>> futex_jobs("raw_futex");
peer_jobs<both_ways<ring<raw::uring_futex>>> uring_jobs("raw_uring_futex");
bench::job many_job("mp_queue", "raw_unsafe", bench::many_over<many_ring>);

bench::job memcpy_job("ipc_stream", "raw_memcpy", [](const bench::options& opt) {
    long size = opt.number("msg", 64);
    slots to(size);
    char* m = static_cast<char*>(std::calloc(1, std::size_t(size)));
    int count = bench::one_way_count(size);
    bench::place(opt, 0);
    bench::meter t(opt);
    while (t.more(std::uint64_t(count)))
        for (int i = 0; i < count; ++i) {
            std::memcpy(to.at(unsigned(i)), m, std::size_t(size));
            asm volatile("" ::: "memory");
        }
    bench::report("msgs_per_s", 1e9 / t.median_ns());
});

}  // namespace

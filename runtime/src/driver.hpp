// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include <runnel/detail/io_op.hpp>
#include <runnel/detail/list.hpp>

#include "backend.hpp"

namespace runnel::detail {

/// The operations that wait on one descriptor in one direction; the first is in flight. Nothing
/// overtakes: a later one is tried when all before it are done.
struct io_gate {
    list<io_op> waiting;
    std::uint8_t late = 0;     // so many times in a row what was read came only after a yield
    std::uint8_t unasked = 0;  // so many reads were parked without asking
};

/// Between operations and the backend: order per descriptor, direct attempts, cancellation, close.
class io_driver final : public completion_sink {
public:
    explicit io_driver(scheduler& home) noexcept : home_(home) {}
    void attach(std::unique_ptr<backend> to) noexcept { backend_ = std::move(to); }
    [[nodiscard]] backend& under() noexcept { return *backend_; }
    [[nodiscard]] const backend& under() const noexcept { return *backend_; }

    bool start(io_op& op) noexcept;
    cancellation cancel(io_op& op) noexcept;
    /// Ends what is pending on `fd` with errc::closed; the number may be reused afterwards.
    void close(int fd) noexcept;
    /// Direct attempts allowed before the others get a turn; then operations go by way of the ring.
    void refill() noexcept { direct_left_ = direct_per_turn; }

    // A read that finds nothing is parked until the loop has nothing else to do, and then tried
    // once more after a sched_yield: a peer on this CPU has often answered by then, and neither
    // side has been to the ring. Where that keeps failing it stops, but for a probe now and then.
    //
    // A descriptor whose peer answers so, again and again, is not asked before the yield: that would
    // be one system call of three for nothing. Such a read is asked for when it is cancelled, since
    // it must give what was there at once.
    [[nodiscard]] bool has_parked() const noexcept { return parked_count_ != 0; }
    /// Gives the parked operations to the ring.
    void submit_parked() noexcept;
    /// Yields and tries them; what would still block goes to the ring.
    void retry_parked() noexcept;

private:
    static constexpr int direct_per_turn = 128;
    static constexpr std::size_t page_size = 64;
    static constexpr int most_descriptors = 1 << 22;
    struct page {
        std::array<std::array<io_gate, 2>, page_size> gates;
        std::array<list<io_op>, page_size> loose;  // those that stand in no queue, for close()
    };

    page* page_of(int fd) noexcept;
    void enlist(io_op& op) noexcept;
    io_gate* gate_of(const io_request& request) noexcept;
    void close_op(io_op& op) noexcept;
    bool try_now(io_op& op) noexcept;
    void submit(io_op& op) noexcept;
    [[nodiscard]] bool can(const io_request& request) const noexcept;
    void submit_otherwise(io_op& op) noexcept;
    static bool asks_again(io_op& op, int result) noexcept;
    void completed(io_op& op, int result) noexcept override;
    void finish(io_op& op, int result) noexcept;
    void advance(io_gate& gate) noexcept;

    scheduler& home_;
    std::unique_ptr<backend> backend_;
    std::vector<std::unique_ptr<page>> pages_;
    [[nodiscard]] bool parks() const noexcept;
    bool park(io_op& op) noexcept;
    bool park_unasked(io_op& op) noexcept;
    void unpark(io_op& op) noexcept;

    int direct_left_ = direct_per_turn;
    static constexpr unsigned most_parked = 4;
    static constexpr unsigned confidence_limit = 8, probe_every = 32;
    std::array<io_op*, most_parked> parked_{};
    unsigned parked_count_ = 0;
    unsigned confidence_ = confidence_limit;
    unsigned unparked_reads_ = 0;
    static constexpr std::uint8_t late_limit = 8, ask_every = 8;
};

}  // namespace runnel::detail

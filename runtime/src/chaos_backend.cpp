// SPDX-License-Identifier: MIT
// The adversary of the tests: everything that a kernel may do and seldom does. It never loses,
// never invents and never fails an operation that was carried out.
#include <cerrno>
#include <random>
#include <unordered_map>
#include <vector>

#include "backend.hpp"

namespace runnel::detail {
namespace {

class chaos_backend final : public backend, private completion_sink {
public:
    chaos_backend(completion_sink& sink, unsigned entries, chaos_options chaos)
        : sink_(sink), random_(chaos.seed), fail_one_in_(chaos.fail_one_in) {
        // Small rings are part of the game.
        const unsigned sizes[] = {1, 2, 8, 64, entries};
        under_ = make_uring_backend(*this, sizes[pick(5)]);
    }

    int try_now(const io_request& request) noexcept override {
        if (one_in(3)) return not_tried;
        if (fails(request)) return injected_error;
        const int result = under_->try_now(shortened(request));
        sync();
        return result;
    }
    void submit(io_op& op) noexcept override {
        ++counts.in_flight;
        if (fails(op.request())) {
            held_.push_back({&op, injected_error});
            return;
        }
        io_request& request = op.request();
        if (is_stream(request)) {
            whole_[&op] = request.length;
            request = shortened(request);
        }
        under_->submit(op);
        sync();
    }
    void cancel(io_op& op) noexcept override {
        // One that was answered already, or is held back, is beyond cancelling.
        for (const held& each : held_)
            if (each.op == &op) return;
        under_->cancel(op);
        sync();
    }
    void flush() noexcept override {
        under_->flush();
        sync();
    }
    void poll() noexcept override {
        under_->poll();
        release();
    }
    void wait(time_point until, sleeper& who) noexcept override {
        if (held_.empty())
            under_->wait(until, who);
        else
            under_->poll();
        release();
    }
    bool pending() const noexcept override { return !held_.empty() || under_->pending(); }
    bool supports(io_code code) const noexcept override { return under_->supports(code); }
    void enable() override { under_->enable(); }
    void notify(int event_fd) override { under_->notify(event_fd); }

private:
    // Instead of an execution, never after one.
    static constexpr int injected_error = -EIO;
    struct held {
        io_op* op;
        int result;
    };

    std::uint64_t pick(std::uint64_t n) { return random_() % n; }
    bool one_in(unsigned n) { return pick(n) == 0; }
    static bool is_stream(const io_request& r) { return r.stream && r.length > 1; }
    // Failing is asked for apart: most tests want to see no error at all.
    bool fails(const io_request& r) {
        return fail_one_in_ != 0 && r.direction != io_direction::none && one_in(fail_one_in_);
    }
    io_request shortened(io_request r) {
        if (is_stream(r) && one_in(2)) r.length = static_cast<std::uint32_t>(1 + pick(r.length));
        return r;
    }
    void sync() noexcept {
        const std::uint64_t mine = counts.in_flight;
        counts = under_->counts;
        counts.in_flight = mine;
    }
    void completed(io_op& op, int result) noexcept override {
        if (const auto found = whole_.find(&op); found != whole_.end()) {
            op.request().length = found->second;
            whole_.erase(found);
        }
        held_.push_back({&op, result});
    }
    /// Gives out some of the answers, in any order.
    void release() noexcept {
        sync();
        std::vector<held> now;
        for (std::size_t i = 0; i < held_.size();) {
            if (one_in(2)) {
                now.push_back(held_[i]);
                held_[i] = held_.back();
                held_.pop_back();
            } else {
                ++i;
            }
        }
        for (const held& each : now) {
            --counts.in_flight;
            sink_.completed(*each.op, each.result);
        }
    }

    completion_sink& sink_;
    std::mt19937_64 random_;
    unsigned fail_one_in_;
    std::unique_ptr<backend> under_;
    std::unordered_map<io_op*, std::uint32_t> whole_;
    std::vector<held> held_;
};

}  // namespace

std::unique_ptr<backend> make_chaos_backend(completion_sink& sink, unsigned entries,
                                            chaos_options chaos) {
    return std::make_unique<chaos_backend>(sink, entries, chaos);
}

}  // namespace runnel::detail

// SPDX-License-Identifier: MIT
#include <runnel/detail/combine.hpp>

namespace runnel::detail {

bool group::group_ready(std::span<operand_base* const> all) noexcept {
    if (decides_ != rule::first_completed) return false;
    // All are looked at, not just up to the first: one that is always ready starves nobody.
    bool any = false;
    for (operand_base* each : all) any |= each->ready(*this);
    return any;
}

bool group::group_suspend(std::span<operand_base* const> all, waiter up) noexcept {
    up_ = up;
    starting_ = true;
    const std::size_t first = up.scheduler().turn_rotation++ % (all.empty() ? 1 : all.size());
    for (std::size_t i = 0; i < all.size() && !decided_; ++i) {
        operand_base* each = all[(first + i) % all.size()];
        if (each->done()) continue;
        const bool waits =
            (decides_ == rule::first_completed || !each->ready(*this)) && each->start(*this);
        if (waits)
            ++open_;
        else
            completed(*each);
    }
    starting_ = false;
    return open_ != 0;
}

void group::completed(operand_base& which) noexcept {
    if (decided_) return;
    if (decides_ == rule::first_error && error_of(which) != nullptr) first_failed_ = &which;
    if (decides_ == rule::first_completed || first_failed_ != nullptr) stop_all();
}

void group::stop_all() noexcept {
    decided_ = true;
    for (operand_base* each : members()) {
        if (each->state() != operand_base::status::waiting) continue;
        each->request_stop();
        if (each->state() == operand_base::status::cancelled) --open_;
    }
}

void group::settled(operand_base& which) noexcept {
    --open_;
    if (which.done()) completed(which);
    if (open_ == 0) up_.resume();
}

cancellation group::group_cancel(std::span<operand_base* const> all) noexcept {
    bool any_done = false;
    for (operand_base* each : all) any_done |= each->done();
    if (asked_) {  // resumed after "later"
        if (decides_ == rule::first_completed) {
            return any_done ? cancellation::too_late : cancellation::now;
        }
        // An error that came meanwhile is not lost, nor is a complete set of results.
        bool all_done = true;
        for (operand_base* each : all) {
            all_done &= each->done();
            if (decides_ == rule::first_error && each->done() && error_of(*each) != nullptr)
                return cancellation::too_late;
        }
        return all_done ? cancellation::too_late : cancellation::now;
    }
    if (open_ == 0) return cancellation::too_late;
    if (decided_) return cancellation::too_late;  // the result is known, the others are ending
    asked_ = true;
    stop_all();
    if (open_ != 0) return cancellation::later;
    if (decides_ == rule::first_completed && any_done) return cancellation::too_late;
    return cancellation::now;
}

void group::rethrow_error() {
    std::vector<std::exception_ptr> errors;
    for (operand_base* each : members()) {
        if (!each->done()) continue;
        if (std::exception_ptr error = error_of(*each))
            errors.insert(each == first_failed_ ? errors.begin() : errors.end(), error);
    }
    rethrow_first(std::move(errors));
}

void group::group_dump(std::span<operand_base* const> all, dump_sink& sink) const {
    for (const operand_base* each : all) each->dump_part(sink);
}

namespace {
thread_local std::vector<std::exception_ptr> suppressed;
}

void rethrow_first(std::vector<std::exception_ptr>&& errors) {
    if (errors.empty()) return;
    const std::exception_ptr first = errors.front();
    errors.erase(errors.begin());
    suppressed = std::move(errors);
    std::rethrow_exception(first);
}

}  // namespace runnel::detail

namespace runnel {
std::span<const std::exception_ptr> suppressed_errors() noexcept { return detail::suppressed; }
}  // namespace runnel

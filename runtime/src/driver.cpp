// SPDX-License-Identifier: MIT
#include "driver.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <runnel/detail/branch.hpp>
#include <runnel/io.hpp>

#include "dump.hpp"

namespace runnel::detail {

namespace {

io_road road_after(int answer) noexcept {
    switch (answer) {
        case backend::in_worker: return io_road::worker;
        case backend::when_ready: return io_road::readiness;
        default: return io_road::ring;
    }
}

}  // namespace

cancellation io_op::cancel() noexcept { return driver_->cancel(*this); }

std::string_view io_op::verb() const noexcept {
    switch (request_.code) {
        case io_code::nop: return "nop";
        case io_code::read: return "read";
        case io_code::write: return "write";
        case io_code::recv: return "recv";
        case io_code::send: return "send";
        case io_code::recvmsg: return "recvmsg";
        case io_code::sendmsg: return "sendmsg";
        case io_code::accept: return "accept";
        case io_code::connect: return "connect";
        case io_code::poll: return "poll";
        case io_code::futex_wait: return "wait";
        case io_code::futex_wake: return "wake";
        case io_code::waitid: return "wait";
        case io_code::fsync: return "fsync";
    }
    return "operation";
}

void io_op::abort_destroyed_in_flight() const noexcept {
    const std::string_view what = verb();
    const frame_point* at = who_.frame();
    const std::string where = at != nullptr ? ", awaited at " + place(at->where()) + ',' : "";
    std::fprintf(stderr,
                 "runnel: fatal: a %.*s on descriptor %d%s was destroyed while the kernel works on "
                 "it; let the loop end the task instead of destroying its frame\n",
                 static_cast<int>(what.size()), what.data(), request_.fd, where.c_str());
    std::abort();
}

io_driver::page* io_driver::page_of(int fd) noexcept {
    const auto index = static_cast<std::size_t>(fd) / page_size;
    return fd >= 0 && index < pages_.size() ? pages_[index].get() : nullptr;
}

io_gate* io_driver::gate_of(const io_request& request) noexcept {
    if (request.direction == io_direction::none) return nullptr;
    page* in = page_of(request.fd);
    if (in == nullptr) return nullptr;
    auto& both = in->gates[static_cast<std::size_t>(request.fd) % page_size];
    return &both[request.direction == io_direction::out ? 1 : 0];
}

void io_driver::enlist(io_op& op) noexcept {
    const int fd = op.request_.fd;
    // No process has so many descriptors: the number is wrong, and the kernel will say so.
    if (fd > most_descriptors) return;
    const auto index = static_cast<std::size_t>(fd) / page_size;
    if (index >= pages_.size()) pages_.resize(index + 1);
    if (!pages_[index]) pages_[index] = std::make_unique<page>();
    op.gate_ = gate_of(op.request_);
    if (op.gate_ != nullptr)
        op.gate_->waiting.push_back(op);
    else
        pages_[index]->loose[static_cast<std::size_t>(fd) % page_size].push_back(op);
}

bool io_driver::try_now(io_op& op) noexcept {
    if (!op.request_.direct) return false;
    while (direct_left_ > 0) {
        --direct_left_;
        const int result = backend_->try_now(op.request_);
        if (backend::has_no_answer(result)) {
            if (result != backend::not_tried) op.road_ = road_after(result);
            return false;
        }
        if (!op.steps_ || !op.again(result)) {
            op.result_ = result;
            op.state_ = io_op::state::done;
            return true;
        }
    }
    return false;
}

void io_driver::submit_otherwise(io_op& op) noexcept {
    if (op.road_ == io_road::unknown) op.road_ = road_of(op.request_);
    // Below Linux 6.7 the end of a process is awaited as its descriptor's readiness.
    if (op.request_.code == io_code::waitid && !backend_->supports(io_code::waitid))
        op.road_ = io_road::readiness;
    const io_request asked = op.request_;
    if (asked.apart) {
        // It does not end before all is written: so much is, where anything can be.
        if (asked.stream && asked.direction == io_direction::out)
            op.request_.length = std::min<std::uint32_t>(asked.length, PIPE_BUF);
    } else if (op.road_ == io_road::worker || op.road_ == io_road::readiness) {
        const std::uint32_t events = asked.direction == io_direction::out ? POLLOUT : POLLIN;
        op.request_ = {.code = io_code::poll, .fd = asked.fd, .flags = events};
    }
    backend_->submit(op);
    op.request_ = asked;
}

inline void io_driver::submit(io_op& op) noexcept {
    op.state_ = io_op::state::in_flight;
    if (op.road_ != io_road::ring || op.request_.code == io_code::waitid) [[unlikely]]
        return submit_otherwise(op);
    backend_->submit(op);
}

/// Does the kernel have it, or something that does instead?
bool io_driver::can(const io_request& request) const noexcept {
    const bool ends_only = (request.flags & (WEXITED | WSTOPPED | WCONTINUED)) == WEXITED;
    return (request.code == io_code::waitid && ends_only) || backend_->supports(request.code);
}

bool io_driver::start(io_op& op) noexcept {
    op.gate_ = gate_of(op.request_);
    if (op.gate_ != nullptr && !op.gate_->waiting.empty()) {
        op.state_ = io_op::state::queued;
        op.gate_->waiting.push_back(op);
        return true;
    }
    if (op.steps_ && op.begin()) {
        op.state_ = io_op::state::done;
        return false;
    }
    if (op.request_.code >= io_code::futex_wait && !can(op.request_)) [[unlikely]] {
        op.result_ = -ENOSYS;
        op.state_ = io_op::state::done;
        return false;
    }
    const bool reads = op.request_.direction == io_direction::in;
    if (reads && op.gate_ != nullptr && op.gate_->late == late_limit && park_unasked(op))
        return true;
    if (op.request_.direct && try_now(op)) {
        if (reads && op.gate_ != nullptr) op.gate_->late = 0;
        return false;
    }
    if (op.request_.fd >= 0) enlist(op);
    if (!reads || op.road_ == io_road::worker || !park(op)) submit(op);
    return true;
}

bool io_driver::parks() const noexcept {
    return direct_left_ > 0 && parked_count_ != most_parked && !home_.virtual_time;
}

/// Only where nothing else can run: then a yield follows, and the next look.
bool io_driver::park_unasked(io_op& op) noexcept {
    if (!op.request_.direct || !parks() || confidence_ != confidence_limit || home_.has_ready())
        return false;
    if (++op.gate_->unasked == ask_every) {
        op.gate_->unasked = 0;
        return false;
    }
    op.gate_->waiting.push_back(op);
    op.state_ = io_op::state::parked;
    parked_[parked_count_++] = &op;
    return true;
}

bool io_driver::park(io_op& op) noexcept {
    if (!op.request_.direct || !parks()) return false;
    if (confidence_ == 0) {
        if (++unparked_reads_ < probe_every) return false;
        unparked_reads_ = 0;
        confidence_ = 1;
    }
    op.state_ = io_op::state::parked;
    parked_[parked_count_++] = &op;
    return true;
}

void io_driver::unpark(io_op& op) noexcept {
    for (unsigned i = 0; i < parked_count_; ++i)
        if (parked_[i] == &op) parked_[i--] = parked_[--parked_count_];
}

void io_driver::submit_parked() noexcept {
    for (unsigned i = 0; i < parked_count_; ++i) submit(*parked_[i]);
    parked_count_ = 0;
}

void io_driver::retry_parked() noexcept {
    ++backend_->counts.yields;
    ::sched_yield();
    const auto tried = parked_;
    const unsigned count = std::exchange(parked_count_, 0);
    bool any = false;
    for (unsigned i = 0; i < count; ++i) {
        io_op& op = *tried[i];
        io_gate* const gate = op.gate_;
        if (!try_now(op)) {
            if (gate != nullptr) gate->late = 0;
            submit(op);
        } else {
            any = true;
            if (gate != nullptr && gate->late != late_limit) ++gate->late;
            finish(op, op.result_);
        }
    }
    if (any)
        confidence_ = confidence_limit;
    else
        --confidence_;
}

bool io_op::start(waiter who) noexcept {
    who_ = who;
    driver_ = who.scheduler().driver;
    return driver_->start(*this);
}

/// A worker of the kernel was interrupted, by a stop of the process or the like; or the file is one
/// that the ring does not wait for. Nobody has asked for either.
bool io_driver::asks_again(io_op& op, int result) noexcept {
    const io_code code = op.request_.code;
    if (op.cancel_asked_ || code < io_code::read || code > io_code::sendmsg) return false;
    if (result == -EINTR) return true;
    if (code >= io_code::recv && (op.request_.flags & MSG_DONTWAIT) != 0) return false;
    if (op.road_ != io_road::worker) op.road_ = io_road::readiness;
    return true;
}

void io_driver::completed(io_op& op, int result) noexcept {
    if (op.road_ == io_road::worker && !std::exchange(op.request_.apart, false) && result > 0) {
        // It is ready, so that a worker will hardly block: one that does may miss its cancellation.
        op.request_.apart = !op.cancel_asked_;
        if (op.request_.apart) return submit(op);
        result = -ECANCELED;
    }
    // The ring's poll can report what was true a moment ago only; poll(2) looks again.
    if (result > 0 && (op.request_.code == io_code::poll || op.road_ == io_road::readiness)) {
        const int now = op.closed_ ? -ECANCELED : call_now(op.request_);
        if (backend::has_no_answer(now) && !op.cancel_asked_) {
            op.road_ = road_after(now);
            return submit(op);
        }
        result = backend::has_no_answer(now) ? -ECANCELED : now;
    } else if ((result == -EINTR || result == -EAGAIN) && asks_again(op, result)) [[unlikely]] {
        return submit(op);
    }
    if (op.steps_ && op.again(result)) {
        if (op.cancel_asked_) return finish(op, -ECANCELED);
        if (!try_now(op)) return submit(op);
        result = op.result_;
    }
    finish(op, result);
}

void io_driver::finish(io_op& op, int result) noexcept {
    op.result_ = result;
    op.state_ = io_op::state::done;
    op.unlink();
    // First, so that tasks go on in the order in which their operations were done.
    op.who_.resume_on(home_);
    if (io_gate* gate = op.gate_) advance(*gate);
}

void io_driver::advance(io_gate& gate) noexcept {
    while (!gate.waiting.empty()) {
        io_op& next = gate.waiting.front();
        if (next.in_flight() || next.state_ == io_op::state::parked) return;
        if (next.steps_ && next.begin())
            next.state_ = io_op::state::done;
        else if (!try_now(next))
            return submit(next);
        next.unlink();
        next.who_.resume();
    }
}

cancellation io_driver::cancel(io_op& op) noexcept {
    switch (op.state_) {
        case io_op::state::queued:
            op.unlink();
            op.state_ = io_op::state::done;
            return cancellation::now;
        case io_op::state::parked:
            unpark(op);
            // It may not have been asked for yet.
            if (direct_left_ == 0) direct_left_ = 1;
            if (op.gate_ != nullptr && op.gate_->late == late_limit && try_now(op)) {
                finish(op, op.result_);
                return cancellation::too_late;
            }
            op.unlink();
            op.state_ = io_op::state::done;
            if (op.gate_ != nullptr) advance(*op.gate_);
            return cancellation::now;
        case io_op::state::in_flight:
            if (!std::exchange(op.cancel_asked_, true)) backend_->cancel(op);
            return cancellation::later;
        case io_op::state::idle:
        case io_op::state::done: break;
    }
    const bool stopped =
        op.cancel_asked_ && !op.closed_ && (op.result_ == -ECANCELED || op.result_ == -EINTR);
    return stopped ? cancellation::now : cancellation::too_late;
}

void io_driver::close_op(io_op& op) noexcept {
    op.gate_ = nullptr;
    op.closed_ = true;
    if (op.in_flight()) {
        if (!std::exchange(op.cancel_asked_, true)) backend_->cancel(op);
    } else {
        if (op.state_ == io_op::state::parked) unpark(op);
        op.result_ = -ECANCELED;
        op.state_ = io_op::state::done;
        op.who_.resume();
    }
}

void io_driver::close(int fd) noexcept {
    const auto index = static_cast<std::size_t>(fd) / page_size;
    if (fd < 0 || index >= pages_.size() || !pages_[index]) return;
    const std::size_t place = static_cast<std::size_t>(fd) % page_size;
    page& in = *pages_[index];
    bool any = false;
    for (list<io_op>* pending :
         {&in.gates[place][0].waiting, &in.gates[place][1].waiting, &in.loose[place]}) {
        for (; !pending->empty(); any = true) close_op(pending->pop_front());
    }
    // A request that the kernel has not seen yet names its descriptor by number, which may soon be
    // another file's.
    if (any) backend_->flush();
}

}  // namespace runnel::detail

namespace runnel::io::detail {

std::error_code code_of(const io_op& op) noexcept {
    if (op.closed() && (op.result() == -ECANCELED || op.result() == -EINTR)) return errc::closed;
    return {-op.result(), std::system_category()};
}

void throw_failed(const io_op& op, std::string_view object, int number) {
    throw_error(code_of(op), op.verb(), object, number);
}

}  // namespace runnel::io::detail

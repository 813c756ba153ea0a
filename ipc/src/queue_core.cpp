// SPDX-License-Identifier: MIT
#include <runnel/ipc/detail/queue_core.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <runnel/error.hpp>
#include <runnel/fork.hpp>
#include <runnel/ipc/codec.hpp>
#include <runnel/loop.hpp>

#include "buffers.hpp"
#include "queue_hub.hpp"

namespace runnel::ipc::detail {
namespace {

// An item is copied out of the ring before it is decoded.
thread_local std::vector<std::byte> scratch;
constexpr std::size_t scratch_kept = std::size_t{512} << 10;

}  // namespace

namespace {

/// For those who do not wait: tries again while somebody is in the way, within bounds.
template <class F>
queue_outcome insist(F&& attempt) {
    for (int i = 0; i < 64; ++i)
        if (const queue_outcome how = attempt(); how != queue_outcome::busy) return how;
    return queue_outcome::not_now;
}

}  // namespace

/// What a handle owns, at an address that stays when it moves. Operations under way share it: on
/// their loop's thread, while another thread may drop the handle.
class queue_end {
public:
    explicit queue_end(std::shared_ptr<queue_side> of) noexcept : side(std::move(of)) {}

    void close() noexcept {
        if (closed.exchange(true)) return;
        bool nobody_waits = true;
        for (queue_hub** hub : {&hub_, &join_hub_})
            if (*hub != nullptr) nobody_waits &= std::exchange(*hub, nullptr)->leave();
        // Otherwise with the last of those who wait: soon, for their loop tells them.
        if (nobody_waits || users_.load(std::memory_order_acquire) == 1) side.reset();
    }
    void use() noexcept { users_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept {
        if (users_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }
    /// The hub of the loop that runs on this thread; null if none does.
    queue_hub* hub(bool joining) {
        queue_hub*& known = joining ? join_hub_ : hub_;
        loop* home = loop::current();
        if (known != nullptr && !known->retired()) {
            if (home != nullptr && &known->home() != home)
                throw_error(errc::wrong_thread, "wait", "ipc queue: share() the handle");
            return known;
        }
        if (home == nullptr) return nullptr;
        if (in_virtual_time())
            throw std::logic_error("wait on ipc queue: refused on a loop with virtual time");
        if (known != nullptr) std::exchange(known, nullptr)->release();
        known = &queue_hub::of(side, *home, joining);
        return known;
    }

    std::shared_ptr<queue_side> side;  // until it is closed
    std::atomic<bool> closed{false};

private:
    ~queue_end() { close(); }
    queue_hub* hub_ = nullptr;
    queue_hub* join_hub_ = nullptr;
    std::atomic<unsigned> users_{1};
};

// --- handles ---

namespace {

queue_memory& memory_of(const queue_end* end, const char* verb) {
    if (end == nullptr || end->closed) throw_error(errc::closed, verb, "ipc queue");
    return end->side->object->memory;
}

}  // namespace

void queue_handle::close() noexcept {
    if (end_ != nullptr) end_->close();
}
bool queue_handle::is_closed() const noexcept { return end_->closed; }
void queue_handle::drop() noexcept {
    if (end_ == nullptr) return;
    end_->close();
    std::exchange(end_, nullptr)->release();
}
std::size_t queue_handle::size() const { return memory_of(end_, "size").size(); }
bool queue_handle::full() const { return memory_of(end_, "full").full(); }
bool queue_handle::at_end() const {
    queue_memory& memory = memory_of(end_, "ended");
    const bool last = end_->side->look();  // first: what they have put is there then
    if (memory.shut() == 2) return true;
    return (last || memory.shut() != 0) && memory.size() == 0 && !memory.others_lease();
}
void queue_handle::require_leases(const char* verb) const {
    if (memory_of(end_, verb).settings().lease == 0)
        throw std::invalid_argument(std::string(verb) +
                                    " on ipc queue: it was made without leases");
}
queue_end* queue_handle::share_end() const {
    memory_of(end_, "share");
    return new queue_end(end_->side);
}

namespace {

[[noreturn]] void throw_outcome(queue_end* end, queue_outcome how, const char* verb) {
    switch (how) {
        case queue_outcome::shut: throw_error(errc::closed, verb, "ipc queue: it was shut down");
        case queue_outcome::gone: throw_errno(EPIPE, verb, "ipc queue");
        case queue_outcome::no_memory: throw_errno(ENOMEM, verb, "ipc queue");
        case queue_outcome::no_place:
            throw_errno(EUSERS, verb, "ipc queue: too many processes get from it");
        case queue_outcome::corrupted:
            end->close();
            throw_error(errc::protocol, verb, "ipc queue: its memory makes no sense");
        case queue_outcome::busy:
            throw_errno(ETIMEDOUT, verb,
                        "ipc queue: somebody is in the middle of a change, and does not go on");
        default: throw_error(errc::closed, verb, "ipc queue");
    }
}

[[noreturn]] void throw_too_large(std::size_t size, std::size_t most) {
    throw_error(errc::message_too_long, "put",
                "ipc queue: " + std::to_string(size) + " bytes, where " + std::to_string(most) +
                    " have room");
}

}  // namespace

void queue_handle::shut_down(bool immediate) const {
    const queue_outcome how = memory_of(end_, "shutdown").shut_down(immediate);
    if (how != queue_outcome::done) throw_outcome(end_, how, "shutdown");
}
bool queue_handle::finish_one() const {
    const queue_outcome how = memory_of(end_, "task_done").task_done();
    if (how == queue_outcome::not_now) return false;
    if (how != queue_outcome::done) throw_outcome(end_, how, "task_done");
    return true;
}

queue_settings settings_for(std::size_t max_items, std::size_t max_bytes,
                            std::optional<std::size_t> item_size, bool lease,
                            std::uint32_t max_deliveries) {
    constexpr std::size_t most_items = std::size_t{1} << 30;
    constexpr std::size_t most_bytes = std::size_t{8} << 30;
    constexpr std::size_t otherwise = std::size_t{64} << 20;
    if (max_items > most_items)
        throw std::invalid_argument("make ipc queue: max_items is beyond 2^30");
    if (max_bytes == 0) {
        const std::size_t each = (queue_memory::record_header + item_size.value_or(0) + 7) / 8 * 8;
        max_bytes = otherwise;
        if (item_size && max_items != 0)
            max_bytes = max_items > most_bytes / each ? most_bytes : max_items * each;
    }
    if (max_bytes > most_bytes)
        throw std::invalid_argument("make ipc queue: max_bytes is beyond 8 GiB");
    queue_settings made;
    made.max_items = static_cast<std::uint32_t>(max_items);
    made.units = static_cast<std::uint32_t>(
        std::bit_ceil(std::max(max_bytes, object_memory::page_size)) / queue_memory::unit);
    made.lease = lease ? 1 : 0;
    made.max_deliveries = max_deliveries;
    return made;
}

std::pair<queue_end*, queue_end*> make_queue(const queue_settings& settings, std::uint64_t type) {
    int life[2];
    if (::pipe2(life, O_CLOEXEC) != 0) throw_errno(errno, "create", "ipc queue");
    unique_fd getting(life[0]);
    unique_fd putting(life[1]);
    const auto object = std::make_shared<queue_object>(settings, type);
    const auto in =
        queue_side::for_users(std::make_shared<queue_side>(object, std::move(getting), true));
    const auto out =
        queue_side::for_users(std::make_shared<queue_side>(object, std::move(putting), false));
    auto* getter = new queue_end(in);
    try {
        return {new queue_end(out), getter};
    } catch (...) {
        getter->release();
        throw;
    }
}

void write_queue_end(encoder& out, const queue_handle& handle, std::uint64_t signature) {
    out.write(signature);
    out.write(!handle.closed());
    if (handle.closed()) return;
    const queue_side& side = *handle.end()->side;
    out.write_handle(side.object->memory.fd());
    out.write_handle(side.object->memory.leased_fd());
    out.write_handle(side.life.get());
    side.object->memory.sleepers().write(out);
}

queue_end* read_queue_end(decoder& in, bool getting, std::uint64_t signature, std::uint64_t type) {
    if (in.read<std::uint64_t>() != signature)
        in.fail("a queue's end has another direction or carries another type");
    if (!in.read<bool>()) return nullptr;
    unique_fd memory = in.read_handle();
    unique_fd leased = in.read_handle();
    unique_fd life = in.read_handle();
    bell_register sleepers = bell_register::read(in);
    struct ::stat file{};
    const int flags = life ? ::fcntl(life.get(), F_GETFL) : -1;
    if (flags < 0 || ::fstat(life.get(), &file) != 0 || !S_ISFIFO(file.st_mode) ||
        (flags & O_ACCMODE) != (getting ? O_RDONLY : O_WRONLY))
        in.fail("a queue's end without its half of the pipe");
    auto object = std::make_shared<queue_object>(std::move(memory), std::move(leased),
                                                 std::move(sleepers), type);
    return new queue_end(queue_side::for_users(
        std::make_shared<queue_side>(std::move(object), std::move(life), getting)));
}

// --- awaiting ---

queue_wait::~queue_wait() {
    if (hub_ == nullptr) return;
    unlink();
    hub_->release();
    end_->release();
}

const char* queue_wait::verb() const noexcept {
    switch (kind_) {
        case what::put: return "put";
        case what::get: return "get";
        case what::join: break;
    }
    return "join";
}

bool queue_wait::ready() {
    memory_of(end_, verb());
    queue_hub* hub = end_->hub(kind_ == what::join);
    if (hub != nullptr && kind_ == what::get) hub->notice_members();
    return (hub == nullptr || !hub->crowded()) && serve();
}

bool queue_wait::abandoned() const noexcept { return end_->closed; }

bool queue_wait::serve() noexcept {
    const queue_side& side = *end_->side;
    if (kind_ == what::put && side.other_side_gone()) {
        outcome_ = queue_outcome::gone;
        return true;
    }
    const bool last = kind_ == what::get && side.other_side_gone();
    queue_outcome now = attempt();
    // Nobody is left who could put, and what there was has been looked at since.
    if (last && now == queue_outcome::not_now && !side.object->memory.others_lease())
        now = queue_outcome::gone;
    outcome_ = now;
    return !is_to_wait(now);
}

bool queue_wait::await_suspend(waiter who) {
    memory_of(end_, verb());
    wait_hub* hub = end_->hub(kind_ == what::join);
    hub->use();
    end_->use();
    hub_ = hub;
    hub_->wait(*this, who);
    return true;
}

cancellation queue_wait::await_cancel() noexcept {
    return hub_ != nullptr && hub_->leave(*this) ? cancellation::now : cancellation::too_late;
}

void queue_wait::finish(queue_outcome fine) {
    const queue_outcome how = outcome_;
    if (how == queue_outcome::done || how == fine) [[likely]]
        return;
    throw_outcome(end_, how, verb());
}

encoder& put_core::storage() {
    storage_ = take_outgoing();
    return storage_->body;
}

void put_core::set_item(std::span<const std::byte> item) {
    item_ = item;
    const std::size_t most = memory_of(end(), "put").largest_item();
    if (item.size() > most) throw_too_large(item.size(), most);
}

queue_outcome put_core::attempt() noexcept { return end()->side->object->memory.put(item_); }

queue_outcome get_core::attempt() noexcept {
    const queue_outcome how = end()->side->object->memory.get(*this);
    if (how == queue_outcome::done) accept();
    return how;
}

void get_core::await_describe(std::string& text) const {
    text += "get on ipc queue";
    // With the outcome of its last attempt alone it would not be said of those behind the first.
    if (const queue_side* side = end()->side.get(); side && side->object->memory.hands_full())
        text += ": hands full, no more is taken until task_done or the end of a lease";
}

bool copying_taker::take(std::span<const std::byte> item, queue_lease lease) noexcept {
    known_ = lease;
    if (item.size() == place_.size()) {
        if (!item.empty()) std::memcpy(place_.data(), item.data(), item.size());
        item_ = place_;
        return true;
    }
    try {
        if (scratch.size() < item.size()) scratch.resize(item.size());
    } catch (const std::bad_alloc&) {
        return false;
    }
    if (!item.empty()) std::memcpy(scratch.data(), item.data(), item.size());
    item_ = std::span(scratch).first(item.size());
    return true;
}

bool get_core::taken() {
    if (outcome() == queue_outcome::done) {
        if (scratch.size() > scratch_kept) scratch = {};
        return true;
    }
    if (outcome() == queue_outcome::gone) return false;
    finish(queue_outcome::shut);
    return false;
}

bool is_malformed(const std::exception_ptr& why) noexcept {
    try {
        std::rethrow_exception(why);
    } catch (const std::system_error& e) {
        return e.code() == make_error_code(errc::protocol);
    } catch (...) {
        return false;
    }
}

void discard(queue_end* end, queue_lease known) noexcept {
    if (end->side == nullptr) return;  // closed: all that it had is in other hands
    queue_memory& memory = end->side->object->memory;
    if (known.ticket != 0)
        memory.end_lease(known.ticket, true);
    else
        memory.task_done();
}

bool put_now(queue_end* end, std::span<const std::byte> item) {
    queue_memory& memory = memory_of(end, "put");
    if (item.size() > memory.largest_item()) throw_too_large(item.size(), memory.largest_item());
    const queue_outcome how = end->side->other_side_gone()
                                  ? queue_outcome::gone
                                  : insist([&] { return memory.put(item); });
    if (how == queue_outcome::not_now && !end->side->look()) return false;
    if (how == queue_outcome::not_now) throw_outcome(end, queue_outcome::gone, "put");
    if (how != queue_outcome::done) throw_outcome(end, how, "put");
    return true;
}

bool get_now(queue_end* end, queue_taker& into) {
    queue_memory& memory = memory_of(end, "get");
    queue_outcome how = insist([&] { return memory.get(into); });
    // No loop may be there to notice deaths.
    if (how == queue_outcome::not_now && memory.others_lease() && memory.bury_dead())
        how = insist([&] { return memory.get(into); });
    if (is_to_wait(how) || how == queue_outcome::shut) return false;
    if (how != queue_outcome::done) throw_outcome(end, how, "get");
    return true;
}

queue_outcome join_core::attempt() noexcept {
    const queue_side& side = *end()->side;
    const bool nobody_gets = !side.getting && side.other_side_gone();
    if (side.object->memory.all_done(nobody_gets)) return queue_outcome::done;
    return nobody_gets ? queue_outcome::gone : queue_outcome::not_now;
}

lease_core::lease_core(queue_end* end, queue_lease known) noexcept
    : side_(end->side), known_(known) {}

void lease_core::end(bool done) noexcept {
    if (side_ != nullptr && known_.ticket != 0)
        side_->object->memory.end_lease(known_.ticket, done);
    known_.ticket = 0;
    side_.reset();
}

}  // namespace runnel::ipc::detail

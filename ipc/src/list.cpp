// SPDX-License-Identifier: MIT
#include <runnel/ipc/list.hpp>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <stdexcept>

#include <runnel/error.hpp>
#include <runnel/ipc/detail/value_state.hpp>

// The body is a table of slots, and behind it two copies of each slot: a word with its kind and
// length, then its contents. The version of a slot says which of them is whole, as in value_state.
// How long a slot is, each process looks up once, when it attaches.

namespace runnel::ipc::detail {
namespace {

enum kind : std::uint32_t { k_none, k_bool, k_integer, k_real, k_text, k_bytes, kinds };

struct slot {
    std::atomic<std::uint64_t> version;
    std::atomic<std::uint64_t> words;  // of a copy, without its first one
};
static_assert(sizeof(slot) == 16);

constexpr std::size_t most_words = std::size_t{1} << 40;

std::size_t words_for(std::size_t length) noexcept {
    return std::max<std::size_t>(1, length / 8 + (length % 8 != 0 ? 1 : 0));
}
std::size_t length_of(const list::item& what) noexcept {
    if (const auto* text = std::get_if<std::string>(&what)) return text->size();
    if (const auto* raw = std::get_if<list::bytes>(&what)) return raw->size();
    return sizeof(std::uint64_t);
}

/// An item as words: kind and length, contents.
std::vector<std::uint64_t> pack(const list::item& what) {
    std::size_t length = length_of(what);
    std::vector<std::uint64_t> packed(1 + words_for(length));
    switch (what.index()) {
        case k_bool: packed[1] = std::get<bool>(what) ? 1 : 0; break;
        case k_integer: packed[1] = static_cast<std::uint64_t>(std::get<k_integer>(what)); break;
        case k_real: packed[1] = std::bit_cast<std::uint64_t>(std::get<double>(what)); break;
        case k_text: std::memcpy(&packed[1], std::get<k_text>(what).data(), length); break;
        case k_bytes: {
            const auto& raw = std::get<k_bytes>(what);
            if (length != 0) std::memcpy(&packed[1], raw.data(), length);
            break;
        }
        default: length = 0; break;
    }
    packed[0] = std::uint64_t{length} << 8 | what.index();
    return packed;
}

list::item unpack(std::span<const std::uint64_t> packed) {
    const std::uint64_t length = packed[0] >> 8;
    const auto refuse = [] {
        throw_error(errc::protocol, "get", "ipc list: a slot that holds no item");
    };
    if (length > (packed.size() - 1) * sizeof(std::uint64_t)) refuse();
    const auto* contents = reinterpret_cast<const char*>(&packed[1]);
    switch (packed[0] & 0xff) {
        case k_none: return std::monostate();
        case k_bool: return packed[1] != 0;
        case k_integer: return static_cast<std::int64_t>(packed[1]);
        case k_real: return std::bit_cast<double>(packed[1]);
        case k_text: return std::string(contents, length);
        case k_bytes: {
            list::bytes raw(length);
            if (length != 0) std::memcpy(raw.data(), contents, length);
            return raw;
        }
        default: refuse();
    }
    return std::monostate();
}

std::size_t body_for(std::span<const list::item> items) {
    std::size_t words = items.size() * sizeof(slot) / 8;
    for (const list::item& one : items) words += 2 * (1 + words_for(length_of(one)));
    if (words > most_words) throw std::invalid_argument("ipc list: too large");
    return words * 8;
}

}  // namespace

class list_state final : public shared_object {
public:
    static constexpr object_type type(std::size_t bytes) noexcept {
        return {.name = "list", .kind = kind_list, .body = bytes};
    }
    explicit list_state(std::span<const list::item> items) : shared_object(type(body_for(items))) {
        own_count() = items.size();
        for (std::size_t i = 0; i < items.size(); ++i)
            table()[i].words = words_for(length_of(items[i]));
        lay_out();
        for (std::size_t i = 0; i < items.size(); ++i) write_words(pack(items[i]), copy(i, 0));
        memory_.publish();
    }
    explicit list_state(decoder& in) : shared_object(type(0), in) { lay_out(); }
    wait_hub* make_hub(std::shared_ptr<shared_object>, loop&) override { return nullptr; }

    [[nodiscard]] std::size_t size() const noexcept { return places_.size(); }
    [[nodiscard]] std::size_t words(std::size_t i) const noexcept { return places_[i].words; }
    [[nodiscard]] list::item get(std::size_t i) const {
        std::vector<std::uint64_t> packed(1 + words(i));
        const auto& version = table()[i].version;
        for (std::uint64_t seen = version.load();;) {
            read_words(copy(i, seen), packed);
            const std::uint64_t now = version.load();
            if (now == seen) return unpack(packed);
            seen = now;
        }
    }
    void set(std::size_t i, const list::item& to) {
        const auto packed = pack(to);
        const object_section inside(*this);
        auto& version = table()[i].version;
        const std::uint64_t next = version.load() + 1;
        write_words(packed, copy(i, next));
        version.store(next);
    }

private:
    struct place {
        std::size_t words;
        std::uint64_t* copies;
    };
    [[nodiscard]] std::atomic<std::uint64_t>& own_count() const noexcept {
        return *reinterpret_cast<std::atomic<std::uint64_t>*>(head() + sizeof(bell));
    }
    [[nodiscard]] slot* table() const noexcept { return reinterpret_cast<slot*>(memory_.body()); }
    [[nodiscard]] std::uint64_t* copy(std::size_t i, std::uint64_t version) const noexcept {
        return places_[i].copies + (version & 1) * (1 + places_[i].words);
    }
    /// Where everything is, checked.
    void lay_out() {
        const auto refuse = [] {
            throw_error(errc::protocol, "attach", "ipc list: it is smaller than it says");
        };
        std::size_t left = memory_.body_size() / 8;
        const std::uint64_t count = own_count().load();
        if (count > left / 2) refuse();
        left -= count * 2;
        auto* next = reinterpret_cast<std::uint64_t*>(table() + count);
        for (std::size_t i = 0; i < count; ++i) {
            const std::uint64_t words_each = table()[i].words.load();
            if (words_each == 0 || words_each > most_words || 2 * (1 + words_each) > left) refuse();
            places_.push_back({words_each, next});
            next += 2 * (1 + words_each);
            left -= 2 * (1 + words_each);
        }
    }
    std::vector<place> places_;
};

}  // namespace runnel::ipc::detail

namespace runnel::ipc {
namespace {

[[noreturn]] void out_of_range(const char* operation, std::size_t i, std::size_t size) {
    throw std::out_of_range(std::string(operation) + " on ipc list: slot " + std::to_string(i) +
                            " of " + std::to_string(size));
}

}  // namespace

list::list(std::span<const item> items) : state_(std::make_shared<detail::list_state>(items)) {}

const std::shared_ptr<detail::list_state>& list::state(const char* operation) const {
    if (!state_)
        throw std::invalid_argument(std::string(operation) + " on ipc list: it was moved from");
    return state_;
}
list list::share() const { return list(state("share")); }
std::size_t list::size() const { return state("size")->size(); }

list::item list::get(std::size_t i) const {
    const auto& of = state("get");
    if (i >= of->size()) out_of_range("get", i, of->size());
    return of->get(i);
}

void list::set(std::size_t i, const item& to) const {
    const auto& of = state("set");
    if (i >= of->size()) out_of_range("set", i, of->size());
    if (detail::length_of(to) > of->words(i) * 8)
        throw std::length_error("set on ipc list: " + std::to_string(detail::length_of(to)) +
                                " bytes exceed the available storage of slot " + std::to_string(i) +
                                ", " + std::to_string(of->words(i) * 8));
    of->set(i, to);
}

std::size_t list::capacity(std::size_t i) const {
    const auto& of = state("capacity");
    if (i >= of->size()) out_of_range("capacity", i, of->size());
    return of->words(i) * 8;
}

std::size_t list::count(const item& what) const {
    const auto& of = state("count");
    std::size_t found = 0;
    for (std::size_t i = 0; i < of->size(); ++i)
        if (of->get(i) == what) ++found;
    return found;
}

std::optional<std::size_t> list::index(const item& what) const {
    const auto& of = state("index");
    for (std::size_t i = 0; i < of->size(); ++i)
        if (of->get(i) == what) return i;
    return std::nullopt;
}

void codec<list>::encode(encoder& out, const list& l) { l.state("encode")->write(out); }
list codec<list>::decode(decoder& in) { return list(std::make_shared<detail::list_state>(in)); }

}  // namespace runnel::ipc

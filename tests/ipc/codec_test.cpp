// SPDX-License-Identifier: MIT
#include <runnel/ipc/codec.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <limits>
#include <random>
#include <string>

#include "support/catch.hpp"
#include "support/environment.hpp"

namespace ipc = runnel::ipc;
using runnel::unique_fd;
using namespace std::chrono_literals;

namespace codec_test {

enum class color : std::uint8_t { red, green, blue };
enum class level : int { low = -1, high = 1 };
enum unfixed { first_one, second_one };
enum untyped { some };

struct empty {
    bool operator==(const empty&) const = default;
};
struct pod {
    std::uint64_t words[8];
    bool operator==(const pod&) const = default;
};
struct padded {
    char c;
    int i;
    bool b;
    double d;
    bool operator==(const padded&) const = default;
};
struct flags {
    bool a;
    color b;
    level c;
    bool operator==(const flags&) const = default;
};
struct node {
    int value = 0;
    std::vector<node> kids;
    bool operator==(const node&) const = default;
};
struct tree {
    std::map<std::string, tree> named;
    std::optional<std::vector<tree>> kids;
    bool operator==(const tree&) const = default;
};
struct arrays {
    char name[100];
    int grid[2][3];
    std::string words[2];
    flags marks[2];
    bool operator==(const arrays&) const = default;
};
struct everything {
    std::string text;
    std::u16string wide;
    std::vector<std::byte> bytes;
    std::vector<int> ints;
    std::vector<bool> bits;
    std::vector<std::string> words;
    std::vector<flags> marks;
    std::deque<padded> deque;
    std::list<std::string> list;
    std::array<std::string, 2> array;
    std::pair<int, std::string> pair;
    std::tuple<char, double, std::string> tuple;
    std::optional<int> maybe;
    std::optional<std::string> not_there;
    std::variant<std::monostate, int, std::string> choice;
    std::map<std::string, std::vector<int>> map;
    std::unordered_map<int, std::string> hashed;
    std::set<std::string> set;
    std::unordered_set<int> hash_set;
    std::multimap<int, int> multimap;
    std::chrono::milliseconds duration;
    std::chrono::system_clock::time_point when;
    std::filesystem::path path;
    flags flag;
    arrays old;
    node root;
    empty nothing;
    bool operator==(const everything&) const = default;
};
struct with_fds {
    int id = 0;
    unique_fd one;
    std::vector<unique_fd> more;
    std::optional<unique_fd> maybe;
};

class date {  // a class with a codec of its own
public:
    explicit date(std::int32_t days) : days_(days) {}
    std::int32_t days() const { return days_; }
    bool operator==(const date&) const = default;

private:
    std::int32_t days_;
};
class handle {  // owns, and has no default
public:
    explicit handle(unique_fd fd) : fd_(std::move(fd)) {}
    const unique_fd& fd() const { return fd_; }

private:
    unique_fd fd_;
};
struct request {
    std::string text;
    handle reply;
    date day;
    std::array<date, 2> days;
    std::vector<date> more;
};
class vec3 {
public:
    vec3(double x, double y, double z) : x_(x), y_(y), z_(z) {}
    bool operator==(const vec3&) const = default;

private:
    double x_, y_, z_;
};

class endless {  // recursion through a custom codec
public:
    std::shared_ptr<endless> next;
};
template <class T>
class typed_handle {};  // carries nothing; stands for a sender of T
struct hello {
    int id;
    typed_handle<hello> next;
};
struct hello_by_another_name {
    int number;
    typed_handle<hello_by_another_name> again;
};
struct other_hello {
    long id;
    typed_handle<other_hello> next;
};

struct base {
    int b;
};
struct derived : base {
    int d;
};
struct with_const {
    const int c;
};
struct with_reference {
    const int& r;
};
struct with_pointer {
    int a;
    const char* p;
};
class closed_class {
public:
    explicit closed_class(int v) : v_(v) {}
    int v_;
};
union either {
    int i;
    float f;
};
struct unfinished_codec {
    int i;
};

}  // namespace codec_test
using namespace codec_test;

template <>
inline constexpr auto runnel::ipc::enum_range<level> = std::pair(level::low, level::high);
template <>
inline constexpr auto runnel::ipc::enum_range<unfixed> = std::pair(first_one, second_one);
template <>
inline constexpr bool runnel::ipc::enable_raw_codec<vec3> = true;
template <>
struct runnel::ipc::codec<date> {
    static constexpr std::uint64_t signature = 0x64617465;
    static constexpr std::size_t fixed_size = 4;
    static void encode(encoder& out, const date& d) { out.write(d.days()); }
    static date decode(decoder& in) {
        const auto days = in.read<std::int32_t>();
        if (days < 0) in.fail("a date is never negative");
        return date(days);
    }
};
template <>
struct runnel::ipc::codec<handle> {
    static constexpr std::uint64_t signature = 0x68;
    static constexpr bool carries_handles = true;
    static void encode(encoder& out, const handle& h) { out.write(h.fd()); }
    static handle decode(decoder& in) {
        auto fd = in.read<unique_fd>();
        if (!fd) in.fail("a handle is never empty");
        return handle(std::move(fd));
    }
};
template <>
struct runnel::ipc::codec<endless> {
    static constexpr std::uint64_t signature = 1;
    static void encode(encoder& out, const endless& e) {
        out.write(e.next != nullptr);
        if (e.next) out.write(*e.next);
    }
    static endless decode(decoder& in) {
        endless e;
        if (in.read<bool>()) e.next = std::make_shared<endless>(in.read<endless>());
        return e;
    }
};
template <class T>
struct runnel::ipc::codec<typed_handle<T>> {
    static constexpr std::uint64_t signature = 2;
    using parts = signature_parts<T>;
    static void encode(encoder&, const typed_handle<T>&) {}
    static typed_handle<T> decode(decoder&) { return {}; }
};
template <>
struct runnel::ipc::codec<unfinished_codec> {};

namespace {

template <class T>
std::vector<std::byte> bytes_of(const T& value) {
    ipc::encoder out;
    ipc::encode(out, value);
    const auto bytes = out.bytes();
    return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> raw(std::initializer_list<int> numbers) {
    std::vector<std::byte> bytes;
    for (const int n : numbers) bytes.push_back(static_cast<std::byte>(n));
    return bytes;
}

template <class T>
void check_round_trip(const T& value) {
    const auto bytes = bytes_of(value);
    const bool same = ipc::decode<T>(bytes) == value;
    CHECK(same);
    if (ipc::fixed_size_of<T>) CHECK(bytes.size() == *ipc::fixed_size_of<T>);
}

/// The text of the protocol error that decoding gives; empty if it succeeds.
template <class T>
std::string refusal(std::span<const std::byte> bytes, std::span<unique_fd> handles = {}) {
    try {
        static_cast<void>(ipc::decode<T>(bytes, handles));
        return "";
    } catch (const std::system_error& e) {
        CHECK(e.code() == runnel::errc::protocol);
        return e.what();
    }
}

bool contains(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}

template <class T>
bool encoder_refuses(const T& value) {
    ipc::encoder out;
    try {
        ipc::encode(out, value);
        return false;
    } catch (const std::invalid_argument&) {
        return true;
    }
}

everything sample() {
    everything e{};
    e.text = "hello";
    e.wide = u"w\u00efde";
    e.bytes = {std::byte{1}, std::byte{255}};
    e.ints = {1, -2, 3};
    e.bits = {true, false, true};
    e.words = {"", "a", std::string(300, 'x')};
    e.marks = {{true, color::blue, level::low}, {false, color::red, level::high}};
    e.deque = {{'a', 1, true, 2.5}, {'b', -1, false, -0.0}};
    e.list = {"x", "y"};
    e.array = {"first", "second"};
    e.pair = {7, "seven"};
    e.tuple = {'c', 1.5, "tuple"};
    e.maybe = 5;
    e.choice = "chosen";
    e.map = {{"one", {1}}, {"two", {1, 2}}};
    e.hashed = {{1, "a"}, {2, "b"}, {3, "c"}};
    e.set = {"p", "q"};
    e.hash_set = {10, 20, 30};
    e.multimap = {{1, 1}, {1, 2}, {2, 1}};
    e.duration = 1500ms;
    e.when = std::chrono::system_clock::time_point(123456789s);
    e.path = "/tmp/some file";
    e.flag = {true, color::green, level::high};
    std::snprintf(e.old.name, sizeof e.old.name, "old style");
    e.old.grid[1][2] = 42;
    e.old.words[1] = "word";
    e.old.marks[0].c = level::low;
    e.root = {1, {{2, {}}, {3, {{4, {}}}}}};
    return e;
}

unique_fd some_fd() { return unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }
bool is_open(int number) { return ::fcntl(number, F_GETFD) != -1; }
/// What a kernel does to the descriptors of a message.
std::vector<unique_fd> received(std::span<const int> numbers) {
    std::vector<unique_fd> fds;
    for (const int number : numbers) fds.emplace_back(::fcntl(number, F_DUPFD_CLOEXEC, 0));
    return fds;
}
bool same_file(int a, int b) {
    struct ::stat first{};
    struct ::stat second{};
    return ::fstat(a, &first) == 0 && ::fstat(b, &second) == 0 && first.st_ino == second.st_ino &&
           first.st_dev == second.st_dev;
}

template <class T>
concept travels = ipc::encodable<T>;

}  // namespace

TEST_CASE("numbers, characters and times come back as they were") {
    check_round_trip(true);
    check_round_trip('x');
    check_round_trip(u8'x');
    check_round_trip(L'x');
    check_round_trip(std::byte{200});
    check_round_trip(std::int8_t{-128});
    check_round_trip(std::numeric_limits<std::uint64_t>::max());
    check_round_trip(std::numeric_limits<long long>::min());
    check_round_trip(1.5f);
    check_round_trip(-0.0);
    check_round_trip(std::numeric_limits<long double>::max() / 3);
    CHECK(std::isnan(ipc::decode<double>(bytes_of(std::nan("")))));
    check_round_trip(color::blue);
    check_round_trip(static_cast<color>(77));  // any value of the underlying type
    check_round_trip(level::low);
    check_round_trip(second_one);
    check_round_trip(5ns);
    check_round_trip(std::chrono::duration<float, std::ratio<60>>(1.5f));
    check_round_trip(std::chrono::steady_clock::now());
}

TEST_CASE("containers, choices and aggregates come back as they were") {
    check_round_trip(std::string());
    check_round_trip(std::string(100000, 'x'));
    check_round_trip(std::u8string(u8"\u00fc"));
    check_round_trip(std::u32string(U"abc"));
    check_round_trip(std::vector<std::byte>(1000, std::byte{7}));
    check_round_trip(std::vector<double>{});
    check_round_trip(std::vector<pod>{pod{{1}}, pod{{2}}});
    check_round_trip(std::vector<std::vector<std::string>>{{}, {"a"}, {"b", "c"}});
    check_round_trip(std::array<int, 0>{});
    check_round_trip(std::array<std::array<short, 2>, 2>{{{1, 2}, {3, 4}}});
    check_round_trip(std::tuple<>());
    check_round_trip(std::tuple<std::tuple<int>>());
    check_round_trip(std::tuple<std::optional<int>>(3));
    check_round_trip(std::pair<const int, bool>(1, true).second);
    check_round_trip(std::optional<std::optional<int>>(std::optional<int>()));
    check_round_trip(std::optional<std::optional<int>>());
    check_round_trip(std::variant<int, int>(std::in_place_index<1>, 4));
    check_round_trip(std::monostate());
    check_round_trip(std::multiset<int>{1, 1, 2});
    check_round_trip(std::unordered_multimap<int, int>{{1, 1}, {1, 2}});
    check_round_trip(empty());
    check_round_trip(std::vector<empty>(1000));
    check_round_trip(pod{{1, 2, 3, 4, 5, 6, 7, 8}});
    check_round_trip(padded{'c', -1, true, 2.5});
    check_round_trip(tree{{{"a", {}}, {"b", {{{"c", {}}}, std::nullopt}}}, std::vector<tree>(2)});
    check_round_trip(vec3(1, 2, 3));
    check_round_trip(std::vector<vec3>(3, vec3(1, 2, 3)));
    check_round_trip(date(19000));
    check_round_trip(std::vector<date>{date(1), date(2)});
    check_round_trip(std::array<date, 2>{date(1), date(2)});
    check_round_trip(sample());
}

TEST_CASE("padding is not sent") {
    CHECK(ipc::fixed_size_of<padded> == sizeof(char) + sizeof(int) + 1 + sizeof(double));
    CHECK(ipc::fixed_size_of<pod> == sizeof(pod));
    CHECK(ipc::fixed_size_of<empty> == 0u);
    CHECK(ipc::fixed_size_of<std::pair<char, int>> == 5u);
    CHECK_FALSE(ipc::fixed_size_of<std::string>.has_value());
    CHECK_FALSE(ipc::fixed_size_of<node>.has_value());
    if (std::numeric_limits<long double>::digits == 64) {
        CHECK(ipc::fixed_size_of<long double> == 10u);
    }
    padded dirty;
    std::memset(static_cast<void*>(&dirty), 0xee, sizeof dirty);
    dirty.c = 'a';
    dirty.i = 0;
    dirty.b = false;
    dirty.d = 0;
    for (const std::byte b : bytes_of(dirty)) CHECK(b != std::byte{0xee});
}

TEST_CASE("the format is what it is documented to be") {
    CHECK(bytes_of(std::uint16_t{0x0102}) == raw({2, 1}));
    CHECK(bytes_of(std::string("ab")) == raw({2, 'a', 'b'}));
    CHECK(bytes_of(std::vector<std::uint8_t>(200)).size() == 202);
    CHECK(bytes_of(std::optional<bool>(true)) == raw({1, 1}));
    CHECK(bytes_of(std::optional<bool>()) == raw({0}));
    CHECK(bytes_of(std::variant<bool, std::string>("x")) == raw({1, 1, 'x'}));
    CHECK(bytes_of(flags{true, color::green, level::low}) == raw({1, 1, 255, 255, 255, 255}));
    CHECK(bytes_of(std::map<char, bool>{{'a', true}}) == raw({1, 'a', 1}));
}

TEST_CASE("an encoder keeps its storage when it is cleared") {
    ipc::encoder out;
    ipc::encode(out, std::string(1000, 'x'));
    const std::byte* before = out.bytes().data();
    for (int i = 0; i < 100; ++i) {
        out.clear();
        ipc::encode(out, std::string(1000, 'y'));
        CHECK(out.bytes().data() == before);
        CHECK(out.bytes().size() == 1002);
    }
}

TEST_CASE("an encoder writes in place as long as the place suffices") {
    std::array<std::byte, *ipc::fixed_size_of<pod>> place;
    ipc::encoder out(place);
    ipc::encode(out, pod{{1, 2, 3}});
    CHECK(out.in_place());
    CHECK(ipc::decode<pod>(place) == pod{{1, 2, 3}});
    ipc::encode(out, 1);
    CHECK_FALSE(out.in_place());
    CHECK(out.bytes().size() == sizeof(pod) + sizeof(int));
    ipc::decoder in(out.bytes());
    CHECK(in.read<pod>() == pod{{1, 2, 3}});
    CHECK(in.read<int>() == 1);
    in.finish();
}

TEST_CASE("descriptors are borrowed by the encoder and owned by the decoded value") {
    with_fds value;
    value.id = 3;
    value.one = some_fd();
    value.more.push_back(some_fd());
    value.more.emplace_back();
    value.maybe = some_fd();
    ipc::encoder out;
    ipc::encode(out, value);
    REQUIRE(out.handles().size() == 3);
    CHECK(out.handles()[0] == value.one.get());
    auto fds = received(out.handles());
    const with_fds copy = ipc::decode<with_fds>(out.bytes(), fds);
    CHECK(copy.id == 3);
    CHECK(copy.one.get() != value.one.get());
    CHECK(same_file(copy.one.get(), value.one.get()));
    REQUIRE(copy.more.size() == 2);
    CHECK(copy.more[0]);
    CHECK_FALSE(copy.more[1]);
    REQUIRE(copy.maybe.has_value());
    CHECK(is_open(copy.maybe->get()));
    for (const unique_fd& fd : fds) CHECK_FALSE(fd);
    out.clear();
    CHECK(out.handles().empty());
}

TEST_CASE("fields without a default and owning custom types travel") {
    request value{"text", handle(some_fd()), date(3), {date(4), date(5)}, {date(6)}};
    ipc::encoder out;
    ipc::encode(out, value);
    auto fds = received(out.handles());
    const request copy = ipc::decode<request>(out.bytes(), fds);
    CHECK(copy.text == "text");
    CHECK(is_open(copy.reply.fd().get()));
    CHECK(copy.days[1] == date(5));
    CHECK(copy.more == value.more);

    // cut short after the handle was taken: it is closed again
    for (std::size_t size = 0; size < out.bytes().size(); ++size) {
        auto again = received(out.handles());
        const int number = again.front().get();
        CHECK(refusal<request>(out.bytes().first(size), again) != "");
        CHECK_FALSE(is_open(number));
    }
    CHECK(contains(refusal<date>(bytes_of(-1)), "a date is never negative"));
    CHECK(contains(refusal<handle>(raw({0})), "a handle is never empty"));
}

TEST_CASE("every descriptor must be used exactly once") {
    using pair = std::pair<unique_fd, unique_fd>;
    const auto try_with = [](std::initializer_list<int> bytes, std::size_t count) {
        std::vector<unique_fd> fds;
        std::vector<int> numbers;
        for (std::size_t i = 0; i != count; ++i) {
            fds.push_back(some_fd());
            numbers.push_back(fds.back().get());
        }
        std::string text = refusal<pair>(raw(bytes), fds);
        for (const int number : numbers) CHECK_FALSE(is_open(number));
        return text;
    };
    CHECK(try_with({1, 2}, 2).empty());
    CHECK(try_with({2, 1}, 2).empty());
    CHECK(try_with({0, 1}, 1).empty());
    CHECK(contains(try_with({1, 1}, 2), "named twice"));
    CHECK(contains(try_with({1, 0}, 2), "does not name"));
    CHECK(contains(try_with({1, 3}, 2), "did not come along"));
    CHECK(contains(try_with({0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 1}, 2),
                   "did not come along"));
    CHECK(contains(try_with({1, 2, 0}, 2), "bytes follow"));
}

TEST_CASE("bad values are refused by name") {
    CHECK(contains(refusal<bool>(raw({2})), "a bool is neither 0 nor 1"));
    CHECK(contains(refusal<bool>(raw({})), "the message ends inside a value"));
    CHECK(contains(refusal<std::array<bool, 2>>(raw({1, 255})), "a bool"));
    CHECK(contains(refusal<flags>(raw({7, 1, 1, 0, 0, 0})), "a bool"));
    CHECK(contains(refusal<level>(raw({2, 0, 0, 0})), "enum_range"));
    CHECK(contains(refusal<unfixed>(raw({2, 0, 0, 0})), "enum_range"));
    CHECK(contains(refusal<std::vector<bool>>(raw({1, 9})), "a bool"));
    CHECK(contains(refusal<std::optional<int>>(raw({2, 0, 0, 0, 0})), "an optional"));
    CHECK(contains(refusal<std::variant<int, char>>(raw({2, 0})), "no such alternative"));
    CHECK(contains(refusal<std::set<char>>(raw({2, 'a', 'a'})), "a key occurs twice"));
    CHECK(contains(refusal<std::unordered_map<char, char>>(raw({2, 'a', 'x', 'a', 'y'})),
                   "a key occurs twice"));
    CHECK(contains(refusal<std::set<double>>(bytes_of(std::vector{std::nan("")})), "not a number"));
    CHECK(contains(refusal<std::string>(raw({0x81, 0x00, 'a'})), "longer than it needs"));
    CHECK(contains(refusal<std::string>(raw({255, 255, 255, 255, 255, 255, 255, 255, 255, 2})),
                   "more than 64 bits"));
    CHECK(contains(refusal<int>(raw({1, 2, 3, 4, 5})), "bytes follow the value"));
    CHECK(contains(refusal<int>(raw({1, 2, 3, 4, 5})), "decode at byte 4 of 5"));
    CHECK(encoder_refuses(static_cast<level>(5)));
    const double none = std::nan("");
    CHECK(encoder_refuses(std::set<double>{none}));
    CHECK(encoder_refuses(std::unordered_multiset<float>{1.0F, std::nanf("")}));
    CHECK(encoder_refuses(std::map<double, int>{{none, 1}}));
    CHECK(encoder_refuses(std::map<std::pair<int, std::tuple<double>>, int>{{{1, {none}}, 1}}));
    CHECK(!encoder_refuses(std::map<std::pair<int, double>, double>{{{1, 2.0}, none}}));
    CHECK(contains(
        refusal<std::set<std::pair<char, double>>>(bytes_of(std::vector{std::pair{'a', none}})),
        "not a number"));
}

TEST_CASE("a claimed count allocates nothing") {
    auto huge = raw({255, 255, 255, 255, 255, 255, 255, 255, 255, 1});  // 2^64 - 1
    CHECK(contains(refusal<std::string>(huge), "a count is larger"));
    CHECK(contains(refusal<std::vector<int>>(huge), "a count is larger"));
    CHECK(contains(refusal<std::vector<std::string>>(huge), "a count is larger"));
    CHECK(contains(refusal<std::vector<bool>>(huge), "a count is larger"));
    CHECK(contains(refusal<std::map<int, int>>(huge), "a count is larger"));
    CHECK(contains(refusal<std::vector<empty>>(huge), "too much memory"));
    CHECK(contains(refusal<std::deque<std::array<empty, 100>>>(huge), "too much memory"));
    CHECK(contains(refusal<std::vector<endless>>(huge), "too much memory"));
    huge.resize(1000);
    CHECK(contains(refusal<std::vector<std::string>>(huge), "a count is larger"));
    CHECK(contains(refusal<std::u32string>(raw({2, 0, 0, 0, 0, 0, 0, 0})), "a count is larger"));
}

TEST_CASE("what a decoder would refuse as too large in memory is not encoded") {
    using sparse = std::vector<std::optional<std::array<double, 512>>>;
    check_round_trip(sparse(200));
    CHECK(encoder_refuses(sparse(10000)));
    std::vector<std::byte> bytes(10000);
    bytes.insert(bytes.begin(), {std::byte{0x90}, std::byte{0x4e}});
    CHECK(contains(refusal<sparse>(bytes), "too much memory"));
    CHECK(encoder_refuses(std::vector<empty>(3 << 20)));
}

TEST_CASE("nesting is limited on both sides") {
    const auto nested = [](std::size_t depth) {
        node root;
        for (std::size_t i = 1; i < depth; ++i) {
            node outer;
            outer.kids.push_back(std::move(root));
            root = std::move(outer);
        }
        return root;
    };
    check_round_trip(nested(ipc::max_nesting));
    CHECK(encoder_refuses(nested(ipc::max_nesting + 1)));

    std::vector<std::byte> deep;
    for (int i = 0; i < 100000; ++i) {
        deep.insert(deep.end(), sizeof(int), std::byte{0});
        deep.push_back(std::byte{1});
    }
    CHECK(contains(refusal<node>(deep), "nested too deeply"));
    CHECK(contains(refusal<endless>(std::vector<std::byte>(100000, std::byte{1})),
                   "nested too deeply"));

    endless chain;
    for (int i = 0; i < 1000; ++i) {
        endless outer;
        outer.next = std::make_shared<endless>(std::move(chain));
        chain = std::move(outer);
    }
    ipc::encoder out;
    CHECK_THROWS_AS(ipc::encode(out, chain), std::invalid_argument);
    out.clear();  // usable again
    ipc::encode(out, endless());
    CHECK(out.bytes().size() == 1);
}

TEST_CASE("a message cut anywhere is refused") {
    const auto bytes = bytes_of(sample());
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        // a copy, so that a sanitizer sees a read beyond it
        const std::vector<std::byte> cut(bytes.begin(),
                                         bytes.begin() + static_cast<std::ptrdiff_t>(size));
        if (refusal<everything>(cut).empty()) FAIL("accepted " << size << " bytes");
    }
}

TEST_CASE("damaged messages are refused or decoded, never worse") {
    const std::uint64_t seed = runnel::test::announced_seed("codec_test");
    INFO("RUNNEL_SEED=" << seed);
    std::mt19937_64 random(seed);

    const auto bytes = bytes_of(sample());
    const auto survive = [&](const std::vector<std::byte>& damaged) {
        try {
            const auto value = ipc::decode<everything>(damaged);
            return ipc::decode<everything>(bytes_of(value)).text == value.text;
        } catch (const std::system_error& e) {
            return e.code() == runnel::errc::protocol;
        }
    };
    bool fine = true;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        for (int round = 0; round < 6; ++round) {
            auto damaged = bytes;
            const auto bit = std::byte{1} << static_cast<int>(random() % 8);
            damaged[i] = round < 3 ? static_cast<std::byte>(random()) : damaged[i] ^ bit;
            fine = survive(damaged) && fine;
        }
    }
    for (int round = 0; round < 3000; ++round) {
        auto damaged = bytes;
        for (std::size_t n = 1 + random() % 4; n != 0; --n) {
            const std::size_t at = random() % damaged.size();
            const auto place = damaged.begin() + static_cast<std::ptrdiff_t>(at);
            switch (random() % 3) {
                case 0: *place = static_cast<std::byte>(random()); break;
                case 1: damaged.insert(place, static_cast<std::byte>(random())); break;
                default: damaged.erase(place);
            }
        }
        fine = survive(damaged) && fine;
    }
    for (int round = 0; round < 3000; ++round) {
        std::vector<std::byte> noise(random() % 200);
        for (std::byte& b : noise) b = static_cast<std::byte>(random() % (round % 2 ? 256 : 4));
        fine = survive(noise) && fine;
        const std::string text = refusal<tree>(noise) + refusal<std::vector<with_fds>>(noise);
        fine = text.size() < 1000 && fine;
    }
    CHECK(fine);
}

TEST_CASE("signatures tell structures apart and not names") {
    using ipc::signature_of;
    struct point {
        int x, y;
    };
    struct size {
        int width, height;
    };
    CHECK(signature_of<point> == signature_of<size>);
    CHECK(signature_of<point> == signature_of<std::pair<int, int>>);
    CHECK(signature_of<std::array<int, 3>> != signature_of<std::array<int, 4>>);
    CHECK(signature_of<std::vector<int>> == signature_of<std::deque<int>>);
    CHECK(signature_of<std::set<int>> == signature_of<std::unordered_set<int>>);
    CHECK(signature_of<date> != signature_of<handle>);
    CHECK(signature_of<hello> == signature_of<hello_by_another_name>);
    CHECK(signature_of<hello> != signature_of<other_hello>);

    const std::vector<std::uint64_t> distinct{signature_of<int>,
                                              signature_of<unsigned>,
                                              signature_of<long>,
                                              signature_of<short>,
                                              signature_of<char>,
                                              signature_of<std::int8_t>,
                                              signature_of<bool>,
                                              signature_of<float>,
                                              signature_of<double>,
                                              signature_of<std::byte>,
                                              signature_of<color>,
                                              signature_of<level>,
                                              signature_of<std::string>,
                                              signature_of<std::u16string>,
                                              signature_of<std::vector<char>>,
                                              signature_of<std::vector<int>>,
                                              signature_of<std::vector<std::vector<int>>>,
                                              signature_of<std::set<int>>,
                                              signature_of<std::multiset<int>>,
                                              signature_of<std::map<int, int>>,
                                              signature_of<std::multimap<int, int>>,
                                              signature_of<std::map<int, char>>,
                                              signature_of<std::map<char, int>>,
                                              signature_of<std::array<int, 2>>,
                                              signature_of<point>,
                                              signature_of<std::tuple<int>>,
                                              signature_of<std::tuple<>>,
                                              signature_of<std::tuple<int, std::tuple<int, int>>>,
                                              signature_of<std::tuple<int, int, int>>,
                                              signature_of<std::tuple<std::tuple<int, int>, int>>,
                                              signature_of<std::optional<int>>,
                                              signature_of<std::variant<int>>,
                                              signature_of<std::variant<int, char>>,
                                              signature_of<std::variant<char, int>>,
                                              signature_of<std::chrono::seconds>,
                                              signature_of<std::chrono::milliseconds>,
                                              signature_of<std::chrono::system_clock::time_point>,
                                              signature_of<std::chrono::steady_clock::time_point>,
                                              signature_of<std::filesystem::path>,
                                              signature_of<unique_fd>,
                                              signature_of<date>,
                                              signature_of<handle>,
                                              signature_of<vec3>,
                                              signature_of<node>,
                                              signature_of<tree>,
                                              signature_of<std::vector<node>>,
                                              signature_of<hello>,
                                              signature_of<everything>};
    for (std::size_t i = 0; i < distinct.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (distinct[i] == distinct[j]) FAIL("types " << j << " and " << i << " are one");
        }
    }
    static_assert(ipc::codec<int>::signature == ipc::signature_of<int>);
}

TEST_CASE("what has no meaning in another process does not compile") {
    STATIC_REQUIRE(travels<everything>);
    STATIC_REQUIRE(travels<with_fds>);
    STATIC_REQUIRE(travels<request>);
    STATIC_REQUIRE(travels<tree>);
    STATIC_REQUIRE_FALSE(travels<int*>);
    STATIC_REQUIRE_FALSE(travels<const char*>);
    STATIC_REQUIRE_FALSE(travels<std::nullptr_t>);
    STATIC_REQUIRE_FALSE(travels<int&>);
    STATIC_REQUIRE_FALSE(travels<const int>);
    STATIC_REQUIRE_FALSE(travels<void>);
    STATIC_REQUIRE_FALSE(travels<void()>);
    STATIC_REQUIRE_FALSE(travels<void (*)()>);
    STATIC_REQUIRE_FALSE(travels<int pod::*>);
    STATIC_REQUIRE_FALSE(travels<int[3]>);
    STATIC_REQUIRE_FALSE(travels<std::string_view>);
    STATIC_REQUIRE_FALSE(travels<std::span<int>>);
    STATIC_REQUIRE_FALSE(travels<std::function<void()>>);
    STATIC_REQUIRE_FALSE(travels<std::reference_wrapper<int>>);
    STATIC_REQUIRE_FALSE(travels<std::unique_ptr<int>>);
    STATIC_REQUIRE_FALSE(travels<std::shared_ptr<int>>);
    STATIC_REQUIRE_FALSE(travels<std::error_code>);
    STATIC_REQUIRE_FALSE(travels<with_pointer>);
    STATIC_REQUIRE_FALSE(travels<std::vector<with_pointer>>);
    STATIC_REQUIRE_FALSE(travels<std::map<int, std::optional<const char*>>>);
    STATIC_REQUIRE_FALSE(travels<std::pair<int, int&>>);
    STATIC_REQUIRE_FALSE(travels<with_reference>);
    STATIC_REQUIRE_FALSE(travels<with_const>);
    STATIC_REQUIRE_FALSE(travels<derived>);
    STATIC_REQUIRE_FALSE(travels<closed_class>);
    STATIC_REQUIRE_FALSE(travels<either>);
    STATIC_REQUIRE_FALSE(travels<untyped>);
    STATIC_REQUIRE_FALSE(travels<unfinished_codec>);
}

TEST_CASE("types that may hold descriptors are known") {
    STATIC_REQUIRE(ipc::carries_handles<unique_fd>);
    STATIC_REQUIRE(ipc::carries_handles<with_fds>);
    STATIC_REQUIRE(ipc::carries_handles<request>);
    STATIC_REQUIRE(ipc::carries_handles<std::map<int, std::optional<unique_fd>>>);
    STATIC_REQUIRE_FALSE(ipc::carries_handles<everything>);
    STATIC_REQUIRE_FALSE(ipc::carries_handles<tree>);
}

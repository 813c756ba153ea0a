// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <runnel/ipc/detail/channel_core.hpp>
#include <runnel/unique_fd.hpp>

// The sides of an ipc::broadcast. The writer's segment is that of a channel, with a few words more.
// The readers share another one, with a slot for each: its side_words, as a channel's reader has
// them. What all readers have in common stands in the words of that segment's first page:
//   position  counts what the writer, if it sleeps, has to look at
//   asleep    counts the sleeps of readers, in its upper half
//   claims    counts the slots that were taken or left
//
// A reader lives as long as its socket, whose other end is the writer's, does not hang up. Who
// shares a reader makes the pair, sends the writer its end together with a number, the token, and
// takes a slot by writing the token there: whoever dies on the way leaves a socket that hangs up.
// A slot is free when its token is one that the writer has seen hang up (broadcast_words::freed).

namespace runnel::ipc::detail {

inline constexpr std::uint32_t most_readers = 64;

/// In the writer's first page, behind its side_words.
struct broadcast_words {
    static constexpr std::size_t offset = 1024;
    alignas(128) std::atomic<std::uint64_t> low;          // records before it may be overwritten
    alignas(128) std::atomic<std::uint64_t> next_number;  // when the writer was handed on
    std::array<std::atomic<std::uint64_t>, most_readers> freed;
};

struct reader_slot {
    side_words words;
    alignas(128) std::atomic<std::uint64_t> token;
    std::atomic<std::uint64_t> expected;  // the next number, when the reader was handed on
};

/// What a new reader tells the writer, along with a socket.
struct reader_notice {
    std::uint64_t token;
    std::uint64_t slot;
};

/// A reader's end of things, but for the memory.
struct reader_place {
    std::uint32_t slot = 0;
    std::uint64_t token = 0;
    bool overwrites = false;  // the writer does not wait
    unique_fd alive;          // hangs up when the writer is gone, as it does for the writer
    unique_fd notices;        // to the writer
};

class broadcast_writer_core final : public channel_writer_core {
public:
    static constexpr bool may_miss = true;
    static constexpr const char* object = "ipc broadcast";
    struct listener {
        std::uint64_t token;
        std::uint32_t slot;
        unique_fd socket;
        std::uint64_t told = 0;  // which of its sleeps has been ended
    };
    broadcast_writer_core(channel_memory memory, bool overwrites, unique_fd notices,
                          std::vector<listener> listeners);
    void write(encoder& out, std::uint64_t signature);
    static void write_nothing(encoder& out, std::uint64_t signature);
    bool ask_gone() noexcept override;
    /// How many readers there are.
    [[nodiscard]] std::size_t readers() noexcept;

private:
    bool find_room(std::uint64_t span) noexcept override;
    bool find_slowest(std::uint64_t span) noexcept;
    bool overwrite(std::uint64_t span) noexcept;
    void wake(std::uint64_t asleep) noexcept override;
    bool look() noexcept override;
    void listen(int events) noexcept override;
    void let_go() noexcept override;
    void hear(listener& from, bool gone) noexcept;
    void take_notices() noexcept;
    bool watch_socket(int socket, std::uint64_t token) noexcept;
    listener* listener_of(std::uint32_t slot, std::uint64_t token) noexcept;
    /// The reader in a slot, if there is one.
    listener* reader_in(std::uint32_t slot) noexcept;

    [[nodiscard]] reader_slot& slot(std::uint32_t i) const noexcept { return slots_[i]; }
    [[nodiscard]] broadcast_words& more() const noexcept {
        return *reinterpret_cast<broadcast_words*>(mine.page() + broadcast_words::offset);
    }

    reader_slot* const slots_;  // to be read only
    const std::uint32_t slot_count_;
    const bool overwrites_;
    unique_fd notices_;
    std::vector<listener> listeners_;
    std::uint32_t looks_ = 0;
    std::uint32_t claims_ = 0;   // of the readers, as last seen
    std::uint32_t slowest_ = 0;  // a slot, and where its reader was
    std::uint64_t slowest_at_ = 0;
};

class broadcast_reader_core final : public channel_reader_core {
public:
    static constexpr bool may_miss = true;
    static constexpr const char* object = "ipc broadcast";
    broadcast_reader_core(channel_memory memory, reader_place where);
    ~broadcast_reader_core() override;

    bool take(channel_record& out) noexcept {
        return overwrites_ ? take_copy(out) : channel_reader_core::take(out);
    }
    void give_back(const channel_record& record) noexcept {
        if (overwrites_)
            give_back_copy(record);
        else
            channel_reader_core::give_back(record);
    }
    [[nodiscard]] bool ended() noexcept {
        return overwrites_ ? closed() || (ask_gone() && peer_position() == next_)
                           : channel_reader_core::ended();
    }
    void write(encoder& out, std::uint64_t signature);
    static void write_nothing(encoder& out, std::uint64_t signature);
    /// Another reader, which begins with what this one has not received yet.
    [[nodiscard]] broadcast_reader_core* share();

private:
    struct copy;
    bool take_copy(channel_record& out) noexcept;
    bool find_more_or_less() noexcept;
    void give_back_copy(const channel_record& record) noexcept;
    void wake(std::uint64_t asleep) noexcept override;
    void announced() noexcept override;
    void let_go() noexcept override;
    [[nodiscard]] const broadcast_words& more() const noexcept {
        return *reinterpret_cast<const broadcast_words*>(others.page() + broadcast_words::offset);
    }
    [[nodiscard]] side_words& all_readers() const noexcept { return mine.words(); }
    [[nodiscard]] reader_slot& slot(std::uint32_t i) const noexcept {
        return reinterpret_cast<reader_slot*>(mine.ring())[i];
    }

    const std::uint32_t slot_;
    const std::uint64_t token_;
    const bool overwrites_;
    unique_fd notices_;
    std::uint64_t expected_;  // the number of the next record
    copy* copies_ = nullptr;  // that are not in use
};

struct broadcast_cores {
    broadcast_writer_core* writer;
    broadcast_reader_core* reader;
};

/// A new broadcast. Throws std::system_error, std::invalid_argument.
broadcast_cores make_broadcast(channel_shape shape, std::size_t readers, bool overwrites);
/// Null for a handle that was closed when it was sent.
broadcast_writer_core* read_broadcast_writer(decoder& in, std::uint64_t signature,
                                             const record_kind& kind);
broadcast_reader_core* read_broadcast_reader(decoder& in, std::uint64_t signature,
                                             const record_kind& kind);

}  // namespace runnel::ipc::detail
